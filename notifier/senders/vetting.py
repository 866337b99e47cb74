"""Keeps connections from addresses that may not be reached: what was vetted is what is connected to.

Twice: the resolver hands out only what passed, so that a name with one good address works, and the maker of sockets
asks once more for the very address that is dialled. The second also sees literal addresses, which aiohttp does not
resolve, and whatever stands between the two.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from notifier.core.addresses import IPAddress, parse

Vet = Callable[[IPAddress], str | None]  # what the address is that must not be connected to; None: it may be


class ForbiddenAddress(OSError):
    """The host leads to an address that may not be reached."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the host's address is special ({reason})")
        self.reason = reason


def check(vet: Vet, address: str) -> None:
    """Raise ForbiddenAddress if the address may not be connected to, or cannot be read."""
    try:
        reason = vet(parse(address))
    except ValueError:
        reason = "unreadable"
    if reason is not None:
        raise ForbiddenAddress(reason)


class VettingResolver(AbstractResolver):
    """Leaves out of another resolver's answers what must not be connected to."""

    def __init__(self, inner: AbstractResolver, vet: Vet) -> None:
        self._inner = inner
        self._vet = vet

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the host's addresses that may be reached. Raises ForbiddenAddress if that is none."""
        passed: list[ResolveResult] = []
        refused: ForbiddenAddress | None = None
        for found in await self._inner.resolve(host, port, family):
            try:
                check(self._vet, found["host"])
            except ForbiddenAddress as exc:
                refused = refused or exc
            else:
                passed.append(found)
        if refused is not None and not passed:
            raise refused
        return passed

    async def close(self) -> None:
        """Close the other resolver."""
        await self._inner.close()


def vetted_sockets(vet: Vet) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Return a maker of sockets for aiohttp's connector that makes none for an address that must not be reached."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info  # as of `socket.getaddrinfo`
        check(vet, str(address[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    return make
