"""Slow and idle connections: each has a deadline, all together a limit, and operators always get through."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import uvloop
from site_running import SECRET, Site, running, text
from structlog.testing import capture_logs
from waits import until

from notifier.config import load
from notifier.daemon import build
from notifier.store import Store
from notifier.tools.simulator import Simulator
from notifier.web import body, connections, server
from notifier.web.connections import ClientConnection
from notifier.web.guard import Guard

PATIENCE = 60.0  # seconds
HEAD = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n"
APP = f'{{app: {{type: webhook, url: "http://127.0.0.1:9/", secrets: ["{SECRET}"]}}}}'


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running(tmp_path, endpoints=APP) as made:
        yield made


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = (site.app.address or "").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Return everything until the server closes the connection."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


# -- deadlines


@pytest.mark.parametrize("beginning", [b"", b"GET /", HEAD, HEAD + b"Cookie: a"])
async def test_a_head_has_a_deadline(site: Site, monkeypatch: pytest.MonkeyPatch, beginning: bytes) -> None:
    """However much of it has come, and though more comes from time to time."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.5)
    async with connected(site) as (reader, writer):

        async def drip() -> None:
            writer.write(beginning)
            while beginning:
                await asyncio.sleep(0.05)
                writer.write(b"a")

        dripping = asyncio.create_task(drip())
        try:
            assert await closed(reader) == b""
        finally:
            dripping.cancel()
            await asyncio.wait({dripping})


async def test_a_head_that_stops_at_once_has_a_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first bytes are there before the connection is accepted, and no more come."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.5)
    for beginning in (b"", b"GET /", HEAD):
        async with connected(site) as (reader, writer):
            writer.write(beginning)
            async with asyncio.timeout(connections.IDLE_TIMEOUT / 2):
                assert await reader.read() == b""


async def test_a_second_head_has_a_deadline_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with its first byte: a connection may be idle for longer."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.5)
    async with connected(site) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.7)
        writer.write(HEAD)
        assert b"HTTP/1.1" not in await closed(reader)


async def test_an_idle_connection_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end."""
    monkeypatch.setattr(connections, "IDLE_TIMEOUT", 0.5)
    async with connected(site) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        assert (await closed(reader)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_has_a_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, though more of it comes from time to time; nothing is written."""
    monkeypatch.setattr(body, "PATIENCE", 0.3)
    async with connected(site) as (reader, writer):
        writer.write(b"POST /v1/watches HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b'"')
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = json.loads(await reader.readuntil(b"}"))
        finally:
            dripping.cancel()
            await asyncio.wait({dripping})
    assert head.startswith(b"HTTP/1.1 408 ")
    assert answer["status"] == 408
    assert (await site.get("/v1/watches")).json["items"] == []


async def test_a_large_body_has_more_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it comes fast enough."""
    monkeypatch.setattr(body, "PATIENCE", 0.5)
    monkeypatch.setattr(body, "SLOWEST", 1000)
    watch = json.dumps({"id": "7", "metadata": "x" * 20_000}).encode()
    async with connected(site) as (reader, writer):
        writer.write(
            b"POST /v1/watches HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(watch)
        )
        for start in range(0, len(watch), 2000):
            writer.write(watch[start : start + 2000])
            await asyncio.sleep(0.1)
        assert (await closed(reader)).startswith(b"HTTP/1.1 201 ")


async def test_an_answer_that_nobody_reads_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed although all buffers are full."""
    monkeypatch.setattr(server, "PATIENCE", 0.5)
    monkeypatch.setattr(server, "SLOWEST", 1 << 40)
    many = [{"id": f"{number:0500}", "metadata": "x" * 2000} for number in range(1000)]
    assert (await site.post("/v1/watches", json.dumps(many).encode())).status == 201
    host, _, port = (site.app.address or "").rpartition(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (host, int(port)))
        with capture_logs() as logs:
            for _ in range(4):
                await loop.sock_sendall(client, b"GET /v1/watches?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: any(log["event"] == "http.closed" for log in logs))
    [reason] = [log["reason"] for log in logs if log["event"] == "http.closed"]
    assert "does not read" in reason


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"Content-Length: 1000", b'{"id": '),
        (b"Transfer-Encoding: chunked", b'10\r\n{"id": '),
        (b"Transfer-Encoding: chunked", b""),
    ],
)
async def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(site: Site, head: bytes, part: bytes) -> None:
    """At debug, and without a traceback."""
    with capture_logs() as logs:
        async with connected(site) as (_, writer):
            writer.write(b"POST /v1/watches HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n" + part)
            await asyncio.sleep(0.1)
        await until(lambda: any(log["event"] == "http.body_cut" for log in logs))
        assert (await site.get("/healthz")).status == 200
    assert {log["log_level"] for log in logs if log["event"].startswith("http.")} == {"debug"}
    assert not any("exc_info" in log for log in logs)


async def test_a_body_that_is_not_encoded_as_it_says_is_a_problem(site: Site) -> None:
    """And the connection ends."""
    async with connected(site) as (reader, writer):
        writer.write(
            b"POST /v1/watches HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n\r\n"
        )
        assert b" 400 Bad Request\r\n" in await closed(reader)


# -- heads of browsers


async def test_a_browser_may_send_many_cookies(site: Site) -> None:
    """It sends the cookies of every port of the host; the daemon reads none."""
    assert (await site.get("/", cookie="a=" + "x" * 60_000)).status == 200
    assert (await site.get("/v1/status", cookie="a=" + "x" * 60_000)).status == 200


async def test_a_head_has_a_limit(site: Site) -> None:
    """The connection is closed, and the daemon goes on."""
    async with connected(site) as (reader, writer):
        writer.write(HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 60_000) for number in range(100)) + b"\r\n")
        assert not (await closed(reader)).startswith(b"HTTP/1.1 200 ")
    assert (await site.get("/healthz")).status == 200


# -- the limit


@contextmanager
def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> Iterator[None]:
    make = connections.ClientConnections.__init__
    monkeypatch.setattr(connections.ClientConnections, "__init__", lambda self, _limit: make(self, limit))
    yield


async def test_a_new_connection_takes_the_place_of_an_idle_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest one is closed; a client that holds idle connections keeps nobody out."""
    with limited(monkeypatch, 5):
        async with running(tmp_path, endpoints=APP) as site, AsyncExitStack() as stack:
            held = [await stack.enter_async_context(connected(site)) for _ in range(5)]
            for _ in range(3):
                assert (await site.get("/v1/status")).status == 200
            reader, _ = held[0]
            assert await closed(reader) == b""


async def test_where_all_are_busy_operators_are_still_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are probes, clients with the token, and clients on the machine; others get 503."""
    with limited(monkeypatch, 3):
        http = '{listen: "127.0.0.1:0", token: "t0ken"}'
        async with running(tmp_path, endpoints=APP, http=http) as site, AsyncExitStack() as stack:
            for _ in range(3):
                reader, writer = await stack.enter_async_context(connected(site))
                writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t0ken\r\n\r\n")
                async with asyncio.timeout(PATIENCE):
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert (await site.get("/")).status == 200  # from this machine
            monkeypatch.setattr(ClientConnection, "local", False)
            for path in ("/healthz", "/readyz", "/metrics"):
                assert (await site.get(path)).status == 200
            assert (await site.get("/v1/status", authorization="Bearer t0ken")).status == 200
            (await site.get("/v1/status")).problem(401)
            refused = await site.get("/")
            assert "too many connections" in refused.problem(503)
            assert refused.headers["retry-after"]


async def test_the_reserve_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection beyond it is closed at once."""
    monkeypatch.setattr(connections, "RESERVED", 2)
    with limited(monkeypatch, 1):
        async with running(tmp_path, endpoints=APP) as site, AsyncExitStack() as stack:
            for _ in range(3):
                reader, writer = await stack.enter_async_context(connected(site))
                writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                async with asyncio.timeout(PATIENCE):
                    await reader.readuntil(b"\r\n\r\n")
            reader, _ = await stack.enter_async_context(connected(site))
            assert await closed(reader) == b""


def test_who_is_an_operator() -> None:
    """The page and its parts are for everybody, and so not for the reserve."""
    guard, open_guard = Guard(token="t", host="0.0.0.0"), Guard(token=None, host="0.0.0.0")

    class Request:
        def __init__(self, path: str) -> None:
            self.path = path

    def operator(guard: Guard, path: str, *, local: bool = False) -> bool:
        return guard.is_operator(Request(path), local=local)  # type: ignore[arg-type]  # of it, only the path is read

    for each in (guard, open_guard):
        assert operator(each, "/metrics")
        assert operator(each, "/", local=True)
        assert not operator(each, "/")
        assert not operator(each, "/static/app.js")
    assert operator(guard, "/v1/status")  # it was not refused, so the token was right
    assert not operator(open_guard, "/v1/status")


# -- descriptors


@contextmanager
def exhausted() -> Iterator[None]:
    """Take every descriptor that the process may still have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_probes_and_the_api_are_still_answered(site: Site) -> None:
    """Several at a time; and when there are descriptors again, there are spare ones again."""
    host, _, port = (site.app.address or "").rpartition(":")
    loop = asyncio.get_running_loop()
    await site.get("/metrics")  # what is loaded on first use is loaded
    for _ in range(2):
        clients = [socket.socket() for _ in range(5)]
        try:
            with exhausted():
                for client, path in zip(
                    clients, ("/healthz", "/readyz", "/metrics", "/v1/status", "/v1/watches"), strict=True
                ):
                    client.connect((host, int(port)))  # at once: the system accepts it
                    client.setblocking(False)
                    async with asyncio.timeout(PATIENCE):
                        await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                        assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 200 "), path
        finally:
            for client in clients:
                client.close()
        assert (await site.get("/healthz")).status == 200


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EPERM])
async def test_a_connection_that_fails_before_it_is_accepted_ends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The system reports its fault as one of `accept`, which cannot be provoked from outside."""
    loop = asyncio.get_running_loop()
    accept, faults = loop.sock_accept, 3

    async def failing(listening: socket.socket) -> tuple[socket.socket, Any]:
        nonlocal faults
        accepted = await accept(listening)
        if faults:
            faults -= 1
            accepted[0].close()
            raise OSError(number, os.strerror(number))
        return accepted

    monkeypatch.setattr(loop, "sock_accept", failing)
    assert (await site.get("/healthz")).status == 200  # by the call that waits already
    for _ in range(3):
        async with connected(site) as (reader, _writer):
            assert await closed(reader) == b""
    assert (await site.get("/healthz")).status == 200
    assert site.app.ready() is None


async def test_a_start_with_few_descriptors_says_so_and_status_counts_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the number of streams that the limit allows; `status` counts the watches beyond it."""
    monkeypatch.setattr(build, "raise_file_limit", lambda: 65)
    with capture_logs() as logs:
        async with (
            Simulator(interval=60) as sim,
            running(tmp_path, source=sim.base_url, watches='["1", "2", "3"]') as site,
        ):

            async def counted() -> bool:
                [source] = (await site.get("/v1/status")).json["sources"]
                return (source["following"], source["open"], source["waiting"]) == (3, 1, 2)

            await until(counted)
            assert (await site.ask("DELETE", "/v1/watches/vidu/3")).status == 204
            await until(lambda: waiting(site, 1))
    [warning] = [log for log in logs if log["event"] == "daemon.few_descriptors"]
    assert (warning["log_level"], warning["limit"], warning["streams"]) == ("warning", 65, 1)
    assert "ulimit" in warning["hint"]


async def waiting(site: Site, count: int) -> bool:
    [source] = (await site.get("/v1/status")).json["sources"]
    return bool(source["waiting"] == count)


@pytest.mark.parametrize(
    ("files", "http", "streams"),
    [(-1, 2048, 1 << 30), (524_288, 2048, 521_984), (1024, 128, 640), (256, 32, 96), (64, 32, 1), (8, 32, 1)],
)
async def test_descriptors_are_shared_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, http: int, streams: int
) -> None:
    """Streams get the descriptors that are left, at least one."""
    monkeypatch.setattr(build, "raise_file_limit", lambda: files)
    path = tmp_path / "config.yaml"
    path.write_text(text(tmp_path, http="{listen: null}"))
    descriptors = build._Descriptors.share(load(path))
    assert (descriptors.http, descriptors.streams) == (http, streams)


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_head_that_stops_at_once_has_a_deadline,
        test_a_second_head_has_a_deadline_too,
        test_an_idle_connection_is_closed,
        test_a_body_has_a_deadline,
        test_an_answer_that_nobody_reads_is_cut_off,
        test_a_browser_may_send_many_cookies,
        test_a_head_has_a_limit,
        test_without_descriptors_probes_and_the_api_are_still_answered,
    ],
)
def test_the_same_on_uvloop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Callable[..., Awaitable[None]]
) -> None:
    """Its transports are of other classes than asyncio's, and it accepts connections in another way."""

    async def run() -> None:
        async with running(tmp_path, endpoints=APP) as site:
            needs_patch = "monkeypatch" in signature(scenario).parameters
            await (scenario(site, monkeypatch) if needs_patch else scenario(site))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


# -- the end


@pytest.mark.parametrize("unix", [False, True])
async def test_a_connection_during_the_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unix: bool
) -> None:
    """While the store closes, which may take as long as its database does: nobody would answer."""
    path = tmp_path / "s"
    http = f'{{listen: "unix:{path}", token: t}}' if unix else '{listen: "127.0.0.1:0"}'
    closing, go_on = asyncio.Event(), asyncio.Event()
    close = Store.close

    async def slow(self: Store) -> None:
        closing.set()
        await go_on.wait()
        await close(self)

    monkeypatch.setattr(Store, "close", slow)
    async with running(tmp_path, http=http, unix=path if unix else None) as site:
        site.app.stop()
        async with asyncio.timeout(PATIENCE):
            await closing.wait()
        try:
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                await site.get("/healthz")
        finally:
            go_on.set()
