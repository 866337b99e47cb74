"""Reading a stream: the documented upstream, repeats, comments, and what cannot be read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from raw_upstream import (
    CHUNKED_HEAD,
    ONE,
    TOKEN,
    UNTIL_CLOSED_HEAD,
    Peer,
    arrives,
    chunk,
    following,
    read_all,
    read_next,
    reply,
    serve,
    snapshot,
    stay,
)
from structlog.testing import capture_logs
from waits import until

from notifier.core.model import Phase

TRANSCRIPT = (Path(__file__).parent.parent / "data" / "vidu-state-transcript.sse").read_bytes()
WITH_BLANK_LINES = TRANSCRIPT.rstrip(b"\n").replace(b"\n", b"\n\n") + b"\n\n"


@pytest.mark.parametrize("framing", ["line", "event"])
async def test_documented_transcript(framing: str) -> None:
    """The documented text, in the framing that fits it, is three states; repeats are counted and not returned."""
    text = TRANSCRIPT if framing == "line" else WITH_BLANK_LINES
    async with (
        serve(reply(CHUNKED_HEAD, chunk(text) + b"0\r\n\r\n")) as upstream,
        following(upstream.url, framing=framing) as here,
    ):
        stream = await here.source.open("2370487727425660")
        assert await read_all(stream) == (["queueing", "processing", "success"], None)
        assert stream.observations == 32
        assert here.reports == 32


async def test_documented_transcript_needs_no_last_line_end() -> None:
    """The documented text counts to its last line, also when that ends without a newline."""
    async with serve(reply(UNTIL_CLOSED_HEAD, TRANSCRIPT.rstrip(b"\n"))) as upstream, following(upstream.url) as here:
        assert await read_all(await here.source.open("1")) == (["queueing", "processing", "success"], None)


async def test_blank_lines_mean_nothing_to_line_framing() -> None:
    """The same preset reads the transcript with blank lines, as the wire probably has it."""
    async with serve(reply(UNTIL_CLOSED_HEAD, WITH_BLANK_LINES)) as upstream, following(upstream.url) as here:
        assert await read_all(await here.source.open("1")) == (["queueing", "processing", "success"], None)


async def test_a_state_is_told_as_its_linearrives() -> None:
    """With line framing, `processing` is returned while the stream stays open and nothing follows."""
    head, tail = TRANSCRIPT.split(b'data: {"state":"processing"', 1)
    line = b'data: {"state":"processing"' + tail[: tail.index(b"\n") + 1]
    async with serve(stay(CHUNKED_HEAD, chunk(head), chunk(line))) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        assert [(await read_next(stream)).state for _ in range(2)] == ["queueing", "processing"]
        assert not await arrives(stream)
        stream.close()


async def test_observation_of_the_documented_upstream() -> None:
    """A snapshot is normalised by the preset."""
    line = b'data: {"state":"failed","estimated_time_left":12,"err_code":"AuditSubmitIllegal"}\n'
    async with serve(reply(UNTIL_CLOSED_HEAD, line)) as upstream, following(upstream.url) as here:
        observation = await read_next(await here.source.open("1"))
    assert (observation.phase, observation.eta_seconds) == (Phase.FAILED, 12.0)
    assert observation.error is not None
    assert observation.error.code == "AuditSubmitIllegal"
    assert observation.task == {"state": "failed", "estimated_time_left": 12, "err_code": "AuditSubmitIllegal"}


async def test_repeats_are_told_by_their_bytes() -> None:
    """The same bytes again are no observation; the same meaning in other bytes is, as is a return to a former state."""
    lines = [snapshot("processing")] * 3 + [b'{"state": "processing"}', snapshot("queueing"), snapshot("processing")]
    body = b"".join(b"data: " + line + b"\n" for line in lines)
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        assert (await read_all(stream))[0] == ["processing", "processing", "queueing", "processing"]
        assert (stream.observations, here.reports) == (6, 6)


async def test_comments_are_signs_of_life() -> None:
    """A comment moves `last_activity` and returns nothing."""
    proceed = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD)
        await proceed.wait()
        await peer.send(b": still here\n\n")
        await peer.gone()

    async with serve(behave) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        opened = stream.last_activity
        reading = asyncio.create_task(read_next(stream))
        await asyncio.sleep(0.02)
        proceed.set()
        await until(lambda: stream.last_activity != opened)
        assert stream.last_activity <= asyncio.get_running_loop().time()
        assert not reading.done()
        reading.cancel()
        await asyncio.wait({reading})
        assert stream.observations == 0


async def test_retry_and_last_event_id() -> None:
    """`retry:` is told in seconds, and the last event ID can be given to the next connection."""
    body = b"retry: 2500\nid: 7-\xc3\xbc\n" + ONE + b"\n\n"
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url, framing="event") as here:
        stream = await here.source.open("1")
        assert stream.retry is None
        await read_next(stream)
        assert [stream.retry, stream.last_event_id] == [2.5, "7-ü"]
        stream.close()
        (await here.source.open("1", last_event_id=stream.last_event_id or "")).close()
        (await here.source.open("1", last_event_id="\x01")).close()
    assert [peer.headers.get("last-event-id") for peer in upstream.peers] == [None, "7-ü", None]


@pytest.mark.parametrize("behind", [b"id: 9\n\n", b"id: 9\n: alive\n\n", b"id: 8\n\nid: 9\nevent: ping\n\n"])
async def test_an_id_without_data_is_the_place_to_go_on(behind: bytes) -> None:
    """A block without data is no event, and its ID counts (WHATWG HTML section 9.2.6): a keep-alive may move it on."""
    body = b"id: 7\n" + ONE + b"\n\n" + behind
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url, framing="event") as here:
        stream = await here.source.open("1")
        assert await read_all(stream) == (["processing"], None)
        assert stream.last_event_id == "9"


async def test_an_id_behind_a_snapshot_that_cannot_be_read_is_no_place() -> None:
    """To go on behind it would leave that snapshot out."""
    body = b"id: 7\n" + ONE + b"\n\nid: 8\ndata: {\n\nid: 9\n\n"
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url, framing="event") as here:
        stream = await here.source.open("1")
        assert await read_all(stream) == (["processing"], None)
        assert stream.last_event_id == "7"


async def test_what_cannot_be_read_is_skipped() -> None:
    """Unreadable snapshots are counted each, end nothing, and are no observations."""
    bad = [b"not JSON", b'{"state":null}', b"[]", b'{"state":NaN}', b"not JSON at all " + TOKEN.encode() + b"x" * 9999]
    body = b"".join(b"data: " + line + b"\n" for line in [snapshot("processing"), *bad, b"", snapshot("success")])
    with capture_logs() as logs:
        async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url) as here:
            stream = await here.source.open("1")
            assert (await read_next(stream)).state == "processing"
            assert stream.unread is None
            assert (await read_next(stream)).state == "success"
            assert stream.unread is None
            assert await read_all(stream) == ([], None)
            assert (here.unreadable, stream.observations) == (5, 2)
    assert logs == []


async def test_the_excerpt_is_bounded_and_holds_no_token() -> None:
    """An upstream that repeats the token to us does not get it into the log or an error."""
    body = b'data: {"error":"invalid token ' + TOKEN.encode() + b"x" * 9999 + b'"}\n'
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        await read_all(stream)
    assert stream.unread is not None
    assert TOKEN not in str(stream.unread) + stream.unread.excerpt
    assert "<secret>" in stream.unread.excerpt
    assert len(stream.unread.excerpt) <= 200


async def test_empty_events_are_signs_of_life() -> None:
    """An event with empty data is neither unreadable nor an observation, and hides no repeat."""
    body = ONE + b"\n\ndata\n\nevent: ping\ndata:\n\n" + ONE + b"\n\n"
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url, framing="event") as here:
        stream = await here.source.open("1")
        assert await read_all(stream) == (["processing"], None)
        assert (stream.observations, here.unreadable) == (2, 0)


async def test_unreadable_repeats_are_no_sign_of_health() -> None:
    """Repeats of what could not be read are not counted as observations, on which the patience of others rests."""
    async with serve(reply(UNTIL_CLOSED_HEAD, b"data: x\n" * 5)) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        assert await read_all(stream) == ([], None)
        assert (stream.observations, here.reports, here.unreadable) == (0, 0, 1)


async def test_unknown_states_run_and_are_told_once() -> None:
    """A state that the preset does not know counts as running, and is logged once for the source."""
    body = b"".join(b"data: " + snapshot(state) + b"\n" for state in ("paused", "thinking", "paused"))
    with capture_logs() as logs:
        async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream, following(upstream.url) as here:
            for _ in range(2):
                stream = await here.source.open("1")
                assert (await read_next(stream)).phase is Phase.RUNNING
                assert await read_all(stream) == (["thinking", "paused"], None)
    assert [(entry["event"], entry["state"]) for entry in logs] == [
        ("source.unknown_state", "paused"),
        ("source.unknown_state", "thinking"),
    ]
