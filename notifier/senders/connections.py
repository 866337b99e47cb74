"""Connections to endpoints, kept between attempts: to one endpoint, or shared by many."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from notifier.core import http_head
from notifier.core.http_head import Fields
from notifier.runtime.http1 import Connection, Pool, Vet
from notifier.runtime.tls import Trust
from notifier.senders.reply import READ_LIMIT

KEEPALIVE = 15.0  # seconds that an idle connection is kept; below the usual limits of servers and balancers
MAX_IDLE = 256  # hosts to which idle connections are kept: each takes a descriptor, and there may be very many hosts

StillOurs = Callable[[], bool]  # asked in the step that writes: whether the delivery is surely still this node's


def always() -> bool:
    """Return True: the delivery is in no outbox, so no other node can take it."""
    return True


class ClaimLost(Exception):
    """The delivery may be another node's by now."""


class AttemptTrace:
    """The progress of one attempt. It is filled in on the way, so that a timeout can also report it."""

    __slots__ = ("address", "began", "body", "connected", "dns", "fields", "replied", "reused", "status")

    def __init__(self, began: float) -> None:
        self.began = began
        self.dns = 0.0  # seconds of the lookup that it waited for
        self.connected = 0.0  # when the request could be written
        self.replied = 0.0  # when the reply's head was complete
        self.reused = False  # whether the connection had been used before
        self.address: str | None = None
        self.status: int | None = None
        self.fields: Mapping[str, str] = {}
        self.body = b""

    def take_connection(self, connection: Connection, now: float) -> None:
        """Record the connection that the request goes over."""
        self.connected, self.address, self.reused = now, connection.address, connection.used
        self.dns = 0.0 if connection.used else connection.looked_up

    def take_reply(self, connection: Connection) -> None:
        """Record the reply as far as it came."""
        reply = connection.reply
        if reply.status:
            self.status, self.replied = reply.status, connection.replied
            self.fields, self.body = reply.fields, reply.take()[:READ_LIMIT]

    def take_refused(self, raw: bytes, now: float) -> bool:
        """Record a reply whose head was refused; return False if not even its status can be read."""
        self.status = http_head.status_of(raw)
        if self.status is None:
            return False
        end = http_head.find_end(raw)
        end = len(raw) if end < 0 else end
        self.replied, self.fields, self.body = now, Fields(raw[:end]), raw[end : end + READ_LIMIT]
        return True


class Connections:
    """A pool of connections, closed when its last user releases it. Its creator is the first user."""

    def __init__(self, *, limit: int, ssl: Trust, vet: Vet | None = None) -> None:
        """Open up to `limit` connections at a time; 0: any number."""
        self.ssl = ssl
        self.pool = Pool(limit=limit, keep=KEEPALIVE, max_idle_routes=MAX_IDLE, vet=vet)
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
