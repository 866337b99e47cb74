"""Opening a stream: what each answer means, where redirects lead, what the request says, and that nothing is left."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from raw_upstream import (
    UNTIL_CLOSED_HEAD,
    Peer,
    answer,
    descriptors,
    following,
    opening_fails,
    read_all,
    read_next,
    reply,
    serve,
    settled,
    snapshot,
    stay,
)
from waits import PATIENCE, until

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.sources.sse import SseStream

STREAM = "Content-Type: text/event-stream"
LINE = b"data: " + snapshot("processing") + b"\n"


STATUSES: dict[str, type[SourceError]] = {
    "204 No Content": NoContent,
    "300 Multiple Choices": Unreadable,
    "304 Not Modified": Unreadable,
    "302 Found": Unreadable,  # without a Location
    "400 Bad Request": Refused,
    "401 Unauthorized": Refused,
    "402 Payment Required": Refused,
    "403 Forbidden": Refused,
    "404 Not Found": TaskNotFound,
    "405 Method Not Allowed": Refused,
    "407 Proxy Authentication Required": Refused,
    "408 Request Timeout": Unavailable,
    "410 Gone": TaskNotFound,
    "422 Unprocessable Content": Refused,
    "425 Too Early": Unavailable,
    "429 Too Many Requests": Unavailable,
    "500 Internal Server Error": Unavailable,
    "502 Bad Gateway": Unavailable,
    "503 Service Unavailable": Unavailable,
    "504 Gateway Timeout": Unavailable,
    "529 Overloaded": Unavailable,
    "599 Whatever": Unavailable,
}


@pytest.mark.parametrize("status", STATUSES)
async def test_status(status: str) -> None:
    """Each status has its kind of error, which carries it; a stream's content type changes nothing about that."""
    error = await opening_fails(answer(status, STREAM))
    assert type(error) is STATUSES[status]
    assert error.status == int(status[:3])


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "206 Partial Content", "299 Well"])
async def test_any_other_success_is_a_stream(status: str) -> None:
    """2xx is success."""
    async with (
        serve(reply(answer(status, STREAM, body=LINE))) as upstream,
        following(upstream.url) as here,
    ):
        assert await read_all(await here.source.open("1")) == (["processing"], None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("", None),
    ],
)
async def test_retry_after(value: str, seconds: float | None) -> None:
    """Every form of Retry-After is told in seconds; garbage is ignored."""
    error = await opening_fails(answer("503 Service Unavailable", f"Retry-After: {value}"))
    assert isinstance(error, Unavailable)
    assert error.retry_after == seconds


async def test_a_date_of_retry_after_is_read_by_the_clock_of_the_upstream() -> None:
    """It may be wrong by hours, in either direction."""
    for ahead in (-7200, 7200):
        now = datetime.now(UTC) + timedelta(seconds=ahead)
        date, after = (format_datetime(each, usegmt=True) for each in (now, now + timedelta(seconds=30)))
        error = await opening_fails(answer("503 Service Unavailable", f"Date: {date}", f"Retry-After: {after}"))
        assert isinstance(error, Unavailable)
        assert error.retry_after == 30.0


async def test_no_retry_after() -> None:
    """Without the header there is no hint."""
    error = await opening_fails(answer("429 Too Many Requests"))
    assert isinstance(error, Unavailable)
    assert error.retry_after is None


@pytest.mark.parametrize(
    "content_type", ["text/event-stream", "text/event-stream;charset=utf-8", "TEXT/Event-Stream ; foo=bar"]
)
async def test_content_type_of_a_stream(content_type: str) -> None:
    """Parameters and case do not matter."""
    async with (
        serve(reply(answer("200 OK", f"Content-Type: {content_type}", body=LINE))) as upstream,
        following(upstream.url) as here,
    ):
        assert await read_all(await here.source.open("1")) == (["processing"], None)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "x", "image/png", "application/grpc"])
async def test_other_content(content_type: str) -> None:
    """Content that is neither stream nor JSON nor text is unreadable, and the error names its type."""
    error = await opening_fails(answer("200 OK", f"Content-Type: {content_type}", body=b"<html>"))
    assert type(error) is Unreadable
    assert content_type in str(error)


@pytest.mark.parametrize(
    "content_type", ["text/html; charset=utf-8", "text/plain", "application/xhtml+xml", "application/xml", "text/xml"]
)
async def test_a_page_says_nothing_of_the_task(content_type: str) -> None:
    """A gateway's maintenance page with status 200 is waited out like 503; the error names its type."""
    error = await opening_fails(answer("200 OK", f"Content-Type: {content_type}", body=b"back soon"))
    assert type(error) is Unavailable
    assert content_type in str(error)


async def test_no_content_type() -> None:
    """A reply that does not say what it is, is no better than a page."""
    assert type(await opening_fails(answer("200 OK", body=LINE))) is Unavailable


@pytest.mark.parametrize("head", [(), ("Content-Type: text/plain",), ("Content-Type: text/html; charset=utf-8",)])
async def test_json_by_another_name(head: tuple[str, ...]) -> None:
    """Its first byte tells a snapshot from a page, as it does for polls."""
    body = b"\xef\xbb\xbf \n" + snapshot("processing")
    async with serve(reply(answer("200 OK", *head, body=body))) as upstream, following(upstream.url) as here:
        assert await read_all(await here.source.open("1")) == (["processing"], None)


PAGES = [b"<!DOCTYPE html>", b"\n <html>", b"<?xml ?>", b"\xef\xbb\xbf<html>"]


@pytest.mark.parametrize("body", PAGES)
async def test_a_page_under_the_name_of_json(body: bytes) -> None:
    """Some gateways give their pages the content type that was asked for."""
    assert type(await opening_fails(answer("200 OK", "Content-Type: application/json", body=body))) is Unavailable


@pytest.mark.parametrize("body", PAGES)
async def test_a_page_under_the_name_of_a_stream(body: bytes) -> None:
    """No line of a stream begins so."""
    async with (
        serve(reply(answer("200 OK", "Content-Type: text/event-stream", body=body))) as upstream,
        following(upstream.url) as here,
    ):
        states, error = await read_all(await here.source.open("1"))
    assert states == []
    assert type(error) is Unavailable
    assert "a page" in str(error)


@pytest.mark.parametrize("body", [b"", b" \r\n"])
async def test_nothing_under_the_name_of_json(body: bytes) -> None:
    """It is what an empty answer to a poll is."""
    error = await opening_fails(answer("200 OK", "Content-Type: application/json", body=body))
    assert type(error) is Unreadable
    assert "empty" in str(error)


@pytest.mark.parametrize("parts", [[b'{"state": "success"}'], [b"\n", b' \xef\xbb\xbf{"state":', b'"success"}']])
async def test_one_snapshot_under_the_name_of_a_stream(parts: list[bytes]) -> None:
    """Some servers name every reply as it was asked for; it is read once it is complete."""
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, *parts)) as upstream,
        following(upstream.url) as here,
    ):
        stream = await here.source.open("1")
        assert await read_all(stream) == (["success"], None)
        assert stream.heard


@pytest.mark.parametrize(("body", "kind"), [(b'{"error": 1}', Unreadable), (b"[1, 2", Unreadable)])
async def test_what_is_no_snapshot_under_the_name_of_a_stream(body: bytes, kind: type[SourceError]) -> None:
    """Nothing else will come, so that it is an error."""
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url) as here:
        states, error = await read_all(await here.source.open("1"))
    assert (states, type(error)) == ([], kind)


async def test_a_snapshot_under_the_name_of_a_stream_has_its_bound() -> None:
    """It is that of every snapshot."""
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, b'{"x": "' + b"x" * 20_000)) as upstream,
        following(upstream.url, max_event=4096) as here,
    ):
        states, error = await read_all(await here.source.open("1"))
    assert (states, type(error)) == ([], Unreadable)
    assert "more than 4096 bytes" in str(error)


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Type: application/json, text/event-stream"],
        ["Content-Type: text/event-stream;charset=utf-8,application/json"],
        ["Content-Type: application/json", "Content-Type: text/event-stream"],
        ["Content-Type: text/plain, text/event-stream"],
        ["Content-Type: , text/event-stream"],
    ],
)
async def test_several_content_types(headers: list[str]) -> None:
    """Where a stream is among them it is read as one."""
    async with (
        serve(reply(answer("200 OK", *headers, body=b"\n\n" + LINE + LINE))) as upstream,
        following(upstream.url) as here,
    ):
        stream = await here.source.open("1")
        assert await read_all(stream) == (["processing"], None)
        assert stream.observations == 2


async def test_several_content_types_and_one_snapshot() -> None:
    """Where JSON is among them too, the first byte that is not white space decides."""
    body = b' \n{"state": "processing"}'
    async with (
        serve(reply(answer("200 OK", "Content-Type: application/json, text/event-stream", body=body))) as upstream,
        following(upstream.url) as here,
    ):
        assert await read_all(await here.source.open("1")) == (["processing"], None)


async def test_several_content_types_and_a_page() -> None:
    """It is neither."""
    head = "Content-Type: application/json, text/event-stream"
    error = await opening_fails(answer("200 OK", head, body=b"\n<html>"))
    assert type(error) is Unavailable
    assert "a page" in str(error)


# -- faults of the network


async def test_nobody_listens() -> None:
    """A refused connection is unavailable."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with following(f"http://127.0.0.1:{unused.getsockname()[1]}") as here:
            with pytest.raises(Unavailable, match="cannot connect: connection refused"):
                await here.source.open("1")


async def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that cannot be resolved is unavailable. (The resolver is replaced: no test asks the network.)"""

    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with following("http://upstream.invalid") as here:
        with pytest.raises(Unavailable, match="cannot be resolved"):
            await here.source.open("1")


FAULTS: dict[str, tuple[list[bytes], str]] = {
    "closed without an answer": ([], "closed the connection"),
    "half a head": ([b"HTTP/1.1 200 OK\r\nContent-"], "closed the connection"),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.9\r\n"], "not HTTP"),
    "a head without end": ([b"HTTP/1.1 200 OK\r\nX-Endless: " + b"x" * 99999], "not HTTP"),
    "an encoding nobody knows": ([answer("200 OK", "Content-Encoding: br", STREAM, body=b"x")], ""),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
async def test_broken_answers(case: str) -> None:
    """What is no whole HTTP answer is unavailable, asked for once only."""
    parts, message = FAULTS[case]
    error = await opening_fails(*parts)
    assert type(error) is Unavailable
    assert message in str(error)


async def test_reset_in_place_of_an_answer() -> None:
    """A reset is unavailable."""
    async with serve(reply(then=Peer.reset)) as upstream, following(upstream.url) as here:
        with pytest.raises(Unavailable):
            await here.source.open("1")
        assert len(upstream.peers) == 1


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"])
async def test_an_answer_that_takes_too_long(sent: bytes) -> None:
    """The time to connect runs to the end of the head, and then the connection is gone."""
    before = descriptors()
    async with serve(stay(sent)) as upstream, following(upstream.url, connect_timeout=0.1) as here:
        with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
            await here.source.open("1")
        await until(lambda: bool(upstream.peers), "the connection is accepted")
        async with asyncio.timeout(PATIENCE):
            await upstream.peers[0].gone()
    await settled(before)


async def test_a_slow_stream_is_not_a_slow_answer() -> None:
    """The time to connect ends with the head: a stream may then be silent for longer."""
    proceed = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD)
        await proceed.wait()
        await peer.send(LINE)
        await peer.gone()

    async with serve(behave) as upstream, following(upstream.url, connect_timeout=0.1) as here:

        async def opened() -> SseStream:
            while True:
                with suppress(Unavailable):  # on a machine that stands still for so long
                    return await here.source.open("1")

        async with asyncio.timeout(PATIENCE):
            stream = await opened()
        await asyncio.sleep(0.2)
        proceed.set()
        assert (await read_next(stream)).state == "processing"
        stream.close()


async def test_cancelled_while_opening() -> None:
    """Cancelling `open` closes the connection, and is told to nobody."""
    asked = asyncio.Event()

    async def behave(peer: Peer) -> None:
        asked.set()
        await peer.gone()

    before = descriptors()
    async with serve(behave) as upstream, following(upstream.url) as here:
        opening = asyncio.create_task(here.source.open("1"))
        await asked.wait()
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()
        async with asyncio.timeout(PATIENCE):
            await upstream.peers[0].gone()
    await settled(before)


async def test_opening_a_closed_source() -> None:
    """A source that was closed opens nothing more."""
    async with following("http://127.0.0.1:1") as here:
        await here.source.close()
        with pytest.raises(Unavailable):
            await here.source.open("1")
