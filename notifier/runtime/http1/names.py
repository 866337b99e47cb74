"""Looks up host names, and keeps connections from addresses that may not be reached.

The addresses that passed are the addresses that are dialled: nothing is looked up in between. An address that stands
in the URL itself is vetted as well.

A lookup has a thread of its own, so that a name server that hangs holds up no other host. The loop's executor, or
libuv's under uvloop, has four to six threads for the whole program, which as many hosts with a dead name server occupy
for half a minute each. A name is asked for once at a time, and its answer is kept for ten seconds.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from ipaddress import IPv4Address, ip_address
from typing import TypeAlias

from notifier.core.addresses import parse
from notifier.core.callback import CallbackPolicy
from notifier.runtime.threads import beside

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]  # as of `getaddrinfo`

KEPT = 10.0  # seconds that an answer is kept
MAX_KEPT = 1000  # answers


class ForbiddenAddress(OSError):
    """The host leads to an address that may not be reached."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the host's address is special ({reason})")
        self.reason = reason


class Names:
    """Answers with the addresses of hosts, by the system's own rules (hosts file, nsswitch, search domains)."""

    def __init__(self, policy: CallbackPolicy | None = None) -> None:
        """Answer with addresses that `policy` allows; None: with any."""
        self._policy = policy
        self._kept: dict[tuple[str, int], tuple[float, list[AddressInfo]]] = {}  # until when; oldest first
        self._asked: dict[tuple[str, int], asyncio.Future[list[AddressInfo]]] = {}

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Return the host's addresses that may be reached.

        While an answer is kept, each call puts the next address first, so that all are used. Raises ForbiddenAddress
        if there are only others, socket.gaierror if there are none.
        """
        literal = _literal(host, port)
        return self._vetted([literal] if literal is not None else await self._look_up(host, port))

    def knows(self, host: str, port: int) -> bool:
        """Return whether the answer takes no time."""
        kept = self._kept.get((host, port))
        return (kept is not None and kept[0] > asyncio.get_running_loop().time()) or _literal(host, port) is not None

    async def _look_up(self, host: str, port: int) -> list[AddressInfo]:
        key, loop = (host, port), asyncio.get_running_loop()
        until, found = self._kept.get(key, (0.0, []))
        if until > loop.time():
            found.append(found.pop(0))
            return list(found)
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = beside(partial(look_up, host, port), name="resolver")
            asked.add_done_callback(partial(self._answered, key, loop))
        return list(await asyncio.shield(asked))

    def _answered(
        self, key: tuple[str, int], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[list[AddressInfo]]
    ) -> None:
        del self._asked[key]
        self._kept.pop(key, None)
        if not answer.cancelled() and answer.exception() is None:
            self._kept[key] = (loop.time() + KEPT, answer.result())
            if len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]

    def _vetted(self, found: list[AddressInfo]) -> list[AddressInfo]:
        if self._policy is None:
            return found
        passed, refused = [], None
        for info in found:
            reason = _refusal(self._policy, info[4][0])
            if reason is None:
                passed.append(info)
            refused = refused or reason
        if refused is not None and not passed:
            raise ForbiddenAddress(refused)
        return passed


def look_up(host: str, port: int) -> list[AddressInfo]:
    """Ask the system. Blocks. Raises socket.gaierror."""
    try:
        infos = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except UnicodeError as exc:  # an IDNA label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from exc
    # The types allow an address of bytes, as of families that are not asked for.
    return [(family, kind, proto, "", address) for family, kind, proto, _, address in infos]  # type: ignore[misc]


def _literal(host: str, port: int) -> AddressInfo | None:
    """Return the address that a host is, if it is one; one with a zone is left to the system."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
    if address.scope_id is not None:
        return None
    return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))


def _refusal(policy: CallbackPolicy, address: str) -> str | None:
    try:
        return policy.forbids(parse(address))
    except ValueError:
        return "unreadable"
