"""Reads the body of one response, decompressed, in turns that leave the loop to others."""

from __future__ import annotations

import asyncio
from time import perf_counter

import aiohttp

from notifier.core.errors import Unreadable
from notifier.sources.turns import READ, TURN_BYTES, TURN_SECONDS, Turns

MAX_RATIO = 200  # a compressed body may unpack to so many times its size; streams that flush each event stay below 50
RATIO_FROM = 1 << 20  # bytes unpacked, before which the ratio does not matter


class BodyReader:
    """Reads one body. aiohttp unpacks compressed ones, at most 256 KiB ahead."""

    __slots__ = ("_began", "_content", "_taken", "_turns")

    def __init__(self, content: aiohttp.StreamReader, turns: Turns) -> None:
        self._content = content
        self._turns = turns
        self._taken = 0  # bytes since the reader last waited for the network or rested
        self._began = 0.0  # when it took the first of them

    async def read(self) -> bytes:
        """Wait for bytes and return at most `READ` of them; none at the end.

        Raises one of `http.FAULTS` when the connection broke, Unreadable when the body unpacks without end.
        """
        if self._taken:
            await self._rest()
        chunk = self._content.read_nowait(READ)
        if not chunk:
            self._taken = 0
            return await self._content.read(READ)
        if not self._taken:
            self._began = perf_counter()
        self._taken += len(chunk)
        return chunk

    async def _rest(self) -> None:
        now = perf_counter()
        if self._taken < TURN_BYTES and now - self._began < TURN_SECONDS:
            return
        content = self._content
        if content.total_bytes > max(RATIO_FROM, MAX_RATIO * content.total_raw_bytes):
            raise Unreadable(f"the upstream's reply unpacks to more than {MAX_RATIO} times its size")
        self._taken = 0
        await asyncio.sleep(self._turns.rest(now - self._began, now))
