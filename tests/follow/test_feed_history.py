"""What an upstream tells again, on each connection, is told to nobody twice; what was missed is told."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from parts import Rig, quick, rig, states, webhook
from raw_upstream import UNTIL_CLOSED_HEAD, Behaviour, Peer, Upstream, answer, following, serve, snapshot
from waits import until

from notifier.tools.listener import Listener

TASK = ["queueing", "processing", "scheduling", "success"]
CHANGES = ["queueing", "processing", "scheduling", "success"]


def event(number: int, state: str, *, ids: bool) -> bytes:
    return (b"id: %d\n" % number if ids else b"") + b"data: " + snapshot(state) + b"\n\n"


def telling(shown: Callable[[int], int], *, ids: bool, honours: bool, apart: bool = False) -> Behaviour:
    """Make an upstream that tells so many states on its nth connection, from the first one or behind the ID."""
    connections = 0

    async def behave(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        first = int(peer.headers.get("last-event-id", 0)) if honours else 0
        parts = [event(n + 1, state, ids=ids) for n, state in enumerate(TASK[: shown(connections)])][first:]
        await peer.send(UNTIL_CLOSED_HEAD, *(parts if apart else [b"".join(parts)] if parts else []))
        peer.close()

    return behave


async def follow(made: Rig, listener: Listener, source: object, **policy: float) -> None:
    made.set_endpoints({"app": webhook(listener.url)})
    made.watcher.set_feeds({"vidu": made.feed(source, quick(**policy))})  # type: ignore[arg-type]  # a source of any kind


@asynccontextmanager
async def followed(tmp_path: Path, behave: Behaviour) -> AsyncIterator[tuple[Listener, Rig, Upstream]]:
    """Follow one task of an upstream until the block ends."""
    async with (
        Listener() as listener,
        rig(tmp_path) as made,
        serve(behave) as server,
        following(server.url, framing="event") as here,
    ):
        await follow(made, listener, here.source)
        await made.want("1")
        yield listener, made, server
        made.watcher.set_feeds({})


@pytest.mark.parametrize("apart", [True, False], ids=["in pieces", "in one piece"])
@pytest.mark.parametrize(
    ("ids", "honours"), [(True, True), (True, False), (False, False)], ids=["resumed", "with ids", "without ids"]
)
async def test_a_history_that_comes_again_is_told_once(tmp_path: Path, ids: bool, honours: bool, apart: bool) -> None:
    """Three streams end after three states, then comes the fourth: four callbacks, not thirteen."""
    upstream = telling(lambda n: 3 if n <= 3 else 4, ids=ids, honours=honours, apart=apart)
    async with followed(tmp_path, upstream) as (listener, made, server):
        await listener.wait(4)
        await until(lambda: made.ended() == {"1"})
    assert states(listener.callbacks, "1") == CHANGES
    assert [callback.sequence for callback in listener.callbacks] == [1, 2, 3, 4]
    sent = [peer.headers.get("last-event-id") for peer in server.peers]
    assert sent == ([None, "3", "3", "3"] if ids else [None] * 4)


async def test_changes_that_were_missed_are_told_in_order(tmp_path: Path) -> None:
    """An upstream that goes on behind the ID has them all."""
    upstream = telling(lambda n: 1 if n == 1 else 4, ids=True, honours=True)
    async with followed(tmp_path, upstream) as (listener, _, _):
        await listener.wait(4)
    assert states(listener.callbacks, "1") == CHANGES


async def test_changes_of_an_upstream_that_repeats_nothing_are_told_in_order(tmp_path: Path) -> None:
    """It goes on where it stands, without IDs, and several states may come in one piece."""
    shown = [TASK[:1], TASK[1:]]

    async def behave(peer: Peer) -> None:
        parts = [event(0, state, ids=False) for state in shown.pop(0)]
        await peer.send(UNTIL_CLOSED_HEAD, b"".join(parts))
        peer.close()

    async with followed(tmp_path, behave) as (listener, _, _):
        await listener.wait(4)
    assert states(listener.callbacks, "1") == CHANGES


@pytest.mark.parametrize("apart", [True, False], ids=["in pieces", "in one piece"])
async def test_a_history_that_is_cut_short_is_told_to_nobody(tmp_path: Path, apart: bool) -> None:
    """Two of the states before the known one come again, and then the stream breaks."""
    upstream = telling(lambda n: [3, 2, 2, 4][n - 1], ids=False, honours=False, apart=apart)
    async with followed(tmp_path, upstream) as (listener, _, server):
        await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 1)
    assert len(server.peers) == 4
    assert states(listener.callbacks, "1") == CHANGES


@pytest.mark.parametrize("empty", [b"id\n", b"id:\n", b"id: \n"])
async def test_an_empty_id_takes_back_those_before(tmp_path: Path, empty: bytes) -> None:
    """Also those of earlier streams (WHATWG HTML section 9.2.6): the next one is asked for without."""
    bodies = [
        event(7, "queueing", ids=True),
        event(0, "processing", ids=False),
        empty + event(0, "scheduling", ids=False),
        event(0, "success", ids=False),
    ]

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD, bodies.pop(0))
        peer.close()

    async with followed(tmp_path, behave) as (listener, _, server):
        await listener.wait(4)
    assert [peer.headers.get("last-event-id") for peer in server.peers] == [None, "7", "7", None]


async def test_the_pause_that_a_stream_asked_for_holds_for_those_after_it(tmp_path: Path) -> None:
    """`retry:` sets the reconnection time (WHATWG HTML section 9.2.6), until another one does."""
    pause = 0.3
    answers = [
        UNTIL_CLOSED_HEAD + b"retry: 300\n" + event(0, "queueing", ids=False),
        UNTIL_CLOSED_HEAD + b": nothing\n\n",
        answer("503 Service Unavailable"),
        UNTIL_CLOSED_HEAD + event(0, "success", ids=False),
    ]
    at: list[float] = []

    async def behave(peer: Peer) -> None:
        at.append(time.monotonic())
        await peer.send(answers.pop(0))
        peer.close()

    async with (
        Listener() as listener,
        rig(tmp_path) as made,
        serve(behave) as server,
        following(server.url, framing="event") as here,
    ):
        await follow(made, listener, here.source)
        await made.want("1")
        await listener.wait(2)
        made.watcher.set_feeds({})
    assert all(later - earlier >= 0.95 * pause for earlier, later in pairwise(at))


async def test_the_id_outlives_a_restart(tmp_path: Path) -> None:
    """It is kept with the watch; what was told before the restart is not told again."""
    shown = 2
    upstream = telling(lambda _: shown, ids=True, honours=True)
    async with Listener() as listener, serve(upstream) as server:
        async with rig(tmp_path) as made, following(server.url, framing="event") as here:
            await follow(made, listener, here.source, backoff_initial=60.0, backoff_max=60.0)
            await made.want("1")
            await until(lambda: made.statuses("app") == {"delivered": 2})
            made.watcher.set_feeds({})
        assert len(server.peers) == 1
        shown = 4
        async with rig(tmp_path) as made, following(server.url, framing="event") as here:
            await follow(made, listener, here.source)
            await listener.wait(4)
            made.watcher.set_feeds({})
        assert server.peers[1].headers["last-event-id"] == "2"
        assert states(listener.callbacks, "1") == CHANGES


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "412 Precondition Failed", "204 No Content"])
async def test_an_upstream_that_refuses_the_id_is_asked_without_it(tmp_path: Path, status: str) -> None:
    """It has forgotten the event, or never understood the header."""
    tell = telling(lambda n: 2 if n == 1 else 4, ids=True, honours=False)

    async def behave(peer: Peer) -> None:
        if "last-event-id" in peer.headers:
            await peer.send(answer(status))
            peer.close()
        else:
            await tell(peer)

    async with followed(tmp_path, behave) as (listener, _, server):
        await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 1)
    assert [peer.headers.get("last-event-id") for peer in server.peers] == [None, "2", None]
    assert states(listener.callbacks, "1")[-1] == "success"


async def test_an_outage_keeps_the_id(tmp_path: Path) -> None:
    """503 says nothing of the ID."""
    tell = telling(lambda n: 2 if n == 1 else 4, ids=True, honours=True)

    async def behave(peer: Peer) -> None:
        if len(server.peers) in (2, 3):
            await peer.send(answer("503 Service Unavailable"))
            peer.close()
        else:
            await tell(peer)

    async with followed(tmp_path, behave) as (listener, _, server):
        await listener.wait(4)
    assert [peer.headers.get("last-event-id") for peer in server.peers] == [None, "2", "2", "2"]
    assert states(listener.callbacks, "1") == CHANGES
