"""What the listener asks of the daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from notifier.core.errors import NotifierError
from notifier.core.model import Json
from notifier.store.values import DeliveryFilter, EventFilter, WatchFilter
from notifier.web.hub import Hub


class Unknown(NotifierError):
    """There is no such thing."""


class Refused(NotifierError):
    """What was sent cannot be done as it is written; nothing was changed."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__()
        self.problems = tuple(problems)


class Control(Protocol):
    """The daemon, as seen from outside."""

    def ready(self) -> str | None:
        """Return None when all is well, or what is missing."""
        ...

    async def metrics(self) -> bytes:
        """Return the Prometheus text."""
        ...

    async def status(self) -> Json:
        """Describe the daemon at a glance."""
        ...

    async def nodes(self) -> list[Json]:
        """List the nodes that share the store, as this one knows them."""
        ...

    async def reload(self) -> Sequence[str]:
        """Load the configuration again; return what is wrong with it, nothing if it was taken."""
        ...

    async def follow(self, entries: Sequence[Json], *, listed: bool) -> list[Json]:
        """Want watches; return of each its source, id and whether it is new, after the commit.

        Raises Refused with every problem, placed by index where they came in a list: then none is wanted.
        """
        ...

    async def watches(self, which: WatchFilter, *, limit: int, before: int | None) -> tuple[list[Json], int | None]:
        """List watches, newest first, and where the next page begins."""
        ...

    async def watch(self, source: str, task_id: str) -> Json:
        """Show one with its events, their deliveries, and its connection. Raises Unknown."""
        ...

    async def forget(self, source: str, task_id: str) -> None:
        """Want a watch no longer; what was recorded is still delivered. Raises Unknown."""
        ...

    async def events(self, which: EventFilter, *, limit: int, before: int | None, after: int | None) -> list[Json]:
        """List events, newest first; with `after`, oldest first."""
        ...

    @property
    def hub(self) -> Hub:
        """Return who tells what is committed, as it is."""
        ...

    async def deliveries(self, which: DeliveryFilter, *, limit: int, before: int | None) -> list[Json]:
        """List deliveries, newest first."""
        ...

    async def delivery(self, number: int) -> Json:
        """Show one with its attempts and payload. Raises Unknown."""
        ...

    async def retry(self, which: DeliveryFilter) -> int:
        """Make dead deliveries ready again. Raises Unknown for an endpoint that is not configured."""
        ...

    async def endpoints(self) -> list[Json]:
        """List endpoints with their health."""
        ...

    async def test(self, endpoint: str) -> Json:
        """Send a test event to an endpoint at once; return what became of it. Raises Unknown."""
        ...

    async def enable(self, endpoint: str, *, enabled: bool) -> None:
        """Enable or disable an endpoint. Raises Unknown."""
        ...


CONTROL = web.AppKey("control", Control)
