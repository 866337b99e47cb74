"""Connections are made to a host's addresses in turn, with TLS under its name; whatever fails leaves nothing open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
import uvloop
from certificates import serving_tls, trusting_tls
from waits import PATIENCE, until
from yarl import URL

from notifier.runtime.http1 import ConnectFault, Connection, HttpFault, Pool, Proxy, Route, TlsFault, TunnelRefused

HOST = "hooks.example.com"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Run a coroutine on either loop: both make connections in ways of their own."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def listening(
    serve: Serve, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Listen; yield the port. Its connections are cut in the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(treat(reader, writer), name="server"))

    server = await asyncio.start_server(connected, host, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stay(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Read to the end."""
    await reader.read()


async def says_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


def sockets() -> set[str]:
    """Return the sockets that this process has open."""
    found: set[str] = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {name for name in found if name.startswith("socket:")}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer every lookup with these addresses: no test may ask a name server."""
    addresses: list[str] = []

    def getaddrinfo(_host: str, port: int, *_: int) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return addresses


def test_an_address_that_refuses_is_followed_by_the_next(names: list[str], run: Callable[..., Any]) -> None:
    """At once, and no fault is told."""
    names += ["127.0.0.3", "127.0.0.2"]

    async def main() -> str:
        async with listening(stay, "127.0.0.2") as port:
            pool = Pool(keep=1)
            connection = await pool.dial(Route(host=HOST, port=port, tls=None))
            pool.close()
            return connection.address

    assert run(main()).startswith("127.0.0.2:")


def test_an_address_that_cannot_prove_its_name_is_followed_by_the_next(
    names: list[str], run: Callable[..., Any], authority: trustme.CA
) -> None:
    """One bad machine behind a name does not take the name away; if all are bad, that is the fault."""
    names += ["127.0.0.2", "127.0.0.3"]

    async def main() -> str:
        async with (
            listening(stay, "127.0.0.2", tls=serving_tls(authority, "else.example")) as port,
            listening(stay, "127.0.0.3", port, tls=serving_tls(authority, HOST)),
        ):
            pool, route = Pool(keep=1), Route(host=f"{HOST}.", port=port, tls=trusting_tls(authority))
            connection = await pool.dial(route)
            names.pop()
            other = Pool(keep=1)
            with pytest.raises(TlsFault):
                await other.dial(route)
            pool.close()
            return connection.address

    assert run(main()).startswith("127.0.0.3:")


def test_a_handshake_that_is_cut_is_no_connection(run: Callable[..., Any], authority: trustme.CA) -> None:
    """Without a word of TLS."""

    async def hang_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def main() -> None:
        async with listening(hang_up) as port:
            pool = Pool(keep=1)
            with pytest.raises((ConnectFault, TlsFault)):
                await pool.dial(Route(host="127.0.0.1", port=port, tls=trusting_tls(authority)))

    run(main())


@pytest.mark.parametrize("stage", ["handshake", "tunnel", "handshake in the tunnel"])
def test_cancelling_leaves_nothing(stage: str, run: Callable[..., Any], authority: trustme.CA) -> None:
    """Wherever the making of a connection stands."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if stage != "tunnel":
            writer.write(b"HTTP/1.1 200 Go on\r\n\r\n")
        await reader.read()

    async def main() -> None:
        async with listening(says_nothing if stage == "handshake" else proxy) as port:
            way = None if stage == "handshake" else Proxy(host="127.0.0.1", port=port)
            route = Route(host="127.0.0.1", port=port, tls=trusting_tls(authority), proxy=way)
            before = set(os.listdir("/proc/self/fd"))
            pool = Pool(keep=1)
            dialling = asyncio.create_task(pool.dial(route), name="dial")
            if way is not None:
                await until(lambda: bool(asked))
            await asyncio.sleep(0.05)  # nothing tells how far the handshake is
            dialling.cancel()
            await asyncio.wait({dialling})
            assert dialling.cancelled()
            # The server's end closes in its own time.
            await until(lambda: len(set(os.listdir("/proc/self/fd")) - before) <= (stage == "handshake"))

    run(main())


def test_cancelling_does_not_wait_for_the_other_ends_goodbye(
    run: Callable[..., Any], authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller may be cancelled when the handshake has just ended; a peer that says no goodbye keeps nothing open."""
    held: list[Connection] = []  # as by a traceback: without it, collecting the connection would close it

    def handshake(server: socket.socket, tls: ssl.SSLContext, end: threading.Event) -> None:
        peer, _ = server.accept()
        try:
            with tls.wrap_socket(peer, server_side=True):
                end.wait(PATIENCE)
        except OSError:  # the client may be gone before the server's half of the handshake has ended
            pass

    async def main() -> None:
        end = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as server:
            serving = asyncio.create_task(
                asyncio.to_thread(handshake, server, serving_tls(authority, "127.0.0.1"), end)
            )
            route = Route(host="127.0.0.1", port=server.getsockname()[1], tls=trusting_tls(authority))
            dialling = asyncio.create_task(Pool(keep=1).dial(route), name="dial")

            def connected(connection: Connection, transport: asyncio.BaseTransport) -> None:
                connection_made(connection, transport)
                held.append(connection)
                dialling.cancel()

            before = sockets()
            connection_made = Connection.connection_made
            monkeypatch.setattr(Connection, "connection_made", connected)
            await asyncio.wait({dialling})
            assert dialling.cancelled()
            async with asyncio.timeout(20):  # asyncio gives a goodbye 30 s
                await until(lambda: len(sockets() - before) <= 1, "only the server's end is left")
            end.set()
            await serving

    run(main())


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 "])
async def test_a_proxy_that_does_not_answer_is_to_blame(reply: bytes, authority: trustme.CA) -> None:
    """Not the endpoint behind it."""

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()

    async with listening(proxy) as port:
        route = Route(host=HOST, port=443, tls=trusting_tls(authority), proxy=Proxy(host="127.0.0.1", port=port))
        with pytest.raises(ConnectFault) as caught:
            await Pool(keep=1).dial(route)
    assert caught.value.proxy


async def test_what_a_proxy_is_asked(authority: trustme.CA) -> None:
    """An IPv6 address stands in brackets, and credentials go to the proxy alone."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with listening(proxy) as port:
        way = Proxy.at(f"http://us%20er:p@127.0.0.1:{port}")
        assert "p@" not in repr(way)
        route = Route.to(URL("https://[2001:db8::1]:8443/x"), tls=trusting_tls(authority), proxy=way)
        with pytest.raises(TunnelRefused) as caught:
            await Pool(keep=1).dial(route)
    assert caught.value.status == 403
    assert asked[0].startswith(b"CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n")
    assert b"Proxy-Authorization: Basic dXMgZXI6cA==\r\n" in asked[0]


def test_routes_that_lead_the_same_way_are_equal(authority: trustme.CA) -> None:
    """Whatever the rest of their URLs is; other ports, authorities and proxies are other ways."""
    trust = trusting_tls(authority)
    one = Route.to(URL("https://a.example/x?y"), tls=trust)
    assert one == Route.to(URL("https://A.example:443/z"), tls=trust)
    others = {
        Route.to(URL("http://a.example:443/x"), tls=trust),
        Route.to(URL("https://a.example/x"), tls=True),
        Route.to(URL("https://a.example/x"), tls=trust, proxy=Proxy(host="p", port=1)),
    }
    assert len(others) == 3
    assert one not in others


async def test_no_fault_is_raised_that_callers_do_not_know() -> None:
    """Port 0 is no port, and a name with a zone is the system's matter."""
    for host in ("127.0.0.1", "::1", "fe80::1%nowhere"):
        with pytest.raises(HttpFault):
            async with asyncio.timeout(PATIENCE):
                await Pool(keep=1).dial(Route(host=host, port=0, tls=None))
