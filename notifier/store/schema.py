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
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    and_,
    false,
    literal_column,
    text,
)

metadata = MetaData()


def _partial(name: str, *columns: Any, where: ColumnElement[bool] | TextClause) -> None:
    """Describe an index of the rows for which a condition holds."""
    Index(name, *columns, info={"where": where})


def described(dialect: str) -> MetaData:
    """Return the tables as a dialect creates them.

    The conditions of partial indexes are each dialect's own options. A process uses one dialect, and given with the
    index they would load both.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options[dialect]["where"] = index.info["where"]
    return metadata


BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite's row id has to be called INTEGER

watches = Table(
    "watches",
    metadata,
    Column("pk", BigId, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("origin", Text, nullable=False),  # file | api | queue: who may take it away
    Column("labels", Text, nullable=False),  # JSON object
    Column("metadata", Text, nullable=False),  # JSON
    Column("endpoints", Text),  # JSON list; null: all that match
    Column("callback", Text),  # the name of its own destination
    Column("variables", Text),  # JSON object; null: none of its own
    Column("traceparent", Text),  # of who submitted the task
    Column("state", Text),  # the provider's word; null before the first observation
    Column("phase", Text),  # ours
    Column("sequence", BigInteger, nullable=False),  # of the last event
    Column("last_event_id", Text),  # of the event that brought the last change; null: it had none
    Column("stalled", Boolean, nullable=False),
    Column("ended", Boolean, nullable=False),  # terminal or lost
    Column("lost", Text),  # the reason, when it was given up
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),  # of the state
    Column("updated_at", BigInteger, nullable=False),  # of anything in the row
    Column("removed_at", BigInteger),  # when it was removed; the row stays while its deliveries do
    Column("owner", BigInteger),  # the node that follows it
    UniqueConstraint("source", "id", name="watches_source_id"),
)
_claimable = (watches.c.ended == false()) & watches.c.removed_at.is_(None) & watches.c.owner.is_(None)
_partial("watches_open", watches.c.created_at, watches.c.pk, where=_claimable)
Index("watches_updated", watches.c.updated_at)
_own_callback = watches.c.callback.is_not(None)
_partial("watches_callback", watches.c.callback, where=_own_callback)
# For lists of watches that were not removed, newest first: by source, by phase, and those that go on. The condition of
# the last has other words than claims of watches, so that SQLite does not use it for those.
_not_removed = watches.c.removed_at.is_(None)
_partial("watches_of_source", watches.c.source, watches.c.pk, where=_not_removed)
_partial(
    "watches_in_phase",
    watches.c.phase,
    watches.c.pk,
    watches.c.source,  # this and the next, so that counting reads the index alone
    watches.c.lost,
    where=_not_removed,
)
_going_on = text("removed_at IS NULL AND NOT ended")
_partial("watches_going_on", watches.c.pk, where=_going_on)

events = Table(
    "events",
    metadata,
    Column("pk", BigId, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),  # the webhook-id
    Column("watch", BigInteger),  # null: an operators' event
    Column("sequence", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("traceparent", Text),  # sent on with its callbacks
)
Index("events_watch", events.c.watch, events.c.sequence)
Index("events_at", events.c.at)
Index("events_of_type", events.c.type, events.c.pk)

# A delivery's status:
#   ready       may go out when it is due; of one watch and endpoint there is one such row at most
#   waiting     an earlier delivery of the same watch and endpoint is not settled yet
#   delivered   accepted
#   dead        the schedule is used up, or the endpoint will never accept it; can be retried by hand
#   superseded  a newer state took its place (`ordering: latest`)
#   muted       an operator has silenced the endpoint at its time
OPEN = ("ready", "waiting")

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("event", BigInteger, nullable=False),
    Column("lane", BigInteger),  # the watch; null: no order to keep
    Column("endpoint", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),  # made so far, those that count
    Column("due", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    Column("reason", Text),  # of the last failure
    Column("manual", Boolean, nullable=False),  # retried by hand
    Column("owner", BigInteger),  # the node that is sending it
)
_ready = (deliveries.c.status == "ready") & deliveries.c.owner.is_(None)
_open = text("status IN ('ready', 'waiting')")
_partial(
    "deliveries_due",
    deliveries.c.endpoint,
    deliveries.c.due,
    deliveries.c.id,
    where=_ready,
)
_partial(
    "deliveries_lane",
    deliveries.c.endpoint,
    deliveries.c.lane,
    deliveries.c.sequence,
    where=_open,
)
Index("deliveries_event", deliveries.c.event)
_partial(
    "deliveries_dead",
    deliveries.c.endpoint,
    deliveries.c.id,
    where=deliveries.c.status == "dead",
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("outcome", Text, nullable=False),  # delivered | failed | rejected | gone
    Column("reason", Text),
    Column("detail", Text),
    Column("status", Integer),  # HTTP
    Column("seconds", Float, nullable=False),
    Column("phases", Text),  # JSON object of seconds
    Column("address", Text),
    Column("reply", Text),
    Column("retry_after", Float),  # seconds that the endpoint asked for
    sqlite_with_rowid=False,
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("name", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),  # of the URL: another URL is another endpoint
    Column("disabled_at", BigInteger),
    Column("reason", Text),
    Column("failing_since", BigInteger),  # without any success
    # The defaults are those of the migration that added the columns to rows that were there.
    # closed | throttled | open: by its breaker, for other nodes to know
    Column("held", Text, nullable=False, server_default="closed"),
    Column("not_before", BigInteger, nullable=False, server_default="0"),  # nothing goes out before, if it is held
    Column("rounds", Integer, nullable=False, server_default="0"),  # cool-downs in a row
    Column("leader", BigInteger),  # the node that serves it, where only one may; of no meaning elsewhere
    Column("version", BigInteger, nullable=False, server_default="0"),  # counts changes, but for those of the leader
)

# There may be very many: only destinations with deliveries under way (`owner`) are in memory. For the others `due` is
# the schedule: no ready delivery without an owner is due before it, unless the destination is held.
callbacks = Table(
    "callbacks",
    metadata,
    Column("name", Text, primary_key=True),  # deliveries carry it as their endpoint
    Column("url", Text, nullable=False),
    Column("secret", Text),  # null: the configured one signs
    Column("used_at", BigInteger, nullable=False),  # when a watch last came with it
    Column("due", BigInteger),  # when to look for its deliveries; null: there is no reason to
    Column("held_until", BigInteger),  # it was failing, or asked for patience
    Column("rounds", Integer, nullable=False),  # cool-downs in a row
    Column("owner", BigInteger),  # the node that has taken it
)
_scheduled = callbacks.c.due.is_not(None)
_partial("callbacks_due", callbacks.c.due, callbacks.c.name, where=_scheduled)
_in_hand = callbacks.c.owner.is_not(None)
_partial("callbacks_in_hand", callbacks.c.owner, where=_in_hand)

messages = Table(
    "messages",
    metadata,
    Column("watch", BigInteger, primary_key=True, autoincrement=False),
    Column("endpoint", Text, primary_key=True),
    Column("place", Text, nullable=False),  # a digest of service and channel: in another one the message is not there
    Column("channel", Text, nullable=False),  # the channel's id
    Column("ts", Text, nullable=False),  # the message's id in it
    Column("sequence", BigInteger, nullable=False),  # of the event that it shows
    Column("replied", Text),  # the id of the last event that was told in its thread
    sqlite_with_rowid=False,
)

mutes = Table(
    "mutes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("endpoint", Text),  # null: all that people read
    Column("labels", Text, nullable=False),  # JSON object: of the watch, all of them
    Column("until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("comment", Text),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
COUNTERS = ("node", "watch", "event", "delivery")

# A daemon on a shared database. While its row exists, a node is alive and owns the rows with its number as `owner`.
# Every transaction of the node begins by updating the row. A node that finds another's row too old deletes it and frees
# all that it owned, in one transaction. So a node without a row cannot write, whatever it believes.
nodes = Table(
    "nodes",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # never used again
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),  # times are the database's
    Column("seen_at", BigInteger, nullable=False),
    Column("timeout", BigInteger, nullable=False),  # microseconds without a sign of life that mean death
    Column(
        "groups", BigInteger, nullable=False
    ),  # number of the last transaction: did a COMMIT without answer succeed?
    Column("held", BigInteger, nullable=False),  # watches that it follows
    Column("leaving", Boolean, nullable=False),  # it takes no more of them
    Column("status", Text, nullable=False),  # JSON object: what the node reports of itself
)

# -- conditions and values that statements share. Those on `status` are literals, not parameters: SQLite and PostgreSQL
# use a partial index only where the query repeats its condition.

READY = literal_column("'ready'", Text)
WAITING = literal_column("'waiting'", Text)
SUPERSEDED = literal_column("'superseded'", Text)
DEAD = literal_column("'dead'", Text)


def is_open(table: FromClause) -> ColumnElement[bool]:
    """Return the condition of the index `deliveries_lane`."""
    return table.c.status.in_([literal_column(f"'{status}'", Text) for status in OPEN])


def in_lane(table: FromClause, endpoint: ColumnElement[str], lane: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition of being open in a lane."""
    return and_(table.c.endpoint == endpoint, table.c.lane == lane, is_open(table))


def superseded(now: ColumnElement[int]) -> dict[str, ColumnElement[Any]]:
    """Return the values of a delivery whose place a newer one took."""
    return {"status": SUPERSEDED, "settled_at": now, "reason": SUPERSEDED}


IS_DEAD = deliveries.c.status == DEAD  # the condition of the index `deliveries_dead`
IS_FOLLOWED = and_(watches.c.ended == false(), watches.c.removed_at.is_(None))
