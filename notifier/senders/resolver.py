"""Looks up an endpoint's host name in a thread of its own, so that a name server that hangs holds up nobody else.

aiohttp's resolver uses the loop's executor, or libuv's under uvloop: four to six threads for the whole program, which
as many endpoints with a dead name server occupy for half a minute each. The connector asks for each name once at a
time and keeps the answer for ten seconds, so there is at most one such thread for an endpoint.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_Infos = Sequence[tuple[Any, ...]]  # of `socket.getaddrinfo`


class ThreadResolver(AbstractResolver):
    """Resolves with the system's own rules (`getaddrinfo`: hosts file, nsswitch, search domains)."""

    def __init__(self) -> None:
        self.last = ("", 0.0, 0.0)  # the host of the last lookup; `perf_counter` when it began and ended

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the host's addresses. Raises socket.gaierror."""
        loop = asyncio.get_running_loop()
        began = perf_counter()
        answer: asyncio.Future[_Infos] = loop.create_future()
        # A daemon, since nothing can end a lookup: it must not hold up the end of the program.
        threading.Thread(target=_look_up, args=(loop, answer, host, port, family), name="resolver", daemon=True).start()
        infos = await answer
        self.last = (host, began, perf_counter())
        return [
            ResolveResult(
                hostname=host,
                host=f"{address[0]}%{address[3]}" if found is socket.AF_INET6 and address[3] else address[0],
                port=port,
                family=found,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, proto, _, address in infos
        ]

    async def close(self) -> None:
        """Do nothing: lookups end by themselves."""


def _look_up(
    loop: asyncio.AbstractEventLoop, answer: asyncio.Future[_Infos], host: str, port: int, family: int
) -> None:
    found: _Infos | OSError
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except OSError as exc:
        found = exc
    except UnicodeError:  # an IDNA label that is empty or too long
        found = socket.gaierror(socket.EAI_NONAME, "not a host name")
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle, answer, found)


def settle(answer: asyncio.Future[_Infos], found: _Infos | OSError) -> None:
    """Hand a lookup's result to who waits for it, if anybody still does."""
    if answer.done():  # cancelled meanwhile
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)
