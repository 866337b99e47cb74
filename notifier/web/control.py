"""What the listener asks of the daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from notifier.core.errors import NotifierError
from notifier.core.model import Json
from notifier.interfaces import DeliveryFilter


class Unknown(NotifierError):
    """There is no such thing."""


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

    async def reload(self) -> Sequence[str]:
        """Load the configuration again; return what is wrong with it, nothing if it was taken."""
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

    async def enable(self, endpoint: str, *, enabled: bool) -> None:
        """Enable or disable an endpoint. Raises Unknown."""
        ...


CONTROL = web.AppKey("control", Control)
