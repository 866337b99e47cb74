"""Statements and conditions that several modules share.

The hot path's are in `hot_sqlite.py` and `hot_postgres.py`; `hot.py` runs them.

SQLite and PostgreSQL use a partial index only where the query repeats its condition. So conditions on `status` are
literals, not parameters.
"""

from __future__ import annotations

IS_OPEN = "status IN ('ready', 'waiting')"  # the condition of the index `deliveries_lane`
IS_FOLLOWED = "ended = false AND removed_at IS NULL"

TAKE_IDS = "UPDATE counters SET value = value + :count WHERE name = :counter RETURNING value"

FREE_WATCHES = "UPDATE watches SET owner = NULL WHERE owner IS NOT NULL"
FREE_DELIVERIES = f"UPDATE deliveries SET owner = NULL WHERE {IS_OPEN} AND owner IS NOT NULL"

CLAIM_DELIVERIES = """
WITH claimable AS (
    SELECT id FROM deliveries
    WHERE status = 'ready' AND owner IS NULL AND endpoint = :endpoint AND due <= :now
    ORDER BY due, id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE deliveries SET owner = :me WHERE id IN (SELECT id FROM claimable) RETURNING id
"""

# Not min(): without statistics PostgreSQL reads every row that is ready for it.
NEXT_DUE = """
SELECT due FROM deliveries WHERE status = 'ready' AND owner IS NULL AND endpoint = :endpoint
ORDER BY due, id LIMIT 1
"""

LOAD_DELIVERIES = """
SELECT deliveries.id, deliveries.endpoint, deliveries.lane, deliveries.attempt, events.id AS event_id, events.type,
    events.body, events.at, events.traceparent
FROM deliveries JOIN events ON events.pk = deliveries.event
WHERE deliveries.id IN (:ids...)
ORDER BY deliveries.due, deliveries.id
"""

REVIVE = f"""
UPDATE deliveries
SET status = CASE WHEN EXISTS (
        SELECT 1 FROM deliveries AS ahead
        WHERE ahead.endpoint = deliveries.endpoint AND ahead.lane = deliveries.lane AND ahead.{IS_OPEN}
    ) THEN 'waiting' ELSE 'ready' END,
    due = :now, attempt = 0, settled_at = NULL, manual = true, owner = NULL
WHERE id = :id AND status = 'dead'
"""
