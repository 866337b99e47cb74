"""The sockets of the HTTP listener: opens them, accepts connections, and closes them.

Some descriptors are kept spare. If the process has no other left, a connection is still accepted with one of them, so
that health checks and operators are answered when they are needed most.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from notifier.core.errors import NotifierError
from notifier.web.connections import ClientConnection, ClientConnections

log = structlog.get_logger(__name__)

BACKLOG = 128  # connections that the system holds until they are accepted
AT_ONCE = 16  # connections accepted in one round of the loop
SPARE = 8  # descriptors
RETRY = 0.1  # seconds until another attempt to accept, while there are no descriptors at all
SHUTDOWN_TIMEOUT = 2.0  # seconds for the requests in progress
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_OF_CLIENT = frozenset(  # faults of one connection, which accept(2) reports in its place
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,  # a firewall
        errno.EPROTO,
    }
)


class ListenFailed(NotifierError):
    """The HTTP listener could not be opened."""


class HttpListener:
    """The open sockets."""

    def __init__(self, app: web.Application, listen: str, *, connections: int) -> None:
        """Create it for an address and a number of connections; `start` opens it, `run` accepts."""
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT)
        self._listen = listen
        self._connections = ClientConnections(connections)
        self._sockets: list[socket.socket] = []
        self._spare: list[int] = []
        self._exhausted = False  # there were no descriptors, and it has been logged
        self.address = listen

    async def start(self) -> None:
        """Listen: clients can connect, and are accepted once `run` does. Raises ListenFailed."""
        await self._runner.setup()
        path = unix_path(self._listen)
        try:
            if path is not None:
                self._sockets.append(_open_unix(path))
            else:
                for family, address in await _addresses(*split(self._listen)):
                    self._sockets.append(_open_tcp(family, address))
        except OSError as exc:
            await self.stop()
            reason = exc.strerror or str(exc)
            raise ListenFailed(
                f"http.listen: cannot listen on {self._listen}: {reason}; stop what uses it, or choose another"
            ) from exc
        if path is None:
            bound = self._sockets[0].getsockname()
            self.address = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
        self._keep_spare()

    async def run(self) -> None:
        """Accept connections until cancelled; from then on, the system refuses new ones."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for listening in self._sockets:
                    tasks.create_task(self._accept(listening), name="http accept")
        finally:
            self._refuse()

    async def stop(self) -> None:
        """Close the sockets and their connections."""
        self._refuse()
        await self._runner.cleanup()
        while self._spare:
            os.close(self._spare.pop())

    def _refuse(self) -> None:
        """Close the sockets. Nobody would answer a connection that the system accepts on them."""
        path = unix_path(self._listen)
        if path is not None and self._sockets:
            path.unlink(missing_ok=True)
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as exc:
                if exc.errno in _EXHAUSTED:
                    await self._make_room()
                elif exc.errno not in _OF_CLIENT:
                    raise
                continue
            await asyncio.gather(*map(self._begin, [accepted, *_waiting(listening)]))
            self._keep_spare()

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._connection, accepted)
        except OSError:  # the client has gone already
            accepted.close()

    def _connection(self) -> ClientConnection:
        server = self._runner.server
        assert server is not None  # it is there from `start` to `stop`
        return ClientConnection(server, self._connections, loop=asyncio.get_running_loop())

    async def _make_room(self) -> None:
        """Free a descriptor for the next connection."""
        if not self._exhausted:  # once, until all spare descriptors are there again
            self._exhausted = True
            log.warning(
                "http.no_descriptors",
                connections=len(self._connections),
                hint="the process has no descriptors left; raise LimitNOFILE= of the unit, or `ulimit -Hn`",
            )
        if self._spare:
            os.close(self._spare.pop())
        else:
            self._connections.close_oldest()
            await asyncio.sleep(RETRY)

    def _keep_spare(self) -> None:
        try:
            while len(self._spare) < SPARE:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as exc:
            if exc.errno not in _EXHAUSTED:
                raise
        else:
            self._exhausted = False


def _waiting(listening: socket.socket) -> list[socket.socket]:
    """Accept some of the connections that wait: each in a round of its own would take seconds behind busy ones."""
    accepted: list[socket.socket] = []
    while len(accepted) < AT_ONCE - 1:
        try:
            accepted.append(listening.accept()[0])
        except OSError:  # there are no more, or the next attempt tells the fault
            break
        accepted[-1].setblocking(False)
    return accepted


async def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """Look up the addresses of a host, each once. Raises OSError."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in infos))


def _open_tcp(family: socket.AddressFamily, address: Any) -> socket.socket:
    """Listen on an address. Raises OSError."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _open_unix(path: Path) -> socket.socket:
    """Listen on a path, for the owner and the group. Raises OSError."""
    _remove_dead_socket(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.bind(str(path))
        path.chmod(0o660)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_dead_socket(path: Path) -> None:
    """Remove the socket that a killed daemon left. Raises OSError if it is in use, or is not a socket."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # another process listens, and is busy
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def unix_path(listen: str) -> Path | None:
    """Return the path of `unix:/path`; None for another address."""
    return Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None


def split(listen: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
