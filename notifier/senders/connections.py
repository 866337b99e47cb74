"""Connections to endpoints, kept between attempts: to one endpoint, or shared by many."""

from __future__ import annotations

from collections.abc import Callable

from notifier.core.callback import CallbackPolicy
from notifier.runtime.http1 import Pool
from notifier.runtime.tls import Trust

KEEPALIVE = 15.0  # seconds that an idle connection is kept; below the usual limits of servers and balancers
MAX_IDLE = 256  # hosts to which idle connections are kept: each takes a descriptor, and there may be very many hosts

StillOurs = Callable[[], bool]  # asked in the step that writes: whether the delivery is surely still this node's


def always() -> bool:
    """Return True: the delivery is in no outbox, so no other node can take it."""
    return True


class Connections:
    """A pool of connections, closed when its last user releases it. Its creator is the first user."""

    def __init__(self, *, limit: int, ssl: Trust, policy: CallbackPolicy | None = None) -> None:
        """Open up to `limit` connections at a time (0: any number), to addresses that `policy` allows."""
        self.ssl = ssl
        self.pool = Pool(limit=limit, keep=KEEPALIVE, max_idle_routes=MAX_IDLE, policy=policy)
        self._users = 1

    def share(self) -> Connections:
        """Add a user; return the pool itself."""
        self._users += 1
        return self

    def release(self) -> None:
        """Remove a user; close every connection if it was the last."""
        self._users -= 1
        if not self._users:
            self.pool.close()
