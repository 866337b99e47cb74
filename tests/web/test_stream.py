"""The live stream: every committed event once, to every client that keeps up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from site_running import Site, running
from stream_reader import Told, add, listening
from structlog.testing import capture_logs
from waits import PATIENCE, until

from notifier.tools.simulator import Simulator
from notifier.tools.wire import reset
from notifier.web import hub as hubs
from notifier.web import stream as streams


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Simulator() as sim, running(tmp_path, source=sim.base_url) as made:
        yield made


async def test_an_event_is_told_as_it_is_committed(site: Site) -> None:
    """With the same words as the list of events has for it."""
    async with listening(site) as reader:
        await add(site, "1")
        found = await reader.events(3)
        assert [told.type for told in found] == ["task.state_changed", "task.state_changed", "task.succeeded"]
        listed = (await site.get("/v1/events?id=1")).json
        assert [told.data for told in found] == listed["items"][::-1]
        assert [told.data["state"] for told in found] == ["queueing", "processing", "success"]
        assert all("payload" not in told.data for told in found)


async def test_how_things_stand_is_told_at_once_and_again(site: Site) -> None:
    """Without an id: it is nothing to go on from."""
    async with listening(site) as reader:
        first = await reader.status()
        assert first.id is None
        assert [node["this"] for node in first.data.pop("nodes")] == [True]
        assert first.data == {
            "watches": {},
            "endpoints": [],
            "streams_open": 0,
            "watches_waiting": 0,
            "lost_lately": 0,
            "events_per_second": 0.0,
            "deliveries_per_second": 0.0,
        }
        await add(site, "1")
        later = [await reader.status()]
        while not later[-1].data["watches"].get("vidu"):
            later.append(await reader.status())
        assert any(status.data["events_per_second"] > 0 for status in later)


async def test_nobody_misses_or_repeats_an_event_across_connections(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that returns with its last id gets the rest, from the store or live, in pages of any size."""
    monkeypatch.setattr(hubs, "PAGE", 7)
    monkeypatch.setattr(hubs, "KEPT", 20)
    seen: list[Told] = []
    async with listening(site) as reader:
        await add(site, *(str(number) for number in range(10)))
        seen += await reader.events(5)
    adding = asyncio.create_task(add(site, *(str(number) for number in range(10, 60))))
    while len(seen) < 180:
        async with listening(site, last=seen[-1].id) as reader:
            seen += await reader.events(min(17, 180 - len(seen)))
    await adding
    cursors = [int(told.data["cursor"]) for told in seen]
    assert cursors == sorted(set(cursors))
    listed = (await site.get("/v1/events?after=0&limit=1000")).json["items"]
    assert [told.data for told in seen] == listed


async def test_after_says_the_same_as_last_event_id(site: Site) -> None:
    """For clients that cannot set headers; beyond the newest there is nothing to leave out."""
    async with listening(site) as reader:
        await add(site, "1")
        first, *rest = await reader.events(3)
    async with listening(site, f"?after={first.id}") as reader:
        assert await reader.events(2) == rest
    async with listening(site, "?after=9223372036854775807") as reader:
        await add(site, "2")
        assert {told.data["task"] for told in await reader.events(3)} == {"2"}


async def test_only_what_was_asked_for_is_told(site: Site) -> None:
    """By type and by source, from the store and as it comes."""
    async with listening(site, "?type=task.succeeded&source=vidu") as reader, listening(site, "?source=other") as other:
        await add(site, "1", "2")
        found = await reader.events(2)
        assert {told.type for told in found} == {"task.succeeded"}
        for _ in range(2):
            told = await other.next()
            assert told is not None
            assert told.type == "status"
    async with listening(site, "?type=task.succeeded&after=0") as reader:
        assert await reader.events(2) == found


async def test_a_comment_keeps_a_quiet_stream_alive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as promised, whether anything happens or not."""
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    async with listening(site) as reader:
        await reader.status()
        await reader.status()
        assert reader.comments >= 5


async def test_whoever_does_not_read_is_cut(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other clients get every event, and the slow one can connect again."""
    monkeypatch.setattr(hubs, "KEPT", 50)
    monkeypatch.setattr(streams, "SEND_BUFFER", 4096)
    monkeypatch.setattr(streams, "PATIENCE", 0.5)
    host, _, port = (site.app.address or "").rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.setblocking(False)
        await loop.sock_connect(idle, (host, int(port)))
        await loop.sock_sendall(idle, f"GET /v1/stream HTTP/1.1\r\nHost: {site.app.address}\r\n\r\n".encode())
        assert await loop.sock_recv(idle, 12) == b"HTTP/1.1 200"
        async with listening(site) as reader:
            for batch in range(10):
                await add(site, *(f"{batch} {number}" for number in range(50)))
                await reader.events(150)
        assert not (await _rest(idle)).endswith(b"0\r\n\r\n")  # it did not end: it was cut


async def _rest(idle: socket.socket) -> bytes:
    found = b""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                got = await asyncio.get_running_loop().sock_recv(idle, 1 << 20)
            except ConnectionResetError:
                return found
            if not got:
                return found
            found += got


async def test_a_stop_ends_streams_at_once(tmp_path: Path) -> None:
    """The end of the stream, and no wait for it."""
    async with running(tmp_path) as site, listening(site) as reader:
        await reader.status()
        site.app.stop()
        async with asyncio.timeout(PATIENCE):
            while await reader.next() is not None:
                pass


async def test_as_many_listen_as_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is asked to come later."""
    monkeypatch.setattr(hubs, "MAX_FOLLOWERS", 1)
    async with listening(site) as reader:
        await reader.status()
        refused = await site.get("/v1/stream")
        assert refused.problem(503)
        assert refused.headers["retry-after"] == "10"
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with listening(site):
                    break
            except AssertionError:  # the one before is noticed to be gone when it is next written to
                await asyncio.sleep(0.05)


async def test_head_ends(site: Site) -> None:
    """A HEAD asks about the stream, not for it."""
    reply = await site.ask("HEAD", "/v1/stream")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("query", ["?type=task", "?after=x", "?after=-1"])
async def test_a_wrong_query_is_a_problem(site: Site, query: str) -> None:
    """And no stream."""
    assert (await site.get(f"/v1/stream{query}")).problem(400)
    assert (await site.get("/v1/stream", last_event_id="x")).problem(400)


async def test_nothing_is_read_while_nobody_listens(site: Site) -> None:
    """Or kept; and the first client gets the events from then on."""
    assert site.app.parts is not None
    hub = site.app.parts.hub
    await add(site, "1")
    async with listening(site) as reader:
        await reader.status()

    async def nobody() -> bool:
        return not hub._followers

    async def committed() -> bool:
        return bool((await site.get("/v1/events?id=2")).json["items"])

    await until(nobody)
    newest = hub._newest
    await add(site, "2")
    await until(committed)
    assert (hub._newest, list(hub._kept)) == (newest, [])


async def test_a_client_that_leaves_before_the_answer_is_no_error_of_ours(site: Site) -> None:
    """While its position is looked up, or its turn is waited for."""
    host, _, port = (site.app.address or "").rpartition(":")
    with capture_logs() as logs:
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /v1/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert isinstance(writer.transport, asyncio.Transport)
            reset(writer.transport)
            await asyncio.sleep(0)
        async with listening(site) as reader:
            await reader.status()
    assert not [each for each in logs if each["log_level"] == "error"]
