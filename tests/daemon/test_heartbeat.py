"""A monitor hears from the daemon while it is well, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from daemon_rig import serving
from structlog.testing import capture_logs
from waits import PATIENCE, until

from notifier.cluster import ThisNode
from notifier.config import ConfigInForce, load
from notifier.daemon import heartbeat
from notifier.daemon.heartbeat import Heartbeat

TEXT = """
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0"}}
shutdown_timeout: 1s
heartbeat: {{url: {url}, every: {every}}}
"""


class Monitor:
    """A monitor that remembers the requests, and their first lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.heads: list[str] = []
        self.status = 200
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ping/s%65cret?k="

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            self.lines.append(self.heads[-1].splitlines()[0])
            writer.write(f"HTTP/1.1 {self.status} Whatever\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()


@asynccontextmanager
async def monitoring() -> AsyncIterator[Monitor]:
    monitor = Monitor()
    server = await asyncio.start_server(monitor.serve, "127.0.0.1", 0)
    monitor.port = server.sockets[0].getsockname()[1]
    async with server:
        yield monitor


class Me(ThisNode):
    """A node whose problem a test chooses."""

    def __init__(self, problem: str | None = None) -> None:
        self.trouble = problem

    def problem(self) -> str | None:
        return self.trouble


def config(directory: Path, url: str, every: str = "50ms") -> ConfigInForce:
    path = directory / "config.yaml"
    path.write_text(TEXT.format(directory=directory, url=f'"{url}"', every=every))
    return ConfigInForce(load(path, env={}))


@asynccontextmanager
async def beating(heartbeat: Heartbeat) -> AsyncIterator[None]:
    task = asyncio.create_task(heartbeat.run(), name="heartbeat")
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_monitor_hears_from_a_daemon_that_is_well(tmp_path: Path) -> None:
    """Again and again, at the URL as it is written; a reload changes where, and ends it."""
    path = tmp_path / "config.yaml"
    async with monitoring() as monitor, monitoring() as other:
        config(tmp_path, monitor.url)
        async with serving(path) as app:
            await until(lambda: len(monitor.lines) > 2, "three heartbeats")
            assert set(monitor.lines) == {"GET /ping/s%65cret?k= HTTP/1.1"}
            config(tmp_path, other.url, every="1h")
            assert app.parts is not None
            assert await app.parts.reloader.reload() == []
            await until(lambda: bool(other.lines), "a heartbeat at once")
            seen = len(monitor.lines)
            path.write_text(TEXT.format(directory=tmp_path, url="null", every="50ms"))
            assert await app.parts.reloader.reload() == []
            await asyncio.sleep(0.3)
            assert (len(monitor.lines), len(other.lines)) == (seen, 1)


async def test_a_monitor_that_wants_a_password_gets_it(tmp_path: Path) -> None:
    """As endpoints and upstreams do whose URLs name a user; the log has neither."""
    async with monitoring() as monitor:
        settings = config(tmp_path, monitor.url.replace("http://", "http://me:p%40ss@"), every="1h")
        monitor.status = 401
        with capture_logs() as logs:
            async with beating(Heartbeat(in_force=settings, this=Me())):
                await until(lambda: bool(logs), "a heartbeat is answered")
    [head] = monitor.heads
    assert head.count("\r\nauthorization: Basic bWU6cEBzcw==\r\n") == 1  # RFC 7617
    assert "me:" not in head
    assert "p%40ss" not in str(logs)


async def test_a_daemon_that_is_not_well_sends_none(tmp_path: Path) -> None:
    """The log says once why."""
    me = Me("the store cannot be written")
    async with monitoring() as monitor:
        settings = config(tmp_path, monitor.url)
        with capture_logs() as logs:
            async with beating(Heartbeat(in_force=settings, this=me)):
                await until(lambda: bool(logs), "it is logged")
                await asyncio.sleep(0.3)
                assert not monitor.lines
                me.trouble = None
                await until(lambda: len(monitor.lines) > 1, "the heart beats")
    assert [entry["event"] for entry in logs] == ["heartbeat.paused"]
    assert logs[0]["reason"] == "the store cannot be written"


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_monitor_that_refuses_is_logged_once(tmp_path: Path, status: int) -> None:
    """Without the URL, and again when it accepts."""
    async with monitoring() as monitor:
        settings = config(tmp_path, monitor.url)
        monitor.status = status
        with capture_logs() as logs:
            async with beating(Heartbeat(in_force=settings, this=Me())):
                await until(lambda: len(monitor.lines) > 2, "three heartbeats")
                monitor.status = 204
                await until(lambda: len(logs) > 1, "it is well again")
    assert [entry["event"] for entry in logs] == ["heartbeat.failed", "heartbeat.recovered"]
    assert logs[0]["error"] == f"the monitor answered {status}"
    assert "s%65cret" not in str(logs)


async def test_a_monitor_that_is_away_stops_nothing(tmp_path: Path) -> None:
    """A port where nobody listens, a host that does not exist."""
    async with monitoring() as monitor:
        url = monitor.url
    settings = config(tmp_path, url)
    with capture_logs() as logs:
        async with beating(Heartbeat(in_force=settings, this=Me())):
            await until(lambda: bool(logs), "it is logged")
            await asyncio.sleep(0.3)
    [entry] = logs
    assert entry["error"] == "the monitor cannot be reached: ConnectFault"


async def test_a_monitor_that_never_answers_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each heartbeat would leave a connection open."""
    monkeypatch.setattr(heartbeat, "TIMEOUT", 0.2)
    ended = asyncio.Event()

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()  # to its end
        ended.set()
        writer.close()

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    settings = config(tmp_path, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", every="1h")
    async with server:
        with capture_logs() as logs:
            async with beating(Heartbeat(in_force=settings, this=Me())), asyncio.timeout(PATIENCE):
                await ended.wait()
                await until(lambda: bool(logs), "it is logged")
    assert [entry["error"] for entry in logs] == ["the monitor did not answer within 0.2 s"]
