"""Results in a bucket: sent whole, with the key's signature, to a stub of S3 on a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from served import served
from waits import NOTICED

from notifier.core.callback import CallbackPolicy
from notifier.core.model import KeptResult
from notifier.sources import archive as module
from notifier.sources.archive import Archive, ArchiveSettings
from notifier.sources.kept_object import S3Place


class Bucket:
    """Takes objects, or refuses them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.keys: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        self.host = ""
        self.together: asyncio.Barrier | None = None  # requests wait for each other

    async def serve(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=b"film" * 1000)
        self.keys.append(request.headers["Authorization"])
        body = await request.read()
        if self.together is not None:
            await self.together.wait()
        if self.refusals:
            status, code = self.refusals.pop(0)
            text = f"<Error><Code>{code}</Code><Message>s3cr3t</Message><Resource>/</Resource></Error>"
            return web.Response(status=status, text=text, content_type="application/xml")
        self.objects[request.path] = body
        return web.Response(headers={"ETag": '"x"'})


@pytest.fixture
async def bucket() -> AsyncIterator[Bucket]:
    made = Bucket()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", made.serve)
    async with served(app) as url:
        made.host = url.removeprefix("http://")
        yield made


@asynccontextmanager
async def archiving(bucket: Bucket, **more: Any) -> AsyncIterator[Archive]:
    place = S3Place(
        host=more.pop("host", bucket.host),
        secure=False,
        region="us-east-1",
        bucket="films",
        prefix="a/b/",
        access_key="AKEY",
        secret_key="s3cr3t",
    )
    settings: dict[str, Any] = {
        "max_bytes": 1 << 20,
        "timeout": 20.0,
        "allow_http": True,
        "policy": CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8")]),
        "user_agent": "notifier/test",
    }
    archive = Archive(ArchiveSettings(place=place, **settings | more))
    yield archive
    archive.retire()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(module, "PAUSE", 0.02)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


async def test_a_result_is_kept_in_a_bucket(bucket: Bucket) -> None:
    """Under the same name as in a directory, told as it is; the key signs and is not sent."""
    async with archiving(bucket) as archive:
        [kept] = await archive.keep("vidu", "x/1", [f"http://{bucket.host}/film.mp4"])
    assert kept == KeptResult(url="s3://films/a/b/vidu/x%2F1/1.mp4", bytes=4000)
    assert bucket.objects == {"/films/a/b/vidu/x%2F1/1.mp4": b"film" * 1000}
    assert bucket.keys[0].startswith("AWS4-HMAC-SHA256 Credential=AKEY/")
    assert "s3cr3t" not in bucket.keys[0]


async def test_a_bucket_that_is_busy_is_asked_again(bucket: Bucket) -> None:
    bucket.refusals = [(503, "SlowDown"), (500, "InternalError")]
    async with archiving(bucket) as archive:
        [kept] = await archive.keep("vidu", "1", [f"http://{bucket.host}/film.mp4"])
    assert (kept.bytes, len(bucket.keys)) == (4000, 3)


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "InvalidAccessKeyId"])
async def test_a_bucket_that_refuses_is_a_reason(bucket: Bucket, code: str) -> None:
    """Its code alone: the text may hold anything."""
    bucket.refusals = [(403, code)]
    async with archiving(bucket) as archive:
        [kept] = await archive.keep("vidu", "1", [f"http://{bucket.host}/film.mp4"])
    assert kept == KeptResult(url=None, reason=f"the bucket refuses it: {code}")


async def test_a_bucket_that_does_not_answer_is_a_reason(bucket: Bucket) -> None:
    """It was fetched: the provider is not to blame."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with archiving(bucket, host=f"127.0.0.1:{silent.getsockname()[1]}", timeout=NOTICED) as archive:
            [kept] = await archive.keep("vidu", "1", [f"http://{bucket.host}/film.mp4"])
            assert kept == KeptResult(url=None, reason=f"the archive does not answer within {NOTICED:g} s")
            assert archive.problem == kept.reason


async def test_what_ails_the_bucket_is_known_until_it_takes_a_result(bucket: Bucket) -> None:
    """A result that cannot be fetched says nothing of it."""
    bucket.refusals = [(403, "AccessDenied")]
    async with archiving(bucket) as archive:
        assert archive.problem is None
        for url in (f"http://{bucket.host}/film.mp4", "ftp://x/film.mp4"):
            await archive.keep("vidu", "1", [url])
            assert archive.problem == "the bucket refuses it: AccessDenied"
        await archive.keep("vidu", "1", [f"http://{bucket.host}/film.mp4"])
        assert archive.problem is None


async def test_results_are_sent_at_the_same_time(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """Each over a connection that is used again, without a word of the client library."""
    bucket.together = asyncio.Barrier(3)
    async with archiving(bucket) as archive:
        urls = [f"http://{bucket.host}/film.mp4"]
        await asyncio.gather(*(archive.keep("vidu", task, urls) for task in "123"))
    assert len(bucket.objects) == 3
    assert [record.getMessage() for record in caplog.records if record.name.startswith("urllib3")] == []


async def test_a_bucket_that_is_away_is_a_reason(bucket: Bucket) -> None:
    async with archiving(bucket, host="127.0.0.1:9", timeout=0.5) as archive:
        [kept] = await archive.keep("vidu", "1", [f"http://{bucket.host}/film.mp4"])
    assert kept.url is None
    assert (kept.reason or "").startswith("the bucket cannot be reached")
