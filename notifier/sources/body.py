"""Reads the body of one reply, unpacked, in turns that leave the loop to others.

Bytes come from the connection as they arrived. No more of a packed body is unpacked than is asked for.

A stream that waits for the network lets others run while it waits. One that always has bytes, as a compressed flood of
comments does, would keep the loop for itself. It works in turns of a few milliseconds, and the streams of a source that
need several turns in a row share a fifth of the loop's time.
"""

from __future__ import annotations

import asyncio
import zlib
from time import perf_counter

from notifier.core.errors import Unreadable
from notifier.runtime.http1 import Connection, HttpFault

READ = 8 << 10  # bytes taken at once
SLOWEST = 0.0015 / READ  # seconds a byte that a decoder needs at most, for the worst of them
TURN_BYTES = 64 << 10  # after so many a turn is over
TURN_SECONDS = 0.005  # and after so long
SHARE = 0.2  # of the loop's time, for all streams of a source that need more than a turn
LONGEST = 2 * TURN_SECONDS  # a turn counts for no more: for the rest of it the whole process stood still
MAX_RATIO = 200  # a compressed body may unpack to so many times its size; streams that flush each event stay below 50
RATIO_FROM = 1 << 20  # bytes unpacked, before which the ratio does not matter

_PLAIN = frozenset({"", "identity"})
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})  # RFC 9110 section 8.4.1
_GZIP, _ZLIB, _DEFLATE = 31, 15, -15  # of zlib, as `wbits`
_MEMBER = b"\x1f\x8b"  # how a member of a gzip file begins (RFC 1952 section 2.3.1)


class Turns:
    """Says how long a stream of a source rests after a turn."""

    def __init__(self) -> None:
        self._free = 0.0  # when the source may have its next turn

    def rest(self, worked: float, now: float) -> float:
        """Return the seconds to rest after a turn of `worked` seconds that ended `now`."""
        self._free = max(self._free, now) + min(worked, LONGEST) / SHARE
        return self._free - now


class BadPacking(HttpFault):
    """The body of a reply is not packed as its head says."""


class BodyReader:
    """Reads one body."""

    __slots__ = ("_alone", "_at", "_connection", "_given", "_held", "_size", "_taken", "_turns", "_unpacker", "_worked")

    def __init__(self, connection: Connection, encoding: str, turns: Turns) -> None:
        """Read the body of a connection's reply; `encoding` is one that `can_read`."""
        self._connection = connection
        self._turns = turns
        self._unpacker = None if encoding.strip().lower() in _PLAIN else Unpacker(encoding)
        self._held = b""  # received and not read
        self._at = 0  # where the rest of it begins
        self._taken = 0  # bytes since the reader last waited for the network or rested
        self._worked = 0.0  # seconds on them
        self._given = 0.0  # when the last of them were returned
        self._size = 0  # and how many they were
        self._alone = False  # nothing else has run on the loop since then

    async def read(self) -> bytes:
        """Wait for bytes and return at most `READ` of them; none at the end.

        Raises HttpFault when the connection broke, after everything that came before that; Unreadable when the body
        unpacks without end.
        """
        if self._taken:
            await self._rest()
        connection = self._connection
        reply = connection.reply
        take = self._received if self._unpacker is None else self._unpacked
        if (self._held or reply.size or self._unpacker is not None) and (chunk := take()):
            self._given, self._size = perf_counter(), len(chunk)
            self._taken += self._size
            if not self._alone:
                self._alone = True
                asyncio.get_running_loop().call_soon(self._leave)
            return chunk
        self._taken, self._worked = 0, 0.0
        while True:
            if connection.fault is not None:
                raise connection.fault.anew()
            if reply.over:
                return b""
            await connection.more()
            if chunk := take():
                return chunk

    def _unpacked(self) -> bytes:
        """Return the next bytes of those that are here."""
        assert self._unpacker is not None
        while not (chunk := self._unpacker.take(READ)):
            packed = self._received()
            if not packed:
                return b""
            self._unpacker.feed(packed)
        return chunk

    def _received(self) -> bytes:
        """Do the same, as they came."""
        if not self._held:
            reply = self._connection.reply
            if not reply.size:
                return b""
            self._held = reply.take()
        if len(self._held) <= READ:
            chunk, self._held = self._held, b""
            return chunk
        chunk = self._held[self._at : self._at + READ]
        self._at += READ
        if self._at >= len(self._held):
            self._held, self._at = b"", 0
        return chunk

    def _leave(self) -> None:
        """Note that others have had their turn on the loop."""
        self._alone = False

    async def _rest(self) -> None:
        now = perf_counter()
        worked = now - self._given
        if not self._alone:  # most of it was spent waiting: for a commit, say
            worked = min(worked, self._size * SLOWEST)
        self._worked += worked
        if self._taken < TURN_BYTES and self._worked < TURN_SECONDS:
            return
        if self._unpacker is not None and self._unpacker.is_bomb:
            raise Unreadable(f"the upstream's reply unpacks to more than {MAX_RATIO} times its size")
        rest = self._turns.rest(self._worked, now)
        self._taken, self._worked = 0, 0.0
        await asyncio.sleep(rest)


class Unpacker:
    """Unpacks one body piece by piece."""

    __slots__ = ("_between", "_done", "_gzip", "_more", "_rest", "_taken", "_unpacked", "_zlib")

    def __init__(self, encoding: str) -> None:
        self._gzip = "gzip" in encoding.lower()
        self._zlib = zlib.decompressobj(_GZIP) if self._gzip else None  # None: the first byte tells
        self._rest = b""  # packed
        self._more = False  # there may be more to take though nothing packed is left
        self._between = False  # a member is over; the first bytes that follow tell whether another one begins
        self._done = False  # what follows belongs to no member
        self._taken = 0  # bytes packed
        self._unpacked = 0

    @property
    def is_bomb(self) -> bool:
        """Return whether so few bytes unpacked to so many that nothing good can follow."""
        return self._unpacked > max(RATIO_FROM, MAX_RATIO * self._taken)

    def feed(self, packed: bytes) -> None:
        """Add bytes."""
        self._rest += packed
        if self._between:
            self._look_for_member()

    def take(self, size: int) -> bytes:
        """Return at most so many bytes unpacked; none if more are needed for that. Raises BadPacking."""
        while (self._rest or self._more) and not self._done and not self._between:
            unpacker = self._zlib
            if unpacker is None:  # servers send both forms under the one name
                unpacker = self._zlib = zlib.decompressobj(_ZLIB if self._rest[0] & 0x0F == 8 else _DEFLATE)
            before = len(self._rest)
            try:
                chunk = unpacker.decompress(self._rest, size)
            except zlib.error:
                raise BadPacking("it does not unpack") from None
            self._rest = unpacker.unconsumed_tail
            self._more = len(chunk) == size
            if unpacker.eof:
                self._more, self._rest, self._between = False, unpacker.unused_data, True
                self._look_for_member()
            self._taken += before - len(self._rest)
            self._unpacked += len(chunk)
            if chunk:
                return chunk
        return b""

    def _look_for_member(self) -> None:
        """Begin with the next member of a gzip file, as soon as its first bytes are here; anything else is padding."""
        begins = self._rest[: len(_MEMBER)]
        if not self._gzip or begins != _MEMBER[: len(begins)]:
            self._between, self._done = False, True
        elif len(begins) == len(_MEMBER):
            self._between, self._zlib = False, zlib.decompressobj(_GZIP)


def can_read(encoding: str) -> bool:
    """Return whether the value of a Content-Encoding header names a packing that can be unpacked."""
    return encoding.strip().lower() in _PLAIN | _PACKED
