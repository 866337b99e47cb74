"""The statements of the hot path in PostgreSQL's words. Each takes all rows of a group, as arrays: see `hot.py`.

Lanes are looked up one by one, by subqueries with a limit. Otherwise the planner, without statistics, takes open
deliveries for rare and reads all of them. A condition inside CASE fits no index, which the planner would otherwise
read whole.
"""

from notifier.store.keys import SHIFT

FENCE = """
UPDATE nodes
SET seen_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, groups = :_group::bigint
WHERE number = :_me::bigint
"""

LOCK_WATCHES = """
SELECT pk FROM watches WHERE pk = ANY (:_pk::bigint[]) ORDER BY pk FOR NO KEY UPDATE
"""

STEP_WATCH = """
UPDATE watches
SET state = given.state, phase = given.phase, sequence = given.sequence, last_event_id = given.last_event_id,
    stalled = given.stalled, changed_at = given.changed_at, updated_at = given.updated_at
FROM unnest(
    :_pk::bigint[], :_before::bigint[], :state::text[], :phase::text[], :sequence::bigint[], :last_event_id::text[],
    :stalled::boolean[], :changed_at::bigint[], :updated_at::bigint[]
) AS given (pk, before, state, phase, sequence, last_event_id, stalled, changed_at, updated_at)
WHERE watches.pk = given.pk AND watches.sequence = given.before AND watches.owner = :_me::bigint
    AND CASE WHEN watches.removed_at IS NULL THEN true ELSE false END
"""

END_WATCH = """
UPDATE watches
SET state = given.state, phase = given.phase, sequence = given.sequence, last_event_id = given.last_event_id,
    stalled = given.stalled, ended = true, lost = given.lost, changed_at = given.changed_at,
    updated_at = given.updated_at
FROM unnest(
    :_pk::bigint[], :_before::bigint[], :state::text[], :phase::text[], :sequence::bigint[], :last_event_id::text[],
    :stalled::boolean[], :lost::text[], :changed_at::bigint[], :updated_at::bigint[]
) AS given (pk, before, state, phase, sequence, last_event_id, stalled, lost, changed_at, updated_at)
WHERE watches.pk = given.pk AND watches.sequence = given.before AND watches.owner = :_me::bigint
    AND CASE WHEN watches.removed_at IS NULL THEN true ELSE false END
"""

INSERT_EVENTS = f"""
INSERT INTO events (pk, id, watch, sequence, type, at, body, traceparent)
SELECT ((pg_current_xact_id()::text::bigint + :epoch::bigint) << {SHIFT}) + pk, id, watch, sequence, type, at, body,
    traceparent
FROM unnest(
    :pk::bigint[], :id::text[], :watch::bigint[], :sequence::bigint[], :type::text[], :at::bigint[], :body::bytea[],
    :traceparent::text[]
) AS given (pk, id, watch, sequence, type, at, body, traceparent)
"""

INSERT_DELIVERIES = f"""
INSERT INTO deliveries (id, event, lane, endpoint, sequence, status, attempt, due, created_at, manual, owner)
SELECT given.id, ((pg_current_xact_id()::text::bigint + :epoch::bigint) << {SHIFT}) + given.event, given.lane,
    given.endpoint, given.sequence, CASE WHEN given.behind OR ahead.found THEN 'waiting' ELSE 'ready' END, 0,
    given.due, given.due, false, CASE WHEN given.behind OR ahead.found THEN NULL ELSE given.owner END
FROM unnest(
    :id::bigint[], :event::bigint[], :lane::bigint[], :endpoint::text[], :sequence::bigint[], :due::bigint[],
    :_owner::bigint[], :_behind::boolean[]
) AS given (id, event, lane, endpoint, sequence, due, owner, behind)
LEFT JOIN LATERAL (
    SELECT true AS found FROM deliveries AS of_lane
    WHERE of_lane.endpoint = given.endpoint AND of_lane.lane = given.lane AND of_lane.status IN ('ready', 'waiting')
    LIMIT 1
) AS ahead ON true
"""

WHICH_WAIT = """
SELECT id FROM deliveries WHERE id BETWEEN :first::bigint AND :last::bigint AND status = 'waiting'
"""

# The condition is checked again on the row itself: a node may claim it at this moment, and claims lock no watch.
SUPERSEDE = """
UPDATE deliveries
SET status = 'superseded', settled_at = old.now, reason = 'superseded'
FROM (
    SELECT each.id, given.now
    FROM unnest(:_endpoint::text[], :_lane::bigint[], :_now::bigint[]) AS given (endpoint, lane, now)
    JOIN LATERAL (
        SELECT of_lane.id FROM deliveries AS of_lane
        WHERE of_lane.endpoint = given.endpoint AND of_lane.lane = given.lane
            AND of_lane.status IN ('ready', 'waiting') AND of_lane.owner IS NULL
        OFFSET 0
    ) AS each ON true
) AS old
WHERE deliveries.id = old.id AND CASE WHEN deliveries.status IN ('ready', 'waiting') THEN true ELSE false END
    AND CASE WHEN deliveries.owner IS NULL THEN true ELSE false END
"""

OVERTAKE = """
UPDATE deliveries
SET status = 'superseded', settled_at = old.now, reason = 'superseded'
FROM (
    SELECT each.id, given.now
    FROM unnest(:_endpoint::text[], :_lane::bigint[], :_now::bigint[]) AS given (endpoint, lane, now)
    JOIN LATERAL (
        SELECT of_lane.id FROM deliveries AS of_lane
        WHERE of_lane.endpoint = given.endpoint AND of_lane.lane = given.lane
            AND of_lane.status IN ('ready', 'waiting')
        ORDER BY of_lane.sequence DESC OFFSET 1
    ) AS each ON true
) AS old
WHERE deliveries.id = old.id AND CASE WHEN deliveries.status IN ('ready', 'waiting') THEN true ELSE false END
    AND CASE WHEN deliveries.owner IS NULL THEN true ELSE false END
"""

SETTLE = """
UPDATE deliveries
SET status = given.status, attempt = given.attempt, due = given.due, settled_at = given.settled_at,
    reason = given.reason, owner = NULL
FROM unnest(
    :_id::bigint[], :status::text[], :attempt::bigint[], :due::bigint[], :settled_at::bigint[], :reason::text[]
) AS given (id, status, attempt, due, settled_at, reason)
WHERE deliveries.id = given.id AND deliveries.owner = :_me::bigint
"""

# Of two attempts in the same microsecond, or of one that is saved twice, the first stays.
INSERT_ATTEMPTS = """
INSERT INTO attempts (delivery, at, outcome, reason, detail, status, seconds, phases, address, reply, retry_after)
SELECT * FROM unnest(
    :delivery::bigint[], :at::bigint[], :outcome::text[], :reason::text[], :detail::text[], :status::bigint[],
    :seconds::float8[], :phases::text[], :address::text[], :reply::text[], :retry_after::float8[]
)
ON CONFLICT DO NOTHING
"""

PROMOTE = """
UPDATE deliveries
SET status = 'ready', due = next.due, owner = next.owner
FROM (
    SELECT first.id, first.event, given.due, given.owner
    FROM unnest(:_endpoint::text[], :_lane::bigint[], :_due::bigint[], :_owner::bigint[])
        AS given (endpoint, lane, due, owner)
    JOIN LATERAL (
        SELECT of_lane.id, of_lane.event FROM deliveries AS of_lane
        WHERE of_lane.endpoint = given.endpoint AND of_lane.lane = given.lane
            AND of_lane.status IN ('ready', 'waiting')
        ORDER BY of_lane.sequence LIMIT 1
    ) AS first ON true
) AS next, events
WHERE deliveries.id = next.id AND CASE WHEN deliveries.status = 'waiting' THEN true ELSE false END
    AND events.pk = next.event
RETURNING deliveries.id, deliveries.endpoint, deliveries.lane, deliveries.attempt, events.id, events.type, events.body,
    events.at, events.traceparent
"""

# One for each destination: all nodes lock them in the same order, so that no two wait for each other.
WAKE = """
UPDATE callbacks
SET due = CASE
    WHEN due <= greatest(held_until, :_due::bigint) THEN due
    ELSE greatest(held_until, :_due::bigint)
END
WHERE name = :_name::text
"""
