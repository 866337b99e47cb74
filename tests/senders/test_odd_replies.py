"""A reply counts once its status line was read, however large or odd its head is: the receiver has the event."""

from __future__ import annotations

import asyncio
import time

import pytest
from scripted_receiver import Answer, Request, delivery, receiving

from notifier.core.retry import Attempt, Delivered, Failed, Gone, Rejected
from notifier.core.signers import Unsigned
from notifier.senders.chat import ChatSender
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender

EVENTS = 3
BIG = 60_000  # bytes of a header that is read
HUGE = 2_000_000
LENGTH = b"Content-Length: 2\r\n\r\nok"
ODD = {
    "a header of 9,000 bytes": b"HTTP/1.1 200 OK\r\nX-Policy: " + b"a" * 9000 + b"\r\n" + LENGTH,
    "a header of 60,000 bytes": b"HTTP/1.1 200 OK\r\nX-Policy: " + b"a" * BIG + b"\r\n" + LENGTH,
    "a header above every limit": b"HTTP/1.1 200 OK\r\nX-Policy: " + b"a" * HUGE + b"\r\n" + LENGTH,
    "130 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(130)) + LENGTH,
    "900 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(900)) + LENGTH,
    "5,000 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(5000)) + LENGTH,
    "a long reason": b"HTTP/1.1 200 " + b"O" * 10_000 + b"K\r\n" + LENGTH,
    "204 with a body": b'HTTP/1.1 204 No Content\r\n\r\n{"ok":true}',
    "204 with a body and its length": b'HTTP/1.1 204 No Content\r\nContent-Length: 11\r\n\r\n{"ok":true}',
    "204 with a chunked body": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "the length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + LENGTH,
    "the length as a list": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + LENGTH,
    "no number as the length": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + LENGTH,
    "a chunk without a size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "a header in two lines": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n" + LENGTH,
    "a header without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n" + LENGTH,
    "a name with a blank": b"HTTP/1.1 200 OK\r\nX Y : a\r\n" + LENGTH,
    "a NUL": b"HTTP/1.1 200 OK\r\nX: a\0b\r\n" + LENGTH,
    "bytes that are no UTF-8": b"HTTP/1.1 200 \xff\r\nX: \xff\xfe\r\n" + LENGTH,
    "no reason": b"HTTP/1.1 200\r\n" + LENGTH,
    "two blanks": b"HTTP/1.1  200 OK\r\n" + LENGTH,
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "another version": b"HTTP/2 200 OK\r\n" + LENGTH,
    "blank lines first": b"\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH,
    "more than its length": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"more",
    "an odd head after an interim one": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX: a\0b\r\n" + LENGTH,
}


def clock() -> int:
    return time.time_ns() // 1000


def webhook(url: str) -> WebhookSender:
    return WebhookSender(Target(url=url, timeout=60, max_in_flight=4), signer=Unsigned(), clock=clock)


def writes(raw: bytes, *, cut: bool) -> Answer:
    """Answer with these bytes, in one piece or with a pause after the first blank line."""

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        end = raw.find(b"\r\n\r\n") + 4 if cut else 0
        writer.write(raw[:end])
        await writer.drain()
        if cut:
            await asyncio.sleep(0.05)  # another segment
        writer.write(raw[end:])

    return answer


async def attempt(raw: bytes) -> Attempt:
    async with receiving(writes(raw, cut=False)) as receiver:
        sender = webhook(receiver.url)
        result = await sender.send(delivery())
        await sender.close()
    return result


@pytest.mark.parametrize("cut", [False, True], ids=["one segment", "two segments"])
@pytest.mark.parametrize("name", ODD)
async def test_an_odd_2xx_is_a_delivery(name: str, cut: bool) -> None:
    """Each event is sent once, also over a connection that is used again."""
    async with receiving(writes(ODD[name], cut=cut)) as receiver:
        sender = webhook(receiver.url)
        outcomes = [(await sender.send(delivery(number=number))).outcome for number in range(EVENTS)]
        await sender.close()
    assert outcomes == [Delivered()] * EVENTS
    assert len(receiver.requests) == EVENTS


@pytest.mark.parametrize("size", [9000, BIG])
async def test_a_large_head_costs_no_connection(size: int) -> None:
    """What is within the limits is an ordinary reply."""
    raw = b"HTTP/1.1 200 OK\r\nX-Policy: " + b"a" * size + b"\r\n" + LENGTH
    async with receiving(writes(raw, cut=False)) as receiver:
        sender = webhook(receiver.url)
        for number in range(EVENTS):
            await sender.send(delivery(number=number))
        await sender.close()
    assert receiver.connections == 1


async def test_an_odd_refusal_is_judged_by_its_status() -> None:
    """With what of its headers can be read."""
    busy = (await attempt(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: x\r\n\r\nlater")).outcome
    assert isinstance(busy, Failed)
    assert (busy.reason, busy.retry_after) == ("http_503", 7.0)
    assert isinstance((await attempt(b"HTTP/1.1 410 Gone\r\nno colon\r\nContent-Length: 0\r\n\r\n")).outcome, Gone)
    moved = (await attempt(b"HTTP/1.1 302 Found\r\nLocation: http://else.example/\r\nX: \0\r\n" + LENGTH)).outcome
    assert isinstance(moved, Failed)
    assert moved.reason == "redirect"
    assert "http://else.example/" in moved.detail


async def test_a_chat_service_is_judged_by_its_word_in_an_odd_reply() -> None:
    """The body is read as far as it came with the head."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nContent-Length: 15\r\n\r\ninvalid_payload"
    async with receiving(writes(raw, cut=False)) as receiver:
        sender = ChatSender(Target(url=receiver.url, timeout=60), clock=clock, retry_on_timeout=True)
        outcome = (await sender.send(delivery())).outcome
        await sender.close()
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "invalid_payload"


@pytest.mark.parametrize(
    "raw",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 099 No\r\n\r\n",
    ],
)
async def test_what_has_no_status_is_no_reply(raw: bytes) -> None:
    """It counts as a failure, and never as a delivery."""
    outcome = (await attempt(raw)).outcome
    assert isinstance(outcome, Failed)
