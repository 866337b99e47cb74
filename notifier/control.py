"""What the HTTP listener may ask of the daemon, answered: translates between plain JSON and the loops and the store.

Implements `web.Control`. Nothing here runs by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from notifier import assembly
from notifier.core.model import Json
from notifier.dispatcher import Dispatcher
from notifier.interfaces import DeliveryFilter, Store
from notifier.report import Report
from notifier.web.control import Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What only the application itself knows."""

    config: str  # the file's path
    node: str
    ready: Callable[[], str | None]
    reload: Callable[[], Awaitable[Sequence[str]]]


class DaemonControl:
    """The daemon, as seen from outside."""

    def __init__(self, *, daemon: Daemon, store: Store, dispatcher: Dispatcher, report: Report) -> None:
        self._daemon = daemon
        self._store = store
        self._dispatcher = dispatcher
        self._report = report

    # -- the daemon

    def ready(self) -> str | None:
        """Return None when all is well, or what is missing."""
        return self._daemon.ready()

    async def metrics(self) -> bytes:
        """Return the Prometheus text."""
        return await self._report.metrics()

    async def status(self) -> Json:
        """Describe the daemon at a glance."""
        return await self._report.status(ready=self._daemon.ready(), config=self._daemon.config, node=self._daemon.node)

    async def reload(self) -> Sequence[str]:
        """Load the configuration again; return what is wrong with it."""
        return await self._daemon.reload()

    # -- deliveries

    async def deliveries(self, which: DeliveryFilter, *, limit: int, before: int | None) -> list[Json]:
        """List deliveries, newest first."""
        return await self._store.deliveries(which, limit=limit, before=before)

    async def delivery(self, number: int) -> Json:
        """Show one with its attempts and payload."""
        found = await self._store.deliveries(DeliveryFilter(id=number), limit=1)
        if not found:
            raise Unknown(f"there is no delivery {number}")
        return found[0]

    async def retry(self, which: DeliveryFilter) -> int:
        """Make dead deliveries ready again."""
        if which.endpoint is not None:
            self._check(which.endpoint)
        count = await self._store.retry(which, now=assembly.clock())
        for name in self._dispatcher.queues:
            self._dispatcher.stored(name)
        return count

    # -- endpoints

    async def endpoints(self) -> list[Json]:
        """List endpoints with their health."""
        return await self._report.endpoints()

    async def enable(self, endpoint: str, *, enabled: bool) -> None:
        """Enable or disable an endpoint."""
        self._check(endpoint)
        if enabled:
            await self._dispatcher.enable(endpoint)
        else:
            await self._dispatcher.disable(endpoint, "operator", "disabled by hand")

    def _check(self, endpoint: str) -> None:
        if endpoint not in self._dispatcher.queues:
            raise Unknown(f"there is no endpoint {endpoint}")
