"""A receiver that verifies each callback by its own means, notes it, and answers by a seeded dice.

Endpoints are told apart by path, nodes by the header `x-node`, which their configurations set.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from judge import Received

from chaos.scribe import Scribe
from chaos.upstream import reset

SLOW = 0.05  # seconds before a late answer


@dataclass(slots=True, kw_only=True)
class Manners:
    """How often, of a thousand callbacks, something else happens than an immediate 200."""

    refuse: int = 0  # 500
    cut: int = 0  # RST without an answer
    hang: int = 0  # no answer, until the sender gives up
    slow: int = 0  # a late 200
    away: bool = False  # 503 to all


@dataclass(slots=True)
class _Request:
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default=0.0)


class Receiver:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self, scribe: Scribe, secret: str, dice: random.Random, *, timeout: float, ahead: int = 0) -> None:
        """Verify by a secret; `timeout`: seconds after which senders give an attempt up.

        `ahead`: the seconds by which their dates are ahead of the record (clocks.py).
        """
        self.manners = Manners()
        self.port = 0
        self.count = 0
        self._scribe = scribe
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._dice = dice
        self._timeout = timeout
        self._ahead = ahead
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop everything."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                request = await _read(reader)
                request.at = self._scribe.now()
                self.count += 1
                if not await self._answer(request, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a callback; return whether the connection goes on."""
        manners, chance = self.manners, self._dice.randrange(1000)
        status: int | None = 503 if manners.away else 200
        if (chance := chance - manners.refuse) < 0 and not manners.away:
            status = 500
        elif (chance := chance - manners.cut) < 0:
            reset(writer)
            status = None
        elif (chance := chance - manners.hang) < 0:
            await reader.read()  # until the sender gives up
            status = None
        elif chance - manners.slow < 0:
            await asyncio.sleep(SLOW)
        if status is not None and not writer.transport.is_closing():
            writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status)
        gone = writer.transport.is_closing()
        self._note(request, None if gone else status)
        return status is not None and not gone

    def _note(self, request: _Request, answer: int | None) -> None:
        headers = request.headers
        timestamp = int(headers["webhook-timestamp"]) - self._ahead
        self._scribe.note(
            Received(
                at=request.at, endpoint=request.path.strip("/"), webhook_id=headers["webhook-id"],
                timestamp=timestamp, body=request.body.decode(),
                verified=self._verify(request), answer=answer, node=headers.get("x-node"),
                late=self._scribe.now() - timestamp >= self._timeout,
                answered=self._scribe.now(),
            )
        )  # fmt: skip

    def _verify(self, request: _Request) -> bool:
        id_, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        signed = f"{id_}.{at}.".encode() + request.body
        wanted = "v1," + base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        return any(hmac.compare_digest(wanted, given) for given in request.headers["webhook-signature"].split())


async def _read(reader: asyncio.StreamReader) -> _Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return _Request(first.split(" ")[1], headers, body)
