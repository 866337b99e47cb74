"""Sessions that a server goes on with after their connection was given up: ended, lest what they locked stays locked.

A server notices that a network swallows everything only when it has something to say. Statements go out many at a time
(`prepared.together`), and a session that waits for the rest of them may wait for ever: PostgreSQL's limit for being
idle in a transaction holds for those alone of which it has answered everything.
"""

from __future__ import annotations

from typing import Any

_THIS = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
# Of those at work the COMMIT may still come true: what waits for them learns that.
_END = """
SELECT pid, backend_start, wait_event_type = 'Client' AND pg_terminate_backend(pid)
FROM pg_stat_activity JOIN unnest(%s::int[], %s::timestamptz[]) AS given (pid, backend_start) USING (pid, backend_start)
"""


class Sessions:
    """The sessions of one client."""

    def __init__(self) -> None:
        self._opened: list[tuple[Any, tuple[int, Any]]] = []  # connection, number and start of the session

    def opened(self, connection: Any) -> None:
        """Remember a connection of psycopg in autocommit, after ending the sessions of those that are closed."""
        closed = [session for before, session in self._opened if before.closed]
        left: set[tuple[int, Any]] = set()
        if closed:
            numbers, starts = map(list, zip(*closed, strict=True))
            left = {(pid, start) for pid, start, _ in connection.execute(_END, [numbers, starts])}
        self._opened = [(before, session) for before, session in self._opened if not before.closed or session in left]
        self._opened.append((connection, connection.execute(_THIS).fetchone()))
