"""The tables. The same on SQLite and PostgreSQL; times are microseconds since the epoch, JSON is text.

watches     one row a task that is or was followed
events      what happened, with the bytes that are sent; immutable
deliveries  the outbox: an event on its way to an endpoint
attempts    the log of tries
endpoints   what is kept of an endpoint's health, and which node serves it where only one may
callbacks   destinations that came with watches, and when to look for what is due of them
counters    where the next block of ids begins, and the number of the next node
nodes       the daemons that share a PostgreSQL; on SQLite there is one, and no row for it
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData()

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
    Column("state", Text),  # the provider's word; null before the first observation
    Column("phase", Text),  # ours
    Column("sequence", BigInteger, nullable=False),  # of the last event
    Column("stalled", Boolean, nullable=False),
    Column("ended", Boolean, nullable=False),  # terminal or lost
    Column("lost", Text),  # the reason, when it was given up
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),  # of the state
    Column("updated_at", BigInteger, nullable=False),  # of anything in the row
    Column("removed_at", BigInteger),  # no longer wanted; kept while its deliveries are
    Column("owner", BigInteger),  # the node that follows it
    UniqueConstraint("source", "id", name="watches_source_id"),
)
_claimable = (watches.c.ended == false()) & watches.c.removed_at.is_(None) & watches.c.owner.is_(None)
Index("watches_open", watches.c.created_at, watches.c.pk, sqlite_where=_claimable, postgresql_where=_claimable)
Index("watches_updated", watches.c.updated_at)
_told_apart = watches.c.callback.is_not(None)
Index("watches_callback", watches.c.callback, sqlite_where=_told_apart, postgresql_where=_told_apart)
# For lists, newest first, of what is wanted: by source, by phase, of what goes on. The last one's condition is worded
# as no claim of watches words it, lest SQLite take it for those.
_wanted = watches.c.removed_at.is_(None)
Index("watches_of_source", watches.c.source, watches.c.pk, sqlite_where=_wanted, postgresql_where=_wanted)
Index(
    "watches_in_phase",
    watches.c.phase,
    watches.c.pk,
    watches.c.source,  # this and the next, so that counting reads the index alone
    watches.c.lost,
    sqlite_where=_wanted,
    postgresql_where=_wanted,
)
_going_on = text("removed_at IS NULL AND NOT ended")
Index("watches_going_on", watches.c.pk, sqlite_where=_going_on, postgresql_where=_going_on)

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
Index(
    "deliveries_due",
    deliveries.c.endpoint,
    deliveries.c.due,
    deliveries.c.id,
    sqlite_where=_ready,
    postgresql_where=_ready,
)
Index(
    "deliveries_lane",
    deliveries.c.endpoint,
    deliveries.c.lane,
    deliveries.c.sequence,
    sqlite_where=_open,
    postgresql_where=_open,
)
Index("deliveries_event", deliveries.c.event)
Index(
    "deliveries_dead",
    deliveries.c.endpoint,
    deliveries.c.id,
    sqlite_where=deliveries.c.status == "dead",
    postgresql_where=deliveries.c.status == "dead",
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
    Column("held", Text, nullable=False),  # closed | throttled | open: by its breaker, for other nodes to know
    Column("not_before", BigInteger, nullable=False),  # nothing goes out before, if it is held
    Column("rounds", Integer, nullable=False),  # cool-downs in a row
    Column("leader", BigInteger),  # the node that serves it, where only one may; of no meaning elsewhere
    Column("version", BigInteger, nullable=False),  # counts changes, but for those of the leader
)

# There may be very many: memory holds those alone that something is sent to (`owner`). For the others `due` is the
# schedule: a delivery that is ready and nobody's is never due before it, but what is held back.
callbacks = Table(
    "callbacks",
    metadata,
    Column("name", Text, primary_key=True),  # deliveries carry it as their endpoint
    Column("url", Text, nullable=False),
    Column("secret", Text),  # null: the configured one signs
    Column("used_at", BigInteger, nullable=False),  # when a watch came with it last
    Column("due", BigInteger),  # when to look for its deliveries; null: there is no reason to
    Column("held_until", BigInteger),  # it was failing, or asked for patience
    Column("rounds", Integer, nullable=False),  # cool-downs in a row
    Column("owner", BigInteger),  # the node that has it in hand
)
_scheduled = callbacks.c.due.is_not(None)
Index("callbacks_due", callbacks.c.due, callbacks.c.name, sqlite_where=_scheduled, postgresql_where=_scheduled)
_in_hand = callbacks.c.owner.is_not(None)
Index("callbacks_in_hand", callbacks.c.owner, sqlite_where=_in_hand, postgresql_where=_in_hand)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# A daemon that works on a shared database. Whoever holds its row's number as `owner` above is alive as long as the row
# is there: every transaction of a node begins by updating it, and whoever finds it too old takes it away, with all that
# it owned, in one transaction. So a node that lost its row can write nothing, whatever it believes.
nodes = Table(
    "nodes",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # never used again
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),  # times are the database's
    Column("seen_at", BigInteger, nullable=False),
    Column("timeout", BigInteger, nullable=False),  # microseconds without a sign of life that mean death
    Column("groups", BigInteger, nullable=False),  # the last transaction's: tells whether one whose end is unknown was
    Column("held", BigInteger, nullable=False),  # watches that it follows
    Column("leaving", Boolean, nullable=False),  # it takes no more of them
    Column("status", Text, nullable=False),  # JSON object: what it tells of itself
)
