"""The tables. The same on SQLite and PostgreSQL; times are microseconds since the epoch, JSON is text.

watches     one row a task that is or was followed
events      what happened, with the bytes that are sent; immutable
deliveries  the outbox: an event on its way to an endpoint
attempts    the log of tries
endpoints   the health of each endpoint, and the node that serves it where only one may
callbacks   destinations that came with watches, and when to look for their deliveries
messages    the message of each task in a channel where messages are edited
mutes       endpoints that people read, silenced for a while
counters    where the next block of ids begins, and the number of the next node
nodes       the daemons that share a PostgreSQL; on SQLite there is one, and no row for it

They are made as the migrations leave them, which a test holds them to.
"""

from __future__ import annotations

import re

SCHEMA = """
CREATE TABLE watches (
    pk {key} NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    origin TEXT NOT NULL, -- file | api | queue: who may take it away
    labels TEXT NOT NULL, -- JSON object
    metadata TEXT NOT NULL, -- JSON
    endpoints TEXT, -- JSON list; null: all that match
    callback TEXT, -- the name of its own destination
    variables TEXT, -- JSON object; null: none of its own
    traceparent TEXT, -- of who submitted the task
    state TEXT, -- the provider's word; null before the first observation
    phase TEXT, -- ours
    sequence BIGINT NOT NULL, -- of the last event
    last_event_id TEXT, -- of the event that brought the last change; null: it had none
    stalled BOOLEAN NOT NULL,
    ended BOOLEAN NOT NULL, -- terminal or lost
    lost TEXT, -- the reason, when it was given up
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL, -- of the state
    updated_at BIGINT NOT NULL, -- of anything in the row
    removed_at BIGINT, -- when it was removed; the row stays while its deliveries do
    owner BIGINT, -- the node that follows it
    PRIMARY KEY (pk),
    CONSTRAINT watches_source_id UNIQUE (source, id)
);
CREATE INDEX watches_open ON watches (created_at, pk) WHERE ended = {false} AND removed_at IS NULL AND owner IS NULL;
CREATE INDEX watches_callback ON watches (callback) WHERE callback IS NOT NULL;
-- For lists of watches that were not removed, newest first: by source, those that go on, and the ended by phase. The
-- condition of the second has other words than claims of watches, so that SQLite does not use it for those.
-- A watch that goes on is in no index whose columns its steps change: each would cost two pages a step.
CREATE INDEX watches_of_source ON watches (source, pk) WHERE removed_at IS NULL;
CREATE INDEX watches_going_on ON watches (pk) WHERE removed_at IS NULL AND NOT ended;
-- With all columns that counting reads.
CREATE INDEX watches_ended ON watches (phase, pk, source, lost) WHERE removed_at IS NULL AND ended;
-- For pruning, oldest first.
CREATE INDEX watches_over ON watches (updated_at, pk) WHERE ended OR removed_at IS NOT NULL;

CREATE TABLE events (
    pk {key} NOT NULL,
    id TEXT NOT NULL, -- the webhook-id
    watch BIGINT, -- null: an operators' event
    sequence BIGINT NOT NULL,
    type TEXT NOT NULL,
    at BIGINT NOT NULL,
    body {bytes} NOT NULL,
    traceparent TEXT, -- sent on with its callbacks
    PRIMARY KEY (pk)
);
CREATE INDEX events_watch ON events (watch, sequence);
CREATE INDEX events_at ON events (at);
CREATE INDEX events_of_type ON events (type, pk);

-- A delivery's status:
--   ready       may go out when it is due; of one watch and endpoint there is one such row at most
--   waiting     an earlier delivery of the same watch and endpoint is not settled yet
--   delivered   accepted
--   dead        the schedule is used up, or the endpoint will never accept it; can be retried by hand
--   superseded  a newer state took its place (`ordering: latest`)
--   muted       an operator has silenced the endpoint at its time
CREATE TABLE deliveries (
    id {key} NOT NULL,
    event BIGINT NOT NULL,
    lane BIGINT, -- the watch; null: no order to keep
    endpoint TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL, -- made so far, those that count
    due BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    settled_at BIGINT,
    reason TEXT, -- of the last failure
    manual BOOLEAN NOT NULL, -- retried by hand
    owner BIGINT, -- the node that is sending it
    PRIMARY KEY (id)
);
CREATE INDEX deliveries_due ON deliveries (endpoint, due, id) WHERE status = 'ready' AND owner IS NULL;
CREATE INDEX deliveries_lane ON deliveries (endpoint, lane, sequence) WHERE status IN ('ready', 'waiting');
CREATE INDEX deliveries_event ON deliveries (event);
CREATE INDEX deliveries_dead ON deliveries (endpoint, id) WHERE status = 'dead';

CREATE TABLE attempts (
    delivery BIGINT NOT NULL,
    at BIGINT NOT NULL,
    outcome TEXT NOT NULL, -- delivered | failed | rejected | gone
    reason TEXT,
    detail TEXT,
    status INTEGER, -- HTTP
    seconds FLOAT NOT NULL,
    phases TEXT, -- JSON object of seconds
    address TEXT,
    reply TEXT,
    retry_after FLOAT, -- seconds that the endpoint asked for
    PRIMARY KEY (delivery, at)
){without_rowid};

-- The defaults are those of the migration that added the columns to rows that were there.
CREATE TABLE endpoints (
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL, -- of the URL: another URL is another endpoint
    disabled_at BIGINT,
    reason TEXT,
    failing_since BIGINT, -- without any success
    held TEXT DEFAULT 'closed' NOT NULL, -- closed | throttled | open: by its breaker, for other nodes to know
    not_before BIGINT DEFAULT '0' NOT NULL, -- nothing goes out before, if it is held
    rounds INTEGER DEFAULT '0' NOT NULL, -- cool-downs in a row
    leader BIGINT, -- the node that serves it, where only one may; of no meaning elsewhere
    version BIGINT DEFAULT '0' NOT NULL, -- counts changes, but for those of the leader
    PRIMARY KEY (name)
);

-- There may be very many: only destinations with deliveries under way (`owner`) are in memory. For the others `due`
-- is the schedule: no ready delivery without an owner is due before it, unless the destination is held.
CREATE TABLE callbacks (
    name TEXT NOT NULL, -- deliveries carry it as their endpoint
    url TEXT NOT NULL,
    secret TEXT, -- null: the configured one signs
    used_at BIGINT NOT NULL, -- when a watch last came with it
    due BIGINT, -- when to look for its deliveries; null: there is no reason to
    held_until BIGINT, -- it was failing, or asked for patience
    rounds INTEGER NOT NULL, -- cool-downs in a row
    owner BIGINT, -- the node that has taken it
    PRIMARY KEY (name)
);
CREATE INDEX callbacks_due ON callbacks (due, name) WHERE due IS NOT NULL;
CREATE INDEX callbacks_in_hand ON callbacks (owner) WHERE owner IS NOT NULL;

CREATE TABLE messages (
    watch BIGINT NOT NULL,
    endpoint TEXT NOT NULL,
    place TEXT NOT NULL, -- a digest of service and channel: in another one the message is not there
    channel TEXT NOT NULL, -- the channel's id
    ts TEXT NOT NULL, -- the message's id in it
    sequence BIGINT NOT NULL, -- of the event that it shows
    replied TEXT, -- the id of the last event that was told in its thread
    PRIMARY KEY (watch, endpoint)
){without_rowid};

CREATE TABLE mutes (
    id TEXT NOT NULL,
    endpoint TEXT, -- null: all that people read
    labels TEXT NOT NULL, -- JSON object: of the watch, all of them
    until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    comment TEXT,
    PRIMARY KEY (id)
);

CREATE TABLE counters (
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name)
);

-- A daemon on a shared database. While its row exists, a node is alive and owns the rows with its number as `owner`.
-- Every transaction of the node begins by updating the row. A node that finds another's row too old deletes it and
-- frees all that it owned, in one transaction. So a node without a row cannot write, whatever it believes.
CREATE TABLE nodes (
    number BIGINT NOT NULL, -- never used again
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL, -- times are the database's
    seen_at BIGINT NOT NULL,
    timeout BIGINT NOT NULL, -- microseconds without a sign of life that mean death
    groups BIGINT NOT NULL, -- number of the last transaction: did a COMMIT without answer succeed?
    held BIGINT NOT NULL, -- watches that it follows
    leaving BOOLEAN NOT NULL, -- it takes no more of them
    status TEXT NOT NULL, -- JSON object: what the node reports of itself
    PRIMARY KEY (number)
);
"""
COUNTERS = ("node", "watch", "event", "delivery")
TABLES = tuple(re.findall(r"CREATE TABLE (\w+)", SCHEMA))

# A key that SQLite keeps as its row id has to be called INTEGER there.
_SQLITE = {"key": "INTEGER", "bytes": "BLOB", "without_rowid": " WITHOUT ROWID", "false": "0"}
_POSTGRESQL = {"key": "BIGINT", "bytes": "BYTEA", "without_rowid": "", "false": "false"}


def definitions(*, shared: bool) -> list[str]:
    """Return the statements that make the tables."""
    script = re.sub(r"--.*", "", SCHEMA).format(**(_POSTGRESQL if shared else _SQLITE))
    return [" ".join(statement.split()) for statement in script.split(";") if statement.strip()]
