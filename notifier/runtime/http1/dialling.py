"""Makes connections: lookup, happy eyeballs (RFC 8305), TLS, and the tunnel of a proxy.

A proxy opens a tunnel to https:// places (RFC 9110 section 9.3.6), so TLS is spoken with the place itself. Requests to
http:// places are written to the proxy, which passes them on.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import aiohappyeyeballs
from yarl import URL

from notifier.runtime.http1.connection import Connection
from notifier.runtime.http1.faults import ConnectFault, HttpFault, NameFault, TlsFault, TunnelRefused
from notifier.runtime.http1.names import AddressInfo, ForbiddenAddress, Names
from notifier.runtime.tls import Trust, context_of

EYEBALLS_DELAY = 0.25  # seconds before another address is tried as well (RFC 8305 section 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)  # value of Proxy-Authorization

    @classmethod
    def at(cls, text: str) -> Proxy:
        """Return the proxy that a URL names, with its credentials."""
        url = URL(text)
        authorization = basic(url.user, url.password) if url.user or url.password else None
        return cls(host=url.raw_host or "", port=url.port or 0, authorization=authorization)


class Route(NamedTuple):
    """A place, and the way to it. Equal routes share connections: each request looks for one by its route."""

    host: str  # ASCII, an IPv6 address without brackets
    port: int
    tls: Trust | None  # None: no TLS
    proxy: Proxy | None = None

    @classmethod
    def to(cls, url: URL, *, tls: Trust, proxy: Proxy | None = None) -> Route:
        """Return the way to the host of a URL."""
        return cls(host=url.raw_host or "", port=url.port or 0, tls=tls if url.scheme == "https" else None, proxy=proxy)


def basic(user: str | None, password: str | None) -> str:
    """Return the value of an Authorization header with credentials (RFC 7617)."""
    return "Basic " + b64encode(f"{user or ''}:{password or ''}".encode()).decode()


class Dialler:
    """Makes connections."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def dial(self, route: Route) -> Connection:
        """Connect. Raises HttpFault; nothing stays open after that, or after a cancellation."""
        if route.proxy is None:
            return await self._direct(route.host, route.port, route.tls, proxy=False)
        connection = await self._direct(route.proxy.host, route.proxy.port, None, proxy=True)
        if route.tls is not None:
            try:
                await _tunnel(connection, route, route.proxy)
            except BaseException:
                connection.abort()
                raise
        return connection

    async def _direct(self, host: str, port: int, tls: Trust | None, *, proxy: bool) -> Connection:
        infos, looked_up = await self._look_up(host, port, proxy=proxy)
        context = None if tls is None else context_of(tls)
        while True:
            try:
                sock = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=EYEBALLS_DELAY)
            except (OSError, RuntimeError) as exc:  # the latter is uvloop's
                raise ConnectFault(_os_error(exc), proxy=proxy) from exc
            peer = sock.getpeername()
            try:
                connection = await _open(sock, context, host)
            except HttpFault:
                aiohappyeyeballs.remove_addr_infos(infos, peer)
                if not infos:
                    raise
                continue
            connection.looked_up = looked_up
            return connection

    async def _look_up(self, host: str, port: int, *, proxy: bool) -> tuple[list[AddressInfo], float]:
        began, known = perf_counter(), self._names.knows(host, port)
        try:
            infos = await self._names.addresses(host, port)
        except ForbiddenAddress as exc:
            raise ConnectFault(exc, proxy=proxy) from exc
        except OSError as exc:
            raise NameFault(exc, proxy=proxy) from exc
        if not infos:
            raise NameFault(socket.gaierror(socket.EAI_NONAME, "no address"), proxy=proxy)
        return infos, 0.0 if known else perf_counter() - began


async def _open(sock: socket.socket, context: ssl.SSLContext | None, host: str) -> Connection:
    loop = asyncio.get_running_loop()
    connection = Connection(loop)
    try:
        await loop.create_connection(
            lambda: connection,
            sock=sock,
            ssl=context,
            server_hostname=None if context is None else host.rstrip("."),
        )
    except BaseException as exc:
        connection.abort()  # at once: a loop that is cancelled closes in good order, and a peer may keep it waiting
        sock.close()  # the loop may not have taken it yet
        if isinstance(exc, ssl.SSLError):
            raise TlsFault(exc) from exc
        if isinstance(exc, OSError | RuntimeError):
            raise ConnectFault(_os_error(exc)) from exc
        raise
    return connection


async def _tunnel(connection: Connection, route: Route, proxy: Proxy) -> None:
    """Have a proxy open a tunnel, and speak TLS through it."""
    assert route.tls is not None
    host = f"[{route.host}]" if ":" in route.host else route.host
    credentials = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    place = f"{host}:{route.port}"
    connection.ask(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{credentials}\r\n".encode())
    try:
        await connection.wait(0)
    except HttpFault as exc:
        raise ConnectFault(ConnectionAbortedError(str(exc)), proxy=True) from exc
    status = connection.reply.status
    if not 200 <= status < 300:
        raise TunnelRefused(status)
    try:
        await connection.encrypt(context_of(route.tls), route.host.rstrip("."))
    except ssl.SSLError as exc:
        raise TlsFault(exc) from exc
    except OSError as exc:
        raise ConnectFault(exc) from exc


def _os_error(exc: Exception) -> OSError:
    return exc if isinstance(exc, OSError) else ConnectionAbortedError(str(exc))
