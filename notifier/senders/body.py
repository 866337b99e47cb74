"""The body of a request, written only while its delivery is surely this node's.

aiohttp may write the body a round of the event loop after it has a connection, and the process may be stopped in
between. aiohttp writes the headers together with the body, so nothing is sent if the body raises.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

LARGE = 1 << 20  # bytes; aiohttp wants a file for a larger body, and writes it in pieces

StillOurs = Callable[[], bool]  # asked in the step that writes: whether the delivery is surely still this node's


class ClaimLost(Exception):
    """The delivery may be another node's by now."""


class _Small(aiohttp.BytesPayload):
    def __init__(self, body: bytes, still_ours: StillOurs) -> None:
        super().__init__(body)
        self._still_ours = still_ours

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _require(self._still_ours)
        await super().write_with_length(writer, content_length)


class _Large(aiohttp.BytesIOPayload):
    def __init__(self, body: bytes, still_ours: StillOurs) -> None:
        super().__init__(io.BytesIO(body))
        self._still_ours = still_ours

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _require(self._still_ours)
        await super().write_with_length(writer, content_length)


def always() -> bool:
    """Return True: the delivery is in no outbox, so no other node can take it."""
    return True


def payload(body: bytes, still_ours: StillOurs) -> aiohttp.Payload:
    """Return a body to send once. Writing it raises ClaimLost, which aiohttp wraps, if the delivery may be lost."""
    return _Small(body, still_ours) if len(body) <= LARGE else _Large(body, still_ours)


def _require(still_ours: StillOurs) -> None:
    if not still_ours():
        raise ClaimLost
