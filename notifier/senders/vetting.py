"""Looks up an endpoint's host name, and keeps connections from addresses that may not be reached.

An address is vetted twice. The resolver returns only addresses that passed, so that a name with one good address works.
The socket factory vets again the very address that is dialled; it also sees literal addresses, which aiohttp does not
resolve.

A lookup has a thread of its own, so that a name server that hangs holds up no other endpoint. aiohttp's resolver uses
the loop's executor, or libuv's under uvloop: four to six threads for the whole program, which as many endpoints with a
dead name server occupy for half a minute each. The connector asks for each name once at a time and keeps the answer for
ten seconds, so an endpoint has at most one such thread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from notifier.core.addresses import IPAddress, parse
from notifier.runtime.threads import beside

Vet = Callable[[IPAddress], str | None]  # the kind of a forbidden address; None: it may be reached
_AddressInfos = Sequence[tuple[Any, ...]]  # as `socket.getaddrinfo` returns them


class ForbiddenAddress(OSError):
    """The host leads to an address that may not be reached."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the host's address is special ({reason})")
        self.reason = reason


def check(vet: Vet, address: str) -> None:
    """Raise ForbiddenAddress if the address may not be reached, or cannot be read."""
    try:
        reason = vet(parse(address))
    except ValueError:
        reason = "unreadable"
    if reason is not None:
        raise ForbiddenAddress(reason)


class ThreadResolver(AbstractResolver):
    """Resolves by the system's own rules (`getaddrinfo`: hosts file, nsswitch, search domains)."""

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


class VettingResolver(AbstractResolver):
    """Removes forbidden addresses from another resolver's answers."""

    def __init__(self, inner: AbstractResolver, vet: Vet) -> None:
        self._inner = inner
        self._vet = vet

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the host's addresses that may be reached. Raises ForbiddenAddress if there are only others."""
        passed: list[ResolveResult] = []
        refused: ForbiddenAddress | None = None
        for result in await self._inner.resolve(host, port, family):
            try:
                check(self._vet, result["host"])
            except ForbiddenAddress as exc:
                refused = refused or exc
            else:
                passed.append(result)
        if refused is not None and not passed:
            raise refused
        return passed

    async def close(self) -> None:
        """Close the other resolver."""
        await self._inner.close()


def vetted_sockets(vet: Vet) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Return a socket factory for aiohttp's connector. It raises ForbiddenAddress for a forbidden address."""

    def create(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info  # as from `socket.getaddrinfo`
        check(vet, str(address[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    return create


def _look_up(host: str, port: int, family: int) -> _AddressInfos:
    try:
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except UnicodeError as exc:  # an IDNA label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from exc
