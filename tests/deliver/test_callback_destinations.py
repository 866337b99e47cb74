"""Destinations of callbacks: few in memory however many there are, and none slowed by another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parts import SECRET, Rig, clock, rig
from structlog.testing import capture_logs
from waits import until

from notifier.core.callback import Callback, CallbackPolicy
from notifier.core.model import Delivery
from notifier.core.retry import Attempt, Delivered, Failed
from notifier.deliver import callbacks as registry
from notifier.deliver.sender import StillOurs
from notifier.senders.callback import CallbackCourier, CallbackSender
from notifier.senders.connections import always
from notifier.senders.refusing import Refusing

DEAD = "https://dead.example/"
ODD = "https://odd.example/t0ken"


class Post(CallbackCourier):
    """A courier in memory: notes what is sent where, and answers as it is told to."""

    def __init__(self) -> None:
        super().__init__(policy=CallbackPolicy(), secret=SECRET, clock=clock)
        self.sent: list[tuple[str, int]] = []  # URL, lane
        self.open = asyncio.Event()  # sends to others than the dead end only while it is set
        self.open.set()
        self.dead = asyncio.Event()  # those to the dead fail once it is set; before, they hang
        self.well = False  # the dead are, and fail no more
        self.refuses = ODD  # no sender can be made to it
        self.senders = 0  # open
        self.most = 0
        self.closed = False

    def sender(self, callback: Callback) -> _Sender:
        if callback.url == self.refuses:
            raise ValueError(callback.url)
        self.senders += 1
        self.most = max(self.most, self.senders)
        return _Sender(self, callback.url)

    async def close(self) -> None:
        self.closed = True


class _Sender(CallbackSender):
    def __init__(self, post: Post, url: str) -> None:
        super().__init__(Refusing(Failed(reason="unused"), clock))
        self._post = post
        self._url = url

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        assert delivery.lane is not None
        self._post.sent.append((self._url, delivery.lane))
        if self._url.startswith(DEAD):
            await self._post.dead.wait()
            outcome = Delivered() if self._post.well else Failed(reason="timeout")
            return Attempt(at=clock(), outcome=outcome)
        await self._post.open.wait()
        return Attempt(at=clock(), outcome=Delivered())

    async def close(self) -> None:
        self._post.senders -= 1


def url(number: int) -> str:
    return f"https://example.com/{number}"


async def want(made: Rig, *urls: str, states: tuple[str, ...] = ("queueing",)) -> None:
    """Have a watch for each URL, and tell these states of it."""
    known = made.rows("SELECT count(*) FROM watches")[0][0]
    for number, target in enumerate(urls):
        await made.want(f"{known + number}", callback=Callback(url=target), endpoints=())
    for watch in await made.store.watches.claim(10_000):
        await made.tell(watch, *states)


def delivered(made: Rig) -> int:
    return int(made.rows("SELECT count(*) FROM deliveries WHERE status = 'delivered'")[0][0])


async def arrived(made: Rig, count: int) -> None:
    """Return once so many deliveries have been accepted."""
    await until(lambda: delivered(made) == count)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have room for four at a time."""
    monkeypatch.setattr(registry, "MAX_LIVE", 4)
    monkeypatch.setattr(registry, "TAKEN", 2)


@pytest.mark.usefixtures("few")
async def test_there_are_never_more_queues_than_room(tmp_path: Path) -> None:
    """All are sent to all the same, each in order."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post = Post()
        made.dispatcher.callbacks.set_courier(post)
        await want(made, *map(url, range(30)), states=("queueing", "processing", "success"))
        await arrived(made, 90)
        assert post.most <= 4
        lanes: dict[int, list[int]] = {}
        for lane, sequence in made.rows("SELECT lane, sequence FROM deliveries ORDER BY settled_at, sequence"):
            lanes.setdefault(lane, []).append(sequence)
        assert all(found == [1, 2, 3] for found in lanes.values())
        assert len(made.dispatcher.endpoints) == 0


@pytest.mark.usefixtures("few")
async def test_the_dead_make_room_when_they_had_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They fill every place, with more waiting than goes out at once; the well get theirs, and what failed is kept."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post = Post()
        made.dispatcher.callbacks.set_courier(post)
        dead = [f"{DEAD}{number % 4}" for number in range(200)]
        await want(made, *dead)
        await until(lambda: len(post.sent) == 4 * registry.IN_FLIGHT)
        monkeypatch.setattr(registry, "TURN", 0.0)
        await want(made, url(1))
        post.dead.set()
        await arrived(made, 1)
        assert post.most <= 4
        [(waiting,)] = made.rows("SELECT count(*) FROM deliveries WHERE status = 'ready'")
        assert waiting == 200


async def test_who_fails_is_remembered_as_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue goes while it is held back; when that is over it gets one probe, not a burst."""
    monkeypatch.setattr(registry, "KEEP", 0.0)
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post = Post()
        made.dispatcher.callbacks.set_courier(post)
        await want(made, *[DEAD] * 100)
        await until(lambda: len(post.sent) == registry.IN_FLIGHT)
        post.dead.set()
        held = "SELECT count(*) FROM callbacks WHERE owner IS NULL AND rounds > 0 AND due >= held_until"
        await until(lambda: made.rows(held) == [(1,)])
        post.dead.clear()
        count = len(post.sent)
        await until(lambda: len(post.sent) > count)
        assert len(post.sent) == count + 1
        assert len(made.dispatcher.callbacks) == 1


async def test_a_clock_that_is_set_back_holds_nobody_for_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is told to look at once, not in weeks."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post = Post()
        made.dispatcher.callbacks.set_courier(post)
        await want(made, *[DEAD] * 30)
        await until(lambda: len(post.sent) == registry.IN_FLIGHT)
        (destination,) = made.dispatcher.callbacks._live.values()
        post.dead.set()
        await until(lambda: (destination.health(clock()).held_until or 0) > clock())
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() - 20 * 86_400 * 10**9)
        held = destination.health(clock()).held_until
        assert held is not None
        assert held <= clock()


@pytest.mark.parametrize("keep", [registry.KEEP, 0.0], ids=["in hand", "let go of"])
async def test_what_failed_in_an_outage_goes_out_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: float
) -> None:
    """As with an endpoint: what failed does not wait for its schedule once something arrives again."""
    monkeypatch.setattr(registry, "KEEP", keep)
    monkeypatch.setattr(registry, "_POLICY", replace(registry._POLICY, schedule=(0.0, 3600.0)))
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post = Post()
        made.dispatcher.callbacks.set_courier(post)
        await want(made, *[DEAD] * 10)
        await until(lambda: len(post.sent) == 10)
        post.dead.set()
        failed = "SELECT count(*) FROM deliveries WHERE status = 'ready' AND owner IS NULL AND attempt = 1"
        await until(lambda: made.rows(failed) == [(10,)])
        if not keep:
            made.dispatcher.callbacks.expect()
            await until(lambda: len(made.dispatcher.callbacks) == 0)
        post.well = True
        await want(made, DEAD)
        await until(lambda: delivered(made) == 11)
        assert len(post.sent) == 10 + 11


async def test_an_idle_queue_is_let_go_of_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KEEP", 0.0)
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post = Post()
        made.dispatcher.callbacks.set_courier(post)
        for count in (1, 2):
            await want(made, url(1))
            await arrived(made, count)
            made.dispatcher.callbacks.expect()
            await until(lambda: len(made.dispatcher.callbacks) == 0 and post.senders == 0)
        assert made.rows("SELECT due, owner, rounds FROM callbacks") == [(None, None, 0)]


async def test_what_comes_to_a_live_queue_is_not_left_to_the_store(tmp_path: Path) -> None:
    """It is this node's with its commit, as an endpoint's is."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        made.dispatcher.callbacks.set_courier(Post())
        await want(made, url(1))
        await arrived(made, 1)
        with made.dispatcher.reserve() as places:
            assert places.take(Callback(url=url(1)).name)
            assert not places.take(Callback(url=url(2)).name)


async def test_switched_off_nothing_more_goes_out_and_all_is_kept(tmp_path: Path) -> None:
    """Attempts under way end. The other deliveries wait in the store for another courier."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post, after = Post(), Post()
        post.open.clear()
        made.dispatcher.callbacks.set_courier(post)
        await want(made, *[url(1)] * 40)
        await until(lambda: len(post.sent) == registry.IN_FLIGHT)
        made.dispatcher.callbacks.set_courier(None)
        post.open.set()
        await until(lambda: post.senders == 0 and post.closed)
        assert delivered(made) == len(post.sent) == registry.IN_FLIGHT
        await want(made, url(2))
        free = "SELECT count(*) FROM deliveries WHERE status = 'ready' AND owner IS NULL"
        await until(lambda: made.rows(free) == [(41 - registry.IN_FLIGHT,)])
        made.dispatcher.callbacks.set_courier(after)
        await arrived(made, 41)
        assert len(post.sent) == registry.IN_FLIGHT


async def test_another_courier_takes_over_what_is_live(tmp_path: Path) -> None:
    """Attempts under way end with the old courier, which is closed after them."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post, after = Post(), Post()
        post.open.clear()
        made.dispatcher.callbacks.set_courier(post)
        await want(made, *[url(1)] * 20)
        await until(lambda: len(post.sent) == registry.IN_FLIGHT)
        made.dispatcher.callbacks.set_courier(after)
        assert post.senders == 1
        post.open.set()
        await arrived(made, 20)
        assert (post.senders, len(after.sent)) == (0, 20 - registry.IN_FLIGHT)


async def test_handing_over_leaves_everything_to_others(tmp_path: Path) -> None:
    """Deliveries that were not begun can be claimed at once, before this process ends."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        post = Post()
        post.open.clear()
        made.dispatcher.callbacks.set_courier(post)
        await want(made, *[url(1)] * 20)
        await until(lambda: len(post.sent) == registry.IN_FLIGHT)
        draining = asyncio.create_task(made.dispatcher.drain(20.0, hand_over=True), name="drain")
        due = "SELECT count(*) FROM callbacks WHERE due IS NOT NULL"
        await until(lambda: made.rows(due) == [(1,)])
        post.open.set()
        assert await draining == 0
        await until(lambda: made.rows("SELECT owner FROM callbacks") == [(None,)])
        assert made.rows(due) == [(1,)]


async def test_a_destination_without_a_sender_hurts_no_other(tmp_path: Path) -> None:
    """Its deliveries cost attempts, as with a sender that raises. One line is logged, without the URL."""
    async with rig(tmp_path, run=["dispatcher"]) as made:
        made.dispatcher.callbacks.set_courier(Post())
        with capture_logs() as logs:
            await want(made, url(1), ODD, ODD, url(2))
            failed = "SELECT count(*) FROM deliveries WHERE status = 'ready' AND reason = 'internal' AND attempt = 1"
            await until(lambda: delivered(made) == 2 and made.rows(failed) == [(2,)])
        [told] = [entry for entry in logs if entry["event"] == "callback.no_sender"]
        assert (told["url"], told["error"]) == ("https://odd.example", "ValueError")
        assert told["at"].startswith("test_callback_destinations.py:")
        assert "t0ken" not in str(logs)


async def test_a_reload_lives_through_a_destination_without_a_sender(tmp_path: Path) -> None:
    """One that has a queue by the rules of before: the others go on by those of now."""
    before, after = Post(), Post()
    for post in (before, after):
        post.open.clear()
    async with rig(tmp_path, run=["dispatcher"]) as made:
        made.dispatcher.callbacks.set_courier(before)
        await want(made, url(1), url(2))
        await until(lambda: len(before.sent) == 2)
        after.refuses = url(1)
        made.dispatcher.callbacks.set_courier(after)
        before.open.set()
        after.open.set()
        await until(lambda: delivered(made) == 2)
        await want(made, url(1), url(2))
        failed = "SELECT count(*) FROM deliveries WHERE reason = 'internal' AND attempt = 1"
        await until(lambda: delivered(made) == 3 and made.rows(failed) == [(1,)])


async def test_what_nothing_can_sign_for_is_dead_and_says_why(tmp_path: Path) -> None:
    """A secret that was spoiled in the database: what is for it is given up, counted and listed, and can be retried."""
    courier = CallbackCourier(policy=CallbackPolicy(), secret=SECRET, clock=clock, user_agent="test")
    async with rig(tmp_path, run=["dispatcher"]) as made:
        await want(made, *[url(1)] * 2)
        made.execute("UPDATE callbacks SET secret = 'whsec_c2hvcnQ='")
        made.dispatcher.callbacks.set_courier(courier)
        dead = "SELECT count(*) FROM deliveries WHERE status = 'dead' AND reason = 'unreadable_secret' AND attempt = 1"
        await until(lambda: made.rows(dead) == [(2,)])
        labels: dict[str, Any] = {"endpoint": "callback", "outcome": "rejected"}
        assert made.metrics.registry.get_sample_value("notifier_delivery_attempts_total", labels) == 2


async def test_labels_of_metrics_name_no_destination(tmp_path: Path) -> None:
    async with rig(tmp_path, run=["dispatcher"]) as made:
        made.dispatcher.callbacks.set_courier(Post())
        await want(made, *map(url, range(5)))
        await arrived(made, 5)
        labels: dict[str, Any] = {"endpoint": "callback", "outcome": "delivered"}
        assert made.metrics.registry.get_sample_value("notifier_delivery_attempts_total", labels) == 5
        assert b"callback:" not in made.metrics.render()
