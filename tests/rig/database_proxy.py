"""A proxy before a PostgreSQL that cuts a connection at a chosen message, or passes nothing on.

It has threads of its own, so a test may block while it uses the proxy.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import Enum

COMMIT = b"COMMIT"


class Cut(Enum):
    """How the proxy treats the next COMMIT."""

    NONE = "it passes"
    BEFORE = "the connection ends, and the server never gets it"
    AFTER = "the server has done it, and its answer is lost"
    WITH = "the connection ends as soon as it is sent; the server may or may not execute it"


class Proxy:
    """Forwards connections to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cut = Cut.NONE
        self.cuts = 0  # made so far
        self._passing = threading.Event()
        self._passing.set()
        self._forsaken: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def swallow(self) -> None:
        """Hold all data back; connections stay open."""
        self._passing.clear()

    def pass_on(self) -> None:
        """Forward data again, first the data that was held back."""
        self._passing.set()

    def forsake(self) -> None:
        """Forward data of new connections only; the present ones keep theirs back."""
        self._forsaken.append(self._passing)
        self._passing = threading.Event()
        self._passing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), name="proxied", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._to)
        except OSError:
            client.close()
            return
        with self._lock:
            self._sockets += [client, server]
        passing = self._passing
        back = threading.Thread(target=self._pump, args=(server, client, passing), name="answers", daemon=True)
        back.start()
        self._pump(client, server, passing, cutting=True)
        back.join()
        for each in (client, server):
            each.close()

    def _pump(
        self, source: socket.socket, target: socket.socket, passing: threading.Event, *, cutting: bool = False
    ) -> None:
        try:
            while data := source.recv(1 << 16):
                passing.wait()
                if cutting and COMMIT in data and self._cut(source, target, data):
                    break
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _cut(self, client: socket.socket, server: socket.socket, data: bytes) -> bool:
        with self._lock:
            cut, self.cut = self.cut, Cut.NONE
        if cut is Cut.NONE:
            return False
        self.cuts += 1
        client.shutdown(socket.SHUT_RDWR)  # no answer will reach it
        if cut is not Cut.BEFORE:
            server.sendall(data)
        if cut is Cut.AFTER:  # it ends the connection itself, after the COMMIT, as it was told to
            server.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while server.recv(1 << 16):
                    pass
        return True

    def close(self) -> None:
        """Close the proxy and its connections."""
        for passing in (self._passing, *self._forsaken):
            passing.set()
        for each in (self._listening, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
