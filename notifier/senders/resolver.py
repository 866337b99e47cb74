"""Looks up an endpoint's host name in a thread of its own, so that a name server that hangs holds up nobody else.

aiohttp's resolver uses the loop's executor, or libuv's under uvloop: four to six threads for the whole program, which
as many endpoints with a dead name server occupy for half a minute each. The connector asks for each name once at a
time and keeps the answer for ten seconds, so there is at most one such thread for an endpoint.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from notifier.runtime.threads import beside

_Infos = Sequence[tuple[Any, ...]]  # of `socket.getaddrinfo`


class ThreadResolver(AbstractResolver):
    """Resolves with the system's own rules (`getaddrinfo`: hosts file, nsswitch, search domains)."""

    def __init__(self) -> None:
        self.last = ("", 0.0, 0.0)  # the host of the last lookup; `perf_counter` when it began and ended

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the host's addresses. Raises socket.gaierror."""
        began = perf_counter()
        infos = await beside(partial(_look_up, host, port, family), name="resolver")
        self.last = (host, began, perf_counter())
        return [
            ResolveResult(
                hostname=host,
                host=f"{address[0]}%{address[3]}" if kind is socket.AF_INET6 and address[3] else address[0],
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in infos
        ]

    async def close(self) -> None:
        """Do nothing: lookups end by themselves."""


def _look_up(host: str, port: int, family: int) -> _Infos:
    try:
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except UnicodeError as exc:  # an IDNA label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from exc
