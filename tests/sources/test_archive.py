"""Results that are kept: fetched from a real server into real files, within limits of time, size and address."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from ports import free_port
from raw_upstream import Peer, serve
from served import served
from structlog.testing import capture_logs
from waits import NOTICED, until

from notifier.core.callback import CallbackPolicy
from notifier.core.model import KeptResult
from notifier.sources import archive as module
from notifier.sources.archive import Archive, ArchiveSettings
from notifier.sources.kept_file import STALE, Directory, KeptFile

HERE = CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8")])
Handler = Callable[[web.Request], Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(module, "PAUSE", 0.02)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Run a server; yield its URL."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with served(app, handler_cancellation=True) as url:
        yield url


def make(directory: Path, **more: Any) -> Archive:
    settings: dict[str, Any] = {
        "max_bytes": 1 << 20,
        "timeout": 20.0,
        "allow_http": True,
        "policy": HERE,
        "user_agent": "notifier/test",
    }
    return Archive(ArchiveSettings(**{"place": Directory(directory)} | settings | more))


async def keep(directory: Path, urls: Sequence[str], **more: Any) -> tuple[KeptResult, ...]:
    archive = make(directory, **more)
    try:
        return await archive.keep("vidu", "1", urls)
    finally:
        archive.retire()


def files(directory: Path) -> dict[str, bytes]:
    """Return the files below a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_results_are_kept_whole(tmp_path: Path) -> None:
    """Each in a file, named by its number; the request target goes out byte for byte."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.Response(body=request.path.encode() * 1000)

    async with serving(handler) as url:
        urls = [f"{url}/a.mp4?sig=%2Fx+y&z=", f"{url}/b%20c"]
        first, second = await keep(tmp_path / "r", urls)
    assert asked == ["/a.mp4?sig=%2Fx+y&z=", "/b%20c"]
    assert first == KeptResult(url=(tmp_path / "r/vidu/1/1.mp4").as_uri(), bytes=6000)
    assert second.url == (tmp_path / "r/vidu/1/2").as_uri()
    assert files(tmp_path / "r") == {"vidu/1/1.mp4": b"/a.mp4" * 1000, "vidu/1/2": b"/b c" * 1000}


@pytest.mark.parametrize("status", [500, 503, 429, 404])
async def test_what_may_pass_is_tried_again(tmp_path: Path, status: int) -> None:
    """Until it is there."""
    tries = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        return web.Response(status=status) if tries < 3 else web.Response(body=b"x")

    async with serving(handler) as url:
        [kept] = await keep(tmp_path, [f"{url}/a"])
    assert (kept.bytes, tries) == (1, 3)


@pytest.mark.parametrize(("status", "reason"), [(403, "the server answered 403"), (410, "the server answered 410")])
async def test_a_refusal_is_final(tmp_path: Path, status: int, reason: str) -> None:
    """It has a reason, and no file; the log names it without the URL."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(handler) as url:
        with capture_logs() as logs:
            [kept] = await keep(tmp_path, [f"{url}/s3cret"])
    assert kept == KeptResult(url=None, reason=reason)
    assert files(tmp_path) == {}
    assert [entry["event"] for entry in logs] == ["archive.not_kept"]
    assert "s3cret" not in repr(logs)


async def test_what_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """With the last reason; the others of the task share the time."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/slow":
            await asyncio.Event().wait()
        return web.Response(status=500)

    async with serving(handler) as url:
        slow, failed = await keep(tmp_path, [f"{url}/slow", f"{url}/a"], timeout=0.5)
        [broken] = await keep(tmp_path, [f"{url}/a"], timeout=NOTICED)
    assert slow == KeptResult(url=None, reason="not fetched within 0.5 s")
    assert failed.reason == "not fetched within 0.5 s"
    assert broken == KeptResult(url=None, reason="the server answered 500")
    await until(lambda: files(tmp_path) == {}, "a file that was created too late is removed")


@pytest.mark.parametrize("announced", [True, False])
async def test_what_is_too_large_is_not_kept(tmp_path: Path, announced: bool) -> None:
    """Whether it says so or not."""

    async def handler(request: web.Request) -> web.StreamResponse:
        body = b"x" * 100_001
        if announced:
            return web.Response(body=body)
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(body)
        return reply

    async with serving(handler) as url:
        [kept] = await keep(tmp_path, [f"{url}/a"], max_bytes=100_000)
    assert kept.url is None
    assert "max_bytes (100000)" in (kept.reason or "")
    assert files(tmp_path) == {}


async def test_a_large_result_takes_little_memory(tmp_path: Path) -> None:
    """It is written as it comes."""

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(400):
            await reply.write(b"x" * (64 << 10))
        return reply

    async with serving(handler) as url:
        tracemalloc.start()
        try:
            [kept] = await keep(tmp_path, [f"{url}/a"], max_bytes=100 << 20)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert kept.bytes == 400 * (64 << 10)
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "the server closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "the connection broke before the reply was complete"),
        (b"SSH-2.0-x\r\n\r\n", "the server's reply is not HTTP"),
        (None, "cannot connect: connection refused"),
    ],
)
async def test_a_transfer_that_breaks_is_told_in_words(tmp_path: Path, sent: bytes | None, reason: str) -> None:
    """Of whom they speak is clear: the server of the result is not the upstream."""

    async def behave(peer: Peer) -> None:
        await peer.send(sent or b"")
        peer.close()

    async with serve(behave) as server:
        url = server.url if sent is not None else f"http://127.0.0.1:{free_port()}"
        [kept] = await keep(tmp_path, [f"{url}/a"], timeout=NOTICED)
    assert (kept.reason or "").startswith(reason)


async def test_a_transfer_that_breaks_is_begun_anew(tmp_path: Path) -> None:
    """Half a file is never seen."""
    tries = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        reply = web.StreamResponse(headers={"Content-Length": "10"})
        await reply.prepare(request)
        await reply.write(b"12345")
        if tries == 1:
            assert request.transport is not None
            request.transport.abort()
            return reply
        await reply.write(b"67890")
        return reply

    async with serving(handler) as url:
        [kept] = await keep(tmp_path, [f"{url}/a"])
    assert kept.bytes == 10
    assert files(tmp_path) == {"vidu/1/1": b"1234567890"}


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://127.0.0.1:9/a", "the host's address is special (loopback)"),
        ("http://localhost:9/a", "the host's address is special (loopback)"),
        ("http://169.254.169.254/latest/meta-data", "the host's address is special"),
        ("http://[::ffff:10.0.0.1]/a", "the host's address is special"),
        ("ftp://example.com/a", "not a URL of http:// or https://"),
        ("https:///a", "not a URL"),
        ("nonsense", "not a URL"),
    ],
)
async def test_addresses_that_are_special_are_not_asked(tmp_path: Path, url: str, part: str) -> None:
    """By the rules of callbacks; at once."""
    [kept] = await keep(tmp_path, [url], policy=CallbackPolicy())
    assert kept.url is None
    assert part in (kept.reason or "")


async def test_plain_http_has_to_be_allowed(tmp_path: Path) -> None:
    """It is not, by default."""
    [kept] = await keep(tmp_path, ["http://127.0.0.1:9/a"], allow_http=False)
    assert kept.reason == "begins with http:// (archive.allow_http is false)"


async def test_redirects_go_by_the_same_rules(tmp_path: Path) -> None:
    """To another file, and not into the inner network; not for ever."""

    async def handler(request: web.Request) -> web.Response:
        targets = {
            "/a": "/b?x=%2F",
            "/inner": "http://10.0.0.1/secret",
            "/loop": "/loop",
            "/port": "http://h:99999999/x",
            "/host": "http://[::1/x",
            "/mail": "mailto:a@example.com",
        }
        if request.path in targets:
            return web.Response(status=302, headers={"Location": targets[request.path]})
        return web.Response(body=request.raw_path.encode())

    async with serving(handler) as url:
        paths = ("a", "inner", "loop", "port", "host", "mail")
        with capture_logs() as logs:
            found, inner, loop, *wrong = await keep(tmp_path, [f"{url}/{path}" for path in paths])
    assert found.bytes == len("/b?x=%2F")
    assert "special" in (inner.reason or "")
    assert (loop.reason or "").startswith("redirected more than 5 times; redirected to http")
    assert all("no URL" in (kept.reason or "") or "not a URL" in (kept.reason or "") for kept in wrong), wrong
    assert {entry["event"] for entry in logs} == {"archive.not_kept"}


@pytest.mark.parametrize("ahead", [-365, 0, 365])
async def test_the_same_task_has_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    """After a restart it is fetched once more, and replaced as a whole; old rests are removed.

    The clock may be days ahead of the file system's.
    """
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + ahead * 86_400)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"new")

    directory = tmp_path / "vidu" / "1"
    directory.mkdir(parents=True)
    (directory / "1").write_bytes(b"old")
    left, recent = directory / ".1.aa.part", directory / ".1.bb.part"
    for path in (left, recent):
        path.write_bytes(b"rest")
    os.utime(left, (0, left.stat().st_mtime - 2 * STALE))
    async with serving(handler) as url:
        await keep(tmp_path, [f"{url}/a"])
    assert files(tmp_path) == {"vidu/1/1": b"new", "vidu/1/.1.bb.part": b"rest"}


async def test_a_disk_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    """The daemon goes on."""
    (tmp_path / "vidu").write_text("a file in the way")
    [kept] = await keep(tmp_path, ["http://127.0.0.1:9/a"])
    assert kept.url is None
    assert kept.reason == "its directory cannot be created: not a directory"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("open", "it cannot be created"),
        ("write", "it cannot be written"),
        ("fsync", "it cannot be flushed to the disk"),
        ("replace", "it cannot be given its name"),
    ],
)
async def test_each_step_that_fails_is_told_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, reason: str
) -> None:
    """A disk that breaks at a certain call cannot be had; the call itself fails here. Nothing is left."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x")

    true = getattr(os, call)

    def broken(*arguments: Any, **more: Any) -> Any:
        if threading.current_thread().name.startswith("archive"):
            raise OSError(errno.EIO, "Input/output\nerror")
        return true(*arguments, **more)

    async with serving(handler) as url:
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr(os, call, broken)
            [kept] = await keep(tmp_path, [f"{url}/a"])
    assert kept == KeptResult(url=None, reason=f"{reason}: input/output error")
    assert [entry["event"] for entry in logs] == ["archive.not_kept"]
    assert files(tmp_path) == {}


async def test_a_fault_of_ours_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x")

    class Faulty(Directory):
        def file(self, name: str) -> KeptFile:
            if name.endswith("1/1"):
                raise KeyError("a fault of ours")
            return super().file(name)

    async with serving(handler) as url:
        with capture_logs() as logs:
            broken, kept = await keep(tmp_path, [f"{url}/a", f"{url}/b"], place=Faulty(tmp_path))
    assert (broken.url, broken.reason) == (None, "an internal error; see the log")
    assert kept.bytes == 1
    assert [(entry["event"], entry["result"]) for entry in logs] == [("archive.failed", 1)]


async def test_no_connection_to_a_host_of_others_is_kept(tmp_path: Path) -> None:
    """Not after a result, nor after a redirect or a refusal."""
    transports: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        transports.append(request.transport)
        if request.path == "/moved":
            raise web.HTTPFound("/a")
        return web.Response(body=b"x", status=403 if request.path == "/no" else 200)

    archive = make(tmp_path)
    async with serving(handler) as url:
        await archive.keep("vidu", "1", [f"{url}/a", f"{url}/moved", f"{url}/no"])
        assert len(transports) == 4
        await until(lambda: all(transport.is_closing() for transport in transports))
    archive.retire()


async def test_a_cancelled_fetch_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor a connection."""
    begun = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"x" * 1000)
        begun.set()
        await asyncio.Event().wait()
        return reply

    archive = make(tmp_path)
    async with serving(handler) as url:
        task = asyncio.create_task(archive.keep("vidu", "1", [f"{url}/a"]))
        await begun.wait()
        archive.retire()
        task.cancel()
        await asyncio.wait({task})
        await until(lambda: files(tmp_path) == {}, "the rest is removed")
    assert task.cancelled()
