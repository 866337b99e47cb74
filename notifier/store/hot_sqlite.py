"""The statements of the hot path in SQLite's words. Those of every change take all rows of a group.

The driver gives up the interpreter's lock for each step of a statement, and waits for it after that. With a call for
each row, the event loop and the store's thread fight for the lock at every row. So there is one row of parameters
behind VALUES, which `hot.py` repeats for as many rows as there are. No statement sees the rows that it adds itself, so
an insert is told which delivery is behind another of the same group.
"""

# SQLite writes each index of a row whose columns or condition a statement names, though their values stay. So a step
# that ends no watch has a statement that does not name `ended`.
STEP_WATCH = """
UPDATE watches
SET state = given.state, phase = given.phase, sequence = given.sequence, last_event_id = given.last_event_id,
    stalled = given.stalled, changed_at = given.changed_at, updated_at = given.updated_at
FROM (
    WITH given (pk, before, me, state, phase, sequence, last_event_id, stalled, changed_at, updated_at) AS (
        VALUES (:_pk, :_before, :_me, :state, :phase, :sequence, :last_event_id, :stalled, :changed_at, :updated_at)
    )
    SELECT * FROM given
) AS given
WHERE watches.pk = given.pk AND watches.sequence = given.before AND watches.owner = given.me
    AND watches.removed_at IS NULL
"""

END_WATCH = """
UPDATE watches
SET state = given.state, phase = given.phase, sequence = given.sequence, last_event_id = given.last_event_id,
    stalled = given.stalled, ended = 1, lost = given.lost, changed_at = given.changed_at, updated_at = given.updated_at
FROM (
    WITH given (pk, before, me, state, phase, sequence, last_event_id, stalled, lost, changed_at, updated_at) AS (
        VALUES (:_pk, :_before, :_me, :state, :phase, :sequence, :last_event_id, :stalled, :lost, :changed_at,
            :updated_at)
    )
    SELECT * FROM given
) AS given
WHERE watches.pk = given.pk AND watches.sequence = given.before AND watches.owner = given.me
    AND watches.removed_at IS NULL
"""

INSERT_EVENTS = """
INSERT INTO events (pk, id, watch, sequence, type, at, body, traceparent)
VALUES (:pk, :id, :watch, :sequence, :type, :at, :body, :traceparent)
"""

INSERT_DELIVERIES = """
INSERT INTO deliveries
    (id, event, lane, endpoint, sequence, status, attempt, due, created_at, manual, owner)
WITH given (id, event, lane, endpoint, sequence, due, owner, behind) AS (
    VALUES (:id, :event, :lane, :endpoint, :sequence, :due, :_owner, :_behind)
),
placed AS (
    SELECT *, behind OR EXISTS (
        SELECT 1 FROM deliveries AS ahead
        WHERE ahead.endpoint = given.endpoint AND ahead.lane = given.lane AND ahead.status IN ('ready', 'waiting')
    ) AS waits
    FROM given
)
SELECT id, event, lane, endpoint, sequence, iif(waits, 'waiting', 'ready'), 0, due, due, 0, iif(waits, NULL, owner)
FROM placed
"""

WHICH_WAIT = """
SELECT id FROM deliveries WHERE id BETWEEN :first AND :last AND status = 'waiting'
"""

SUPERSEDE = """
UPDATE deliveries
SET status = 'superseded', settled_at = :_now, reason = 'superseded'
WHERE endpoint = :_endpoint AND lane = :_lane AND status IN ('ready', 'waiting') AND owner IS NULL
"""

OVERTAKE = """
UPDATE deliveries
SET status = 'superseded', settled_at = :_now, reason = 'superseded'
WHERE endpoint = :_endpoint AND lane = :_lane AND status IN ('ready', 'waiting') AND owner IS NULL AND EXISTS (
    SELECT 1 FROM deliveries AS newer
    WHERE newer.endpoint = :_endpoint AND newer.lane = :_lane AND newer.status IN ('ready', 'waiting')
        AND newer.sequence > deliveries.sequence
)
"""

SETTLE = """
UPDATE deliveries
SET status = given.status, attempt = given.attempt, due = given.due, settled_at = given.settled_at,
    reason = given.reason, owner = NULL
FROM (
    WITH given (id, me, status, attempt, due, settled_at, reason) AS (
        VALUES (:_id, :_me, :status, :attempt, :due, :settled_at, :reason)
    )
    SELECT * FROM given
) AS given
WHERE deliveries.id = given.id AND deliveries.owner = given.me
"""

# Of two attempts in the same microsecond, or of one that is saved twice, the first stays.
INSERT_ATTEMPTS = """
INSERT INTO attempts
    (delivery, at, outcome, reason, detail, status, seconds, phases, address, reply, retry_after)
VALUES (:delivery, :at, :outcome, :reason, :detail, :status, :seconds, :phases, :address, :reply, :retry_after)
ON CONFLICT DO NOTHING
"""

PROMOTE = """
UPDATE deliveries
SET status = 'ready', due = next.due, owner = next.owner
FROM (
    WITH given (endpoint, lane, due, owner) AS (VALUES (:_endpoint, :_lane, :_due, :_owner))
    SELECT due, owner, (
        SELECT first.id FROM deliveries AS first
        WHERE first.endpoint = given.endpoint AND first.lane = given.lane AND first.status IN ('ready', 'waiting')
        ORDER BY first.sequence LIMIT 1
    ) AS id
    FROM given
) AS next
WHERE deliveries.id = next.id AND deliveries.status = 'waiting'
"""

PROMOTED = """
SELECT deliveries.id, deliveries.endpoint, deliveries.lane, deliveries.attempt, events.id, events.type, events.body,
    events.at, events.traceparent
FROM deliveries JOIN events ON events.pk = deliveries.event
WHERE deliveries.endpoint = :_endpoint AND deliveries.lane = :_lane AND deliveries.status IN ('ready', 'waiting')
    AND deliveries.status = 'ready' AND deliveries.owner = :_owner
"""

WAKE = """
UPDATE callbacks
SET due = CASE
    WHEN due <= max(coalesce(held_until, :_due), :_due) THEN due
    ELSE max(coalesce(held_until, :_due), :_due)
END
WHERE name = :_name
"""
