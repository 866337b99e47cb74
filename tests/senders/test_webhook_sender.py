"""Sending webhooks over real sockets: what is sent, what each answer means, and what connections cost."""

from __future__ import annotations

import asyncio
import base64
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import standardwebhooks
import uvloop
from scripted_receiver import Answer, Receiver, Request, delivery, receiving, reply, says

from notifier import __version__
from notifier.core.model import Micros
from notifier.core.retry import Attempt, Delivered, Failed, Gone
from notifier.core.signers import StandardSigner
from notifier.core.signing import decode_secret
from notifier.senders.reply import KEEP_LIMIT
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]


def wall() -> Micros:
    return time.time_ns() // 1000


def sender(
    url: str,
    *,
    timeout: float = 20.0,
    headers: dict[str, str] | None = None,
    max_in_flight: int = 32,
    clock: Callable[[], Micros] = wall,
) -> WebhookSender:
    return WebhookSender(
        Target(
            url=url, timeout=timeout, headers=headers or {}, max_in_flight=max_in_flight, signed_with=tuple(SECRETS)
        ),
        signer=StandardSigner([decode_secret(text) for text in SECRETS]),
        clock=clock,
    )


@asynccontextmanager
async def sending(answer: Answer) -> AsyncIterator[tuple[WebhookSender, Receiver]]:
    async with receiving(answer) as receiver:
        webhook = sender(receiver.url)
        try:
            yield webhook, receiver
        finally:
            await webhook.close()


@pytest.mark.parametrize("body", [b"{}", '{"ü": "日本語 🎬", "f": 0.30000000000000004, "n": 1e300}'.encode()])
async def test_what_is_sent_is_what_was_signed(body: bytes) -> None:
    """Byte for byte, with the headers of Standard Webhooks; each secret has its signature."""
    async with sending(says(reply())) as (webhook, receiver):
        attempt = await webhook.send(delivery(body))
    assert attempt.outcome == Delivered()
    (request,) = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == body
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"notifier/{__version__}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["webhook-id"] == "msg_1"
    for secret in SECRETS:
        standardwebhooks.Webhook(secret).verify(request.body, request.headers, json_parse=False)


async def test_an_attempt_is_recorded() -> None:
    """Status, address, durations and reply; a kept connection has no `connect`."""
    async with sending(says(reply(201, b"thanks"))) as (webhook, receiver):
        first, second = await webhook.send(delivery()), await webhook.send(delivery())
    assert (first.status, first.reply, first.address) == (201, "thanks", f"127.0.0.1:{receiver.port}")
    assert second.address == first.address
    assert set(first.phases) == {"connect", "first_byte", "body"}
    assert set(second.phases) == {"first_byte", "body"}
    assert 0 <= wall() - first.at < 60_000_000


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_durations_are_measured_on_either_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Each phase took some time, and all together no more than the attempt; uvloop's own clock is too coarse for it."""

    async def attempt() -> Attempt:
        async with sending(says(reply())) as (webhook, _):
            return await webhook.send(delivery())

    with asyncio.Runner(loop_factory=new_loop) as runner:
        found = runner.run(attempt())
    assert found.outcome == Delivered()
    assert all(seconds > 0 for seconds in found.phases.values())
    assert sum(found.phases.values()) <= found.seconds + 1e-6


async def test_each_attempt_is_dated_and_signed_anew() -> None:
    """Same id and body, fresh timestamp and signature."""
    now = [1_700_000_000_999_999]
    async with receiving(says(reply(500), reply())) as receiver:
        webhook = sender(receiver.url, clock=lambda: now[0])
        await webhook.send(delivery())
        now[0] += 5_000_000
        await webhook.send(delivery())
        await webhook.close()
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (first.headers["webhook-timestamp"], second.headers["webhook-timestamp"]) == ("1700000000", "1700000005")
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


async def test_connections_are_kept() -> None:
    """Fifty deliveries in a row, one connection."""
    async with sending(says(reply())) as (webhook, receiver):
        for number in range(50):
            assert (await webhook.send(delivery(number=number))).outcome == Delivered()
    assert (len(receiver.requests), receiver.connections) == (50, 1)


async def test_connections_are_no_more_than_attempts_in_flight() -> None:
    """Two hundred deliveries, eight at a time."""
    async with receiving(says(reply())) as receiver:
        webhook = sender(receiver.url, max_in_flight=8)
        await asyncio.gather(*(webhook.send(delivery(number=number)) for number in range(200)))
        await webhook.close()
    assert len(receiver.requests) == 200
    assert receiver.connections <= 8


async def test_a_redirect_is_not_followed() -> None:
    """A 302 fails and the place it names is not called."""
    async with receiving(says(reply())) as elsewhere:
        answer = says(reply(302, b"", Location=elsewhere.url + "?token=secret"))
        async with sending(answer) as (webhook, _):
            attempt = await webhook.send(delivery())
    assert attempt.outcome == Failed(reason="redirect", detail=f"302 to {elsewhere.url}?***")
    assert elsewhere.requests == []


async def test_410_is_gone() -> None:
    """Also with a body."""
    async with sending(says(reply(410, b"moved out"))) as (webhook, _):
        attempt = await webhook.send(delivery())
    assert isinstance(attempt.outcome, Gone)
    assert attempt.reply == "moved out"


@pytest.mark.parametrize(
    ("hint", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        ("Sun Nov  6 08:49:47 1994", 10.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("whenever", None),
        ("-3", None),
        (None, None),
    ],
)
async def test_429_asks_for_patience(hint: str | None, seconds: float | None) -> None:
    """Whatever the form of `Retry-After`, read by our clock and not by the machine's."""
    headers = {} if hint is None else {"Retry_After": hint}
    async with receiving(says(reply(429, b"", **headers))) as receiver:
        webhook = sender(receiver.url, clock=lambda: 784_111_777_000_000)
        attempt = await webhook.send(delivery())
        await webhook.close()
    assert isinstance(attempt.outcome, Failed)
    assert (attempt.outcome.throttle, attempt.outcome.spend) == (True, False)
    assert attempt.outcome.retry_after == seconds


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_errors_keep_the_connection(status: int) -> None:
    """A failure of the application is none of the connection."""
    async with sending(says(reply(status), reply())) as (webhook, receiver):
        attempt = await webhook.send(delivery())
        assert (await webhook.send(delivery())).outcome == Delivered()
    assert isinstance(attempt.outcome, Failed)
    assert attempt.outcome.reason == f"http_{status}"
    assert receiver.connections == 1


async def test_no_content_is_delivered() -> None:
    """204 has no body and needs none."""
    async with sending(says(b"HTTP/1.1 204 No Content\r\n\r\n")) as (webhook, receiver):
        for _ in range(2):
            attempt = await webhook.send(delivery())
            assert (attempt.outcome, attempt.reply) == (Delivered(), "")
    assert receiver.connections == 1


async def test_an_endless_body_is_left() -> None:
    """16 KiB are read, the connection is dropped, and the status decides."""

    async def pour(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            await writer.drain()

    async with sending(pour) as (webhook, receiver):
        attempt = await webhook.send(delivery())
        assert attempt.outcome == Delivered()
        assert attempt.reply == "x" * KEEP_LIMIT
        await asyncio.wait_for(receiver.hung_up.wait(), 10)
        assert (await webhook.send(delivery())).outcome == Delivered()
    assert receiver.connections == 2


async def test_a_gzip_bomb_does_not_go_off() -> None:
    """A hundred MiB in a hundred KiB, though nothing compressed was asked for: not even as much as is read swells."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join([*(packer.compress(b"x" * (1 << 20)) for _ in range(100)), packer.flush()])
    async with sending(says(reply(200, bomb, Content_Encoding="gzip"))) as (webhook, _):
        attempt = await webhook.send(delivery())
    assert attempt.outcome == Delivered()
    assert attempt.reply == "x" * KEEP_LIMIT
    assert attempt.seconds < 10


@pytest.mark.parametrize(
    ("body", "encoding", "kept"),
    [
        (b"a\x1b[31mb\r\n\tc\x00", "identity", "a␛[31mb␍␊␉c␀"),
        (b"caf\xe9 \xff", "identity", "caf� �"),
        ("\u202eevil\u2028 日本".encode(), "identity", "�evil� 日本"),
        (zlib.compress(b"deflated"), "Deflate", "deflated"),
        (b"no gzip at all", "gzip", "(14 bytes that are not gzip)"),
        ("é".encode() * 2000, "identity", "é" * KEEP_LIMIT),
    ],
)
async def test_a_reply_is_kept_as_harmless_text(body: bytes, encoding: str, kept: str) -> None:
    """Controls are shown, bad bytes become U+FFFD, and no more than a KiB stays."""
    async with sending(says(reply(500, body, Content_Encoding=encoding))) as (webhook, _):
        attempt = await webhook.send(delivery())
    assert attempt.reply == kept
    assert isinstance(attempt.outcome, Failed)
    assert attempt.outcome.reason == "http_500"


async def test_an_error_page_does_not_leak_the_url() -> None:
    """Many servers repeat the path; what may be a secret in it is blotted out, also in a Location."""
    page = b"Cannot POST /hooks/T0PS3CRETT0KEN?key=s3cr3tk3y"
    headers = {"Location": "https://else.example/hooks/T0PS3CRETT0KEN/"}
    async with receiving(says(reply(404, page), reply(308, page, **headers))) as receiver:
        webhook = sender(f"http://user:passw0rd@127.0.0.1:{receiver.port}/hooks/T0PS3CRETT0KEN?key=s3cr3tk3y")
        attempts = [await webhook.send(delivery()) for _ in range(2)]
        await webhook.close()
    told = repr(attempts)
    assert "T0PS3CRET" not in told
    assert "s3cr3t" not in told
    assert "passw0rd" not in told
    assert "308 to https://else.example/hooks/***/" in told
    (request, _) = receiver.requests
    assert request.line == "POST /hooks/T0PS3CRETT0KEN?key=s3cr3tk3y HTTP/1.1"
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"user:passw0rd").decode()


@pytest.mark.parametrize("told", [SECRETS[0], SECRETS[1].removeprefix("whsec_")])
async def test_an_error_page_does_not_leak_what_signs(told: str) -> None:
    """A receiver that prints the secret that it expected a signature of, with its prefix or without."""
    async with sending(says(reply(401, f"not signed with {told}".encode()))) as (webhook, _):
        attempt = await webhook.send(delivery())
    assert attempt.reply == "not signed with ***"


async def test_headers_can_be_added() -> None:
    """Own headers are sent; those of the signature cannot be replaced."""
    async with receiving(says(reply())) as receiver:
        own = {"X-Team": "video", "User-Agent": "ours/1", "Webhook-Id": "forged", "Accept-Encoding": "gzip"}
        webhook = sender(receiver.url, headers=own)
        await webhook.send(delivery())
        await webhook.close()
    (request,) = receiver.requests
    assert request.headers["x-team"] == "video"
    assert request.headers["user-agent"] == "ours/1"
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["accept-encoding"] == "identity"


async def test_a_body_of_megabytes_is_sent() -> None:
    """Snapshots may be large."""
    body = b'{"task":"' + b"x" * (3 << 20) + b'"}'
    async with sending(says(reply())) as (webhook, receiver):
        assert (await webhook.send(delivery(body))).outcome == Delivered()
    assert receiver.requests[0].body == body


async def test_cookies_and_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint sets no state, and nothing in between is asked."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with sending(says(reply(Set_Cookie="session=1; Path=/"))) as (webhook, receiver):
        for _ in range(2):
            assert (await webhook.send(delivery())).outcome == Delivered()
    assert "cookie" not in receiver.requests[1].headers


async def test_the_trace_of_a_watch_is_sent_on() -> None:
    """As the header of W3C Trace Context; without one there is none."""
    trace = f"00-{'a' * 32}-{'1' * 16}-01"
    async with sending(says(reply())) as (webhook, receiver):
        for traceparent in (trace, None):
            await webhook.send(replace(delivery(), traceparent=traceparent))
    assert [request.headers.get("traceparent") for request in receiver.requests] == [trace, None]
