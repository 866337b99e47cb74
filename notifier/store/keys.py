"""The keys of events. They are also cursors for reading in order, so no key may appear behind a reader.

SQLite has one writer, so a counter is enough. On PostgreSQL transactions end in another order than they begin. There a
key is the number of the transaction and the place in it, and a reader stops at the oldest transaction under way.
"""

from __future__ import annotations

SHIFT = 20  # bits for the place in a transaction: a million events, far more than in a group

# The condition for an event before which no other can appear any more, on PostgreSQL.
SETTLED = f"""
events.pk < (
    (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (SELECT value FROM counters WHERE name = 'event'))
    << {SHIFT}
)
"""
