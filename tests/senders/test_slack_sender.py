"""Sending to Slack over a real socket: what is sent, and what its answers mean."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import cast

import pytest
import structlog
from scripted_receiver import Answer, Request, delivery, receiving, reply, says, silence

from notifier.core.retry import Attempt, Delivered, Failed, Gone, Rejected
from notifier.senders.chat import ChatSender
from notifier.senders.target import Target


async def attempt_at(answer: Answer, *, timeout: float = 20.0, retry_on_timeout: bool = True) -> Attempt:
    async with receiving(answer) as receiver:
        sender = ChatSender(
            Target(url=receiver.url, timeout=timeout),
            clock=lambda: time.time_ns() // 1000,
            retry_on_timeout=retry_on_timeout,
        )
        try:
            return await sender.send(delivery())
        finally:
            await sender.close()


async def test_a_message_is_sent() -> None:
    """JSON of a Slack message, on a connection that is kept."""
    async with receiving(says(reply())) as receiver:
        sender = ChatSender(
            Target(url=receiver.url, timeout=20, headers={"X-Team": "video"}),
            clock=lambda: time.time_ns() // 1000,
            retry_on_timeout=True,
        )
        for _ in range(2):
            attempt = await sender.send(delivery())
            assert (attempt.outcome, attempt.status, attempt.reply) == (Delivered(), 200, "ok")
        await sender.close()
    request = receiver.requests[0]
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.headers["x-team"] == "video"
    assert "webhook-signature" not in request.headers
    assert json.loads(request.body)["text"]
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (200, b'{"ok":false,"error":"fatal_error"}', Failed, "unexpected_reply"),
        (403, b"invalid_token", Gone, "invalid_token"),
        (404, b"no_service", Gone, "no_service"),
        (410, b"channel_is_archived", Gone, "channel_is_archived"),
        (400, b"invalid_payload", Rejected, "invalid_payload"),
        (500, b"rollup_error", Failed, "http_500"),
        (302, b"", Failed, "redirect"),
    ],
)
async def test_its_words_are_understood(status: int, body: bytes, kind: type, reason: str) -> None:
    """A dead URL, a bad message and a bad day are told apart."""
    attempt = await attempt_at(says(reply(status, body)))
    assert isinstance(attempt.outcome, kind)
    assert getattr(attempt.outcome, "reason", None) == reason
    assert attempt.status == status


@pytest.mark.parametrize(("header", "seconds"), [(None, 0.65), ("30", 30.0), ("1.5", 1.5)])
async def test_429_waits_for_header_or_body(header: str | None, seconds: float) -> None:
    """Fractions in either."""
    headers = {} if header is None else {"Retry_After": header}
    body = b'{"retry_after":0.65,"ok":false,"error":"rate_limited"}'
    outcome = (await attempt_at(says(reply(429, body, **headers)))).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.throttle, outcome.spend, outcome.retry_after) == (True, False, seconds)


async def drip(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [silence, drip])
async def test_what_may_have_been_shown_is_not_sent_again_unless_wanted(answer: Answer) -> None:
    """Slack has no idempotency key: after a timeout of a request that was sent, the setting decides."""
    once = (await attempt_at(answer, timeout=0.2, retry_on_timeout=False)).outcome
    assert isinstance(once, Rejected), once
    assert (once.reason, once.well) == ("timeout", False)  # so that the breaker hears of it
    again = (await attempt_at(answer, timeout=0.2, retry_on_timeout=True)).outcome
    assert isinstance(again, Failed)
    assert again.reason == "timeout"


@pytest.mark.parametrize("reply_", [reply(503), reply(500)])
async def test_a_plain_failure_is_sent_again_whatever_the_setting(reply_: bytes) -> None:
    """It was answered: nothing was shown."""
    assert isinstance((await attempt_at(says(reply_), retry_on_timeout=False)).outcome, Failed)


async def test_what_was_never_sent_is_sent_again() -> None:
    """A timeout before the request was on its way is any failure; here TLS is spoken to who says nothing."""
    async with receiving(silence) as receiver:
        url = receiver.url.replace("http:", "https:")
        sender = ChatSender(Target(url=url, timeout=0.2), clock=lambda: 0, retry_on_timeout=False)
        outcome = (await sender.send(delivery())).outcome
        await sender.close()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "timeout"


def test_only_who_uses_slack_loads_its_library() -> None:
    """Start-up time is not spent on what is not configured; what is, loads before the first send."""
    program = (
        "import sys, notifier.senders.chat as s; assert 'slack_sdk' not in sys.modules;"
        "s.ChatSender(s.Target(url='http://127.0.0.1/', timeout=1), clock=int, retry_on_timeout=True);"
        "assert 'slack_sdk' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_user_in_the_url_is_sent_as_a_header() -> None:
    """Services of the same shape stand behind basic authentication."""
    async with receiving(says(reply())) as receiver:
        sender = ChatSender(
            Target(url=receiver.url.replace("127", "user:pass@127"), timeout=20), clock=lambda: 0, retry_on_timeout=True
        )
        await sender.send(delivery())
        await sender.close()
    assert receiver.requests[0].headers["authorization"] == "Basic dXNlcjpwYXNz"


async def test_a_fault_in_writing_the_message_is_an_outcome() -> None:
    """Logged, and dead at once, as it would fail the same way every time."""
    broken = replace(delivery(), body=cast(bytes, 7))
    sender = ChatSender(Target(url="http://127.0.0.1/", timeout=20), clock=lambda: 0, retry_on_timeout=True)
    with structlog.testing.capture_logs() as logs:
        attempt = await sender.send(broken)
    await sender.close()
    detail = "a fault of this program: TypeError"
    assert attempt.outcome == Rejected(reason="internal", detail=detail, well=None)
    assert [entry["event"] for entry in logs] == ["sender.unexpected_error"]
