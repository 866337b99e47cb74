"""The body of a request, written only while its delivery is surely this node's.

aiohttp may write it a round of the event loop after it has its connection, and a process may be stopped in between.
Headers wait for the body, so that nothing is sent where this raises.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import aiohttp

from notifier.senders.claims import claim_holds

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

LARGE = 1 << 20  # bytes; above, aiohttp wants a file, which it writes in pieces


class ClaimLost(Exception):
    """The delivery may be another node's by now."""


class _Small(aiohttp.BytesPayload):
    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _require_claim()
        await super().write_with_length(writer, content_length)


class _Large(aiohttp.BytesIOPayload):
    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _require_claim()
        await super().write_with_length(writer, content_length)


def payload(body: bytes) -> aiohttp.Payload:
    """Return a body to send once; to write it raises ClaimLost, which aiohttp wraps, unless the claim holds."""
    return _Small(body) if len(body) <= LARGE else _Large(io.BytesIO(body))


def _require_claim() -> None:
    if not claim_holds.get()():
        raise ClaimLost
