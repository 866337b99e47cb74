"""A relay before a PostgreSQL that counts round trips: how often the client speaks after the server did.

In a process of its own it would slow what is measured, so round trips are counted in runs that time nothing.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536
END_SECONDS = 5.0  # for a connection to end once its client has


@dataclass(slots=True)
class Line:
    """One connection through the relay."""

    trips: int = 0
    commits: int = 0
    server_spoke: bool = True


@dataclass(slots=True)
class Relay:
    """A relay that runs."""

    url: str
    lines: list[Line] = field(default_factory=list)

    def writer(self) -> tuple[int, int]:
        """Return round trips and COMMITs so far of the connection that committed most: the one that writes."""
        busiest = max(self.lines, key=lambda line: line.commits)
        return busiest.trips, busiest.commits


@contextmanager
def relay(url: str) -> Iterator[Relay]:
    """Relay connections to the server of that URL; hands in the relay, whose URL leads through it."""
    parts = urlsplit(url)
    there = (parts.hostname or "127.0.0.1", parts.port or 5432)
    who = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@" if parts.username else ""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        running = Relay(url=urlunsplit(parts._replace(netloc=f"{who}127.0.0.1:{port}")))
        accepting = threading.Thread(target=_accept, args=(listening, there, running), daemon=True, name="relay")
        accepting.start()
        try:
            yield running
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(listening: socket.socket, there: tuple[str, int], running: Relay) -> None:
    carrying: list[threading.Thread] = []
    while True:
        try:
            client, _ = listening.accept()
        except OSError:  # it was shut down
            break
        line = Line()
        running.lines.append(line)
        carrying.append(threading.Thread(target=_carry, args=(client, there, line), daemon=True, name="relay-up"))
        carrying[-1].start()
    for one in carrying:
        one.join(END_SECONDS)


def _carry(client: socket.socket, there: tuple[str, int], line: Line) -> None:
    with client, socket.create_connection(there) as server:
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        down = threading.Thread(target=_down, args=(server, client, line), daemon=True, name="relay-down")
        down.start()
        _up(client, server, line)
        down.join(END_SECONDS)


def _up(client: socket.socket, server: socket.socket, line: Line) -> None:
    while received := _receive(client):
        if line.server_spoke:
            line.trips += 1
            line.server_spoke = False
        line.commits += received.count(b"COMMIT\0")
        server.sendall(received)
    _close(server)


def _down(server: socket.socket, client: socket.socket, line: Line) -> None:
    while received := _receive(server):
        line.server_spoke = True
        try:
            client.sendall(received)
        except OSError:  # it went without a word
            break
    _close(client)


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(CHUNK)
    except OSError:
        return b""


def _close(one: socket.socket) -> None:
    with suppress(OSError):  # the other side did
        one.shutdown(socket.SHUT_RDWR)
