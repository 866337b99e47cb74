"""Results in a bucket: sent whole, with the key's signature, to a stub of S3 on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from served import served

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

    async def serve(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=b"film" * 1000)
        self.keys.append(request.headers["Authorization"])
        body = await request.read()
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
        "vet": CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8")]).forbids,
        "user_agent": "notifier/test",
    }
    archive = Archive(ArchiveSettings(place=place.maker(), **settings | more))
    yield archive
    archive.retire()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(module, "PAUSE", 0.02)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


async def test_a_result_is_kept_in_a_bucket(bucket: Bucket) -> None:
    """Under the same name as in a directory; the key signs and is not sent."""
    async with archiving(bucket) as archive:
        [kept] = await archive.keep("vidu", "x/1", [f"http://{bucket.host}/film.mp4"])
    assert kept == KeptResult(url="s3://films/a/b/vidu/x%252F1/1.mp4", bytes=4000)
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


async def test_a_bucket_that_is_away_is_a_reason(bucket: Bucket) -> None:
    async with archiving(bucket, host="127.0.0.1:9", timeout=0.5) as archive:
        [kept] = await archive.keep("vidu", "1", [f"http://{bucket.host}/film.mp4"])
    assert kept.url is None
    assert (kept.reason or "").startswith("the bucket cannot be reached")
