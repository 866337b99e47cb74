"""Order, retries and the health of endpoints, on the real store and over real sockets where a socket can say it."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path

import pytest
from parts import Rig, ScriptedSender, claimed, clock, data, endpoint, locked, rig, route, webhook
from structlog.testing import capture_logs
from waits import PATIENCE, until

from notifier.config import Config, ConfigInForce
from notifier.core.breaker import FEW, State
from notifier.core.errors import StoreUnavailable
from notifier.core.model import Delivery, Watch
from notifier.core.retry import Attempt, Delivered, Failed, Gone, Rejected
from notifier.daemon.clock_follower import ClockFollower
from notifier.deliver.queue import AHEAD
from notifier.store import DeliveryFilter
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener

sending = partial(rig, run=("dispatcher",))  # what is observed is told by hand: no watcher takes the watches

OPERATORS = ("endpoint.*",)


def delivered(_: Delivery) -> Attempt:
    return Attempt(at=clock(), outcome=Delivered())


def failed(_: Delivery) -> Attempt:
    return Attempt(at=clock(), outcome=Failed(reason="http_500"))


def in_order(callbacks: list[ReceivedCallback], path: str) -> bool:
    """Return whether the first arrivals of each event came in sequence, for every watch."""
    told: dict[str | None, list[int]] = {}
    for callback in callbacks:
        if callback.path == path and callback.attempt == 1 and callback.sequence is not None:
            told.setdefault(callback.watch, []).append(callback.sequence)
    return all(numbers == list(range(1, len(numbers) + 1)) for numbers in told.values())


# -- order


async def test_order_holds_across_retries_and_others_overtake(tmp_path: Path) -> None:
    """While a watch's first delivery fails three times its others wait; another watch and another endpoint do not."""
    failures: dict[str, int] = {}

    def fail_first(delivery: Delivery) -> Attempt:
        if delivery.lane == blocked.pk and failures.setdefault(delivery.event_id, 0) < 3 and len(failures) == 1:
            failures[delivery.event_id] += 1
            return failed(delivery)
        return Attempt(at=clock(), outcome=Delivered())

    async with sending(tmp_path) as made:
        app, other = ScriptedSender(fail_first), ScriptedSender()
        made.set_endpoints({"app": app, "other": other}, app=endpoint(schedule=(0.0,) + (0.15,) * 9))
        blocked, free = sorted(await made.claim("blocked", "free"), key=lambda watch: watch.id)
        await made.tell(blocked, "queueing", "processing", "success")
        await made.tell(free, "queueing", "processing", "success")
        await made.settled("app", 6)
        await made.settled("other", 6)
        sequences = dict(made.rows("SELECT id, sequence FROM deliveries"))
        assert [sequences[d.id] for d in app.begun if d.lane == blocked.pk] == [1, 1, 1, 1, 2, 3]
        assert [sequences[d.id] for d in app.begun if d.lane == free.pk] == [1, 2, 3]
        last = max(n for n, d in enumerate(app.begun) if d.lane == free.pk)
        assert last < max(n for n, d in enumerate(app.begun) if d.lane == blocked.pk and sequences[d.id] == 1)
        assert len(other.begun) == 6
        assert len({d.event_id for d in app.begun if sequences[d.id] == 1 and d.lane == blocked.pk}) == 1


async def test_a_black_hole_delays_no_other_endpoint(tmp_path: Path) -> None:
    """All its workers hang; the other endpoint gets everything."""
    async with Listener(respond=["/hole=blackhole", "/app=200"]) as listener, sending(tmp_path) as made:
        hole, app = webhook(f"{listener.base_url}/hole", max_in_flight=2), webhook(f"{listener.base_url}/app")
        made.set_endpoints({"hole": hole, "app": app}, hole=endpoint(max_in_flight=2))
        for watch in await made.claim(*map(str, range(50))):
            await made.tell(watch, "processing", "success")
        await listener.wait_for(lambda heard: sum(c.path == "/app" for c in heard.callbacks) == 100)
        assert made.dispatcher.endpoints["hole"].in_flight == 2
        assert made.dispatcher.endpoints["hole"].waiting <= AHEAD * 2


async def test_in_flight_is_bounded(tmp_path: Path) -> None:
    """Never more sends at once than the endpoint's owner allows, also after a reload lowers it."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        sender.open.clear()
        made.set_endpoints({"app": sender}, app=endpoint(max_in_flight=5))
        for watch in await made.claim(*map(str, range(60))):
            await made.tell(watch, "success")
        await until(lambda: sender.under_way == 5)
        made.set_endpoints({"app": sender}, app=endpoint(max_in_flight=2))
        sender.open.set()
        await made.settled("app", 60)
        assert sender.most == 5
        sender.most = 0
        for watch in await made.claim(*map(str, range(100, 160))):
            await made.tell(watch, "success")
        await made.settled("app", 120)
        assert sender.most <= 2


async def test_the_rate_limit_holds(tmp_path: Path) -> None:
    """At 20 a second, 11 sends take half a second at least, and all are made."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        made.set_endpoints({"app": sender}, app=endpoint(rate_limit=20.0))
        began = time.monotonic()
        for watch in await made.claim(*map(str, range(11))):
            await made.tell(watch, "success")
        await made.settled("app", 11)
        assert 0.45 <= time.monotonic() - began <= PATIENCE


# -- memory


async def test_what_is_committed_during_a_claim_need_not_be_claimed(tmp_path: Path) -> None:
    """Else it would be claimed next, and under load all that follows as well: three more statements a group."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()}, app=endpoint(max_in_flight=4))
        queue = made.dispatcher.endpoints["app"]
        await claimed(queue)
        with locked(made):
            made.dispatcher.expect("app")
            await until(lambda: queue.reserved > 0)  # the claim has begun
            assert queue.reserved <= (AHEAD - 1) * 4
            with made.dispatcher.reserve() as places:
                assert [places.take("app") for _ in range(5)] == [True] * 4 + [False]
        await until(lambda: not queue.reserved)


async def test_a_backlog_larger_than_memory_drains_in_order_with_bounded_memory(tmp_path: Path) -> None:
    """5,000 deliveries that were stored while the endpoint was away, and as many that come at once."""
    away = True
    most = 0

    def answer(delivery: Delivery) -> Attempt:
        nonlocal most
        most = max(most, made.dispatcher.endpoints["app"].waiting)
        return failed(delivery) if away else Attempt(at=clock(), outcome=Delivered())

    async with sending(tmp_path) as made:
        sender = ScriptedSender(answer)
        policy = endpoint(schedule=(0.0,) + (0.5,) * 50, max_in_flight=8)
        made.set_endpoints({"app": sender}, app=policy)
        watches = await made.claim(*map(str, range(1250)))
        watches = await asyncio.gather(*(made.tell(watch, "queueing", "processing") for watch in watches))
        await until(lambda: made.dispatcher.endpoints["app"].state is State.OPEN)
        assert sum(made.statuses("app").values()) == 2500
        away = False
        await asyncio.gather(*(made.tell(watch, "queueing", "success") for watch in watches))
        await until(lambda: made.statuses("app") == {"delivered": 5000})
        assert most <= AHEAD * 8
        queue = made.dispatcher.endpoints["app"]
        await until(lambda: (queue.waiting, queue.reserved, queue.in_flight) == (0, 0, 0))
        done: dict[int | None, list[int]] = {}
        for delivery in sender.begun:
            done.setdefault(delivery.lane, []).append(delivery.id)
        assert all(ids == sorted(ids) for ids in done.values())


# -- what endpoints answer


async def test_429_throttles_the_whole_endpoint_and_spends_no_attempt(tmp_path: Path) -> None:
    """Nothing at all goes out for the time asked for; afterwards everything does, on the first attempt."""
    async with Listener(respond="429:0.8x1") as listener, sending(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)}, app=endpoint(schedule=(0.0, 60.0), max_in_flight=1))
        watches = await made.claim(*map(str, range(5)))
        await made.tell(watches[0], "success")
        await until(lambda: made.dispatcher.endpoints["app"].state is State.THROTTLED)
        for watch in watches[1:]:
            await made.tell(watch, "success")
        callbacks = await listener.wait(6)
        assert callbacks[1].at - callbacks[0].at >= 0.75
        await made.settled("app", 5)
        assert made.rows("SELECT DISTINCT attempt FROM deliveries") == [(1,)]


async def test_410_disables_keeps_tells_and_survives_a_restart(tmp_path: Path) -> None:
    """Operators hear of it once, at another endpoint; enabled by hand, everything flows in order."""
    async with Listener(respond=["/app=410x1,200", "/ops=200"]) as listener:
        routes = [route("app"), route("ops", events=OPERATORS)]

        def start(made: Rig) -> None:
            senders = {name: webhook(f"{listener.base_url}/{name}") for name in ("app", "ops")}
            made.set_endpoints(senders, routes=routes)

        with capture_logs() as logs:
            async with sending(tmp_path) as made:
                start(made)
                [watch] = await made.claim("1")
                watch = await made.tell(watch, "queueing", "processing")
                [first, told] = await listener.wait(2)
                assert (first.path, told.path, told.type) == ("/app", "/ops", "endpoint.disabled")
                assert data(told) == {
                    "endpoint": "app",
                    "reason": "http_410",
                    "detail": "the endpoint answered 410 Gone",
                }
                await until(lambda: made.rows("SELECT disabled_at > 0 FROM endpoints WHERE name = 'app'") == [(1,)])
                await made.settled("ops", 1)
                await made.tell(watch, "success")
                await until(lambda: made.statuses("app") == {"ready": 1, "waiting": 2})
        told_of = [entry["event"] for entry in logs if entry["event"].startswith("delivery.")]
        assert told_of == ["delivery.kept"], "nothing is tried again until somebody enables it"
        async with rig(tmp_path, run=()) as made:
            start(made)
            made.dispatcher.recall(await made.store.endpoints.states())
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(made.dispatcher.run())
                [other] = await made.claim("2")
                await made.tell(other, "success")
                assert made.dispatcher.endpoints["app"].state is State.DISABLED
                assert made.statuses("app") == {"ready": 2, "waiting": 2}
                assert listener.counts["received"] == 2
                await made.dispatcher.endpoints["app"].enable()
                callbacks = await listener.wait(7)
                await made.settled("app", 4)
                assert [c.sequence for c in callbacks if c.path == "/app" and c.watch == "1"] == [1, 1, 2, 3]
                assert callbacks[-1].path == "/ops" or "endpoint.recovered" in {c.type for c in callbacks}
                assert made.rows("SELECT disabled_at, reason FROM endpoints WHERE name = 'app'") == [(None, None)]
                running.cancel()


async def test_two_410_at_once_disable_once(tmp_path: Path) -> None:
    """Operators are told a single time however many sends met it."""
    async with sending(tmp_path) as made:
        gone = ScriptedSender(lambda _: Attempt(at=clock(), outcome=Gone(reason="http_410")))
        gone.open.clear()
        ops = ScriptedSender()
        made.set_endpoints({"app": gone, "ops": ops}, routes=[route("app"), route("ops", events=OPERATORS)])
        for watch in await made.claim("1", "2", "3"):
            await made.tell(watch, "success")
        await until(lambda: gone.under_way == 3)
        gone.open.set()
        await made.settled("app", 3, "ready")
        await made.settled("ops", 1)
        assert [d.event_type for d in ops.begun] == ["endpoint.disabled"]
        assert made.rows("SELECT count(*) FROM deliveries WHERE owner IS NOT NULL AND endpoint = 'app'") == [(0,)]


async def test_the_breaker_opens_and_a_probe_lets_the_backlog_flow(tmp_path: Path) -> None:
    """Five failures in a row open it; then a single probe goes out at a time; its success lets all else follow."""
    async with Listener(respond="500x6,200") as listener, sending(tmp_path) as made:
        policy = endpoint(schedule=(0.0,) + (0.01,) * 50, max_in_flight=1)
        made.set_endpoints({"app": webhook(listener.url), "ops": ScriptedSender()}, app=policy)
        made.recorder.routes = [route("app"), route("ops", events=OPERATORS)]
        watches = await made.claim(*map(str, range(40)))
        await asyncio.gather(*(made.tell(watch, "processing", "success") for watch in watches))
        await listener.wait(7)
        callbacks = list(listener.callbacks)
        assert callbacks[5].at - callbacks[4].at >= 0.9  # the first cool-down
        assert callbacks[6].at - callbacks[5].at >= 1.8  # twice as long
        await made.settled("app", 80)
        assert in_order(list(listener.callbacks), "/hooks")
        assert made.dispatcher.endpoints["app"].state is State.CLOSED
        await until(lambda: made.rows("SELECT failing_since FROM endpoints WHERE name = 'app'") == [(None,)])
        told = made.rows("SELECT type FROM events WHERE type LIKE 'endpoint.%'")
        assert told == [("endpoint.recovered",)]


HOURS = (0.0,) + (3600.0,) * 5


async def test_what_failed_in_an_outage_goes_out_when_it_is_over(tmp_path: Path) -> None:
    """Not hours later, in order, and with as many attempts left as before; what is behind it comes after it."""
    with capture_logs() as logs:
        async with Listener(respond="500x5,200") as listener, sending(tmp_path) as made:
            made.set_endpoints({"app": webhook(listener.url)}, app=endpoint(schedule=HOURS, max_in_flight=1))
            for watch in await made.claim(*map(str, range(6))):
                await made.tell(watch, "processing", "success")
            await made.settled("app", 12)
            assert in_order(list(listener.callbacks), "/hooks")
            assert set(made.rows("SELECT attempt FROM deliveries")) == {(1,)}
    assert [entry["deliveries"] for entry in logs if entry["event"] == "endpoint.hastened"] == [5]


async def test_what_failed_in_an_outage_goes_out_after_a_restart_in_it(tmp_path: Path) -> None:
    """The first accepted delivery shows that the outage is over, whichever process met it."""
    async with Listener(respond="500x5,200") as listener:
        async with sending(tmp_path) as made:
            made.set_endpoints({"app": webhook(listener.url)}, app=endpoint(schedule=HOURS))
            for watch in await made.claim(*map(str, range(5))):
                await made.tell(watch, "success")
            await until(lambda: bool(made.rows("SELECT 1 FROM endpoints WHERE failing_since IS NOT NULL")))
            await until(lambda: made.rows("SELECT count(*) FROM deliveries WHERE attempt = 1") == [(5,)])
        async with sending(tmp_path) as made:
            made.set_endpoints({"app": webhook(listener.url)}, app=endpoint(schedule=HOURS))
            made.dispatcher.recall(await made.store.endpoints.states())
            assert not made.statuses("app").get("delivered")
            watch = (await made.claim("6"))[-1]
            await made.tell(watch, "success")
            await made.settled("app", 6)


async def test_enabling_an_endpoint_sends_what_failed_before(tmp_path: Path) -> None:
    """An operator who enables it has mended it, and sees that at once. Times that the endpoint asked for are kept."""

    def answer(delivery: Delivery) -> Attempt:
        hint = 7200.0 if delivery.lane == patient.pk else None
        return Attempt(at=clock(), outcome=Failed(reason="http_500", retry_after=hint))

    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender(answer)}, app=endpoint(schedule=HOURS))
        patient, *watches = await made.claim(*map(str, range(5)))
        for watch in (patient, *watches):
            await made.tell(watch, "success")
        await until(lambda: made.rows("SELECT count(*) FROM deliveries WHERE attempt = 1") == [(5,)])
        await made.dispatcher.endpoints["app"].disable("operator", "by hand")
        made.set_endpoints({"app": ScriptedSender()}, app=endpoint(schedule=HOURS))
        await made.dispatcher.endpoints["app"].enable()
        await made.settled("app", 4)
        [(due,)] = made.rows("SELECT due FROM deliveries WHERE status = 'ready'")
        assert due - clock() > 7000e6


@pytest.mark.parametrize("days", [30, -30])
async def test_a_clock_that_is_set_disables_no_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """It has failed for a second, whatever the dates say: nothing to tell yet. Retries go out as they would have."""
    failures = 8
    real = time.time_ns

    def answer(_: Delivery) -> Attempt:
        nonlocal failures
        failures -= 1
        if failures == 2:
            monkeypatch.setattr(time, "time_ns", lambda: real() + days * 86400 * 10**9)
        return Attempt(at=clock(), outcome=Failed(reason="http_500") if failures > 0 else Delivered())

    async with sending(tmp_path) as made:
        follower = ClockFollower(made.store, clock=clock, in_force=ConfigInForce(Config()), dispatcher=made.dispatcher)
        following = asyncio.create_task(follower.run())
        ops = ScriptedSender()
        policy = endpoint(failing_after=3600.0, disable_after=86400.0, schedule=(0.0,) + (0.01,) * 50)
        made.set_endpoints({"app": ScriptedSender(answer), "ops": ops}, app=policy)
        made.recorder.routes = [route("app"), route("ops", events=OPERATORS)]
        for watch in await made.claim("1", "2", "3"):
            await made.tell(watch, "success")
        await made.settled("app", 3)
        told = {delivery.event_type for delivery in ops.begun}
        assert not told & {"endpoint.disabled", "endpoint.failing"}
        following.cancel()
        await asyncio.wait({following})


@pytest.mark.parametrize("days", [30, -30])
async def test_a_clock_that_is_set_during_an_attempt_leaves_the_retry_its_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The retry was dated by the clock as it is now: it is not moved, though the attempt began before."""
    real = time.time_ns

    def answer(_: Delivery) -> Attempt:
        began = clock()
        monkeypatch.setattr(time, "time_ns", lambda: real() + days * 86400 * 10**9)
        return Attempt(at=began, outcome=Failed(reason="http_500"))

    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender(answer)}, app=endpoint(schedule=(0.0, 3600.0)))
        before = clock.era
        (watch,) = await made.claim("1")
        await made.tell(watch, "success")
        await until(lambda: bool(made.rows("SELECT 1 FROM attempts")), "its outcome is saved")
        follower = ClockFollower(
            made.store,
            clock=clock,
            in_force=ConfigInForce(Config()),
            dispatcher=made.dispatcher,
            before=[before],
        )
        await follower.look()
        [(due,)] = made.rows("SELECT due FROM deliveries")
        assert 1800e6 < due - clock() <= 4500e6


@pytest.mark.parametrize("days", [30, -30])
async def test_a_clock_that_is_set_makes_no_message_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """One that is refused with 429 is tried again the later the longer it has waited: here it has not."""
    real = time.time_ns

    def answer(_: Delivery) -> Attempt:
        monkeypatch.setattr(time, "time_ns", lambda: real() + days * 86400 * 10**9)
        return Attempt(at=clock(), outcome=Failed(reason="http_429", spend=False, throttle=True))

    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender(answer)}, app=endpoint(schedule=(0.0, 3600.0)))
        (watch,) = await made.claim("1")
        await made.tell(watch, "success")
        await until(lambda: bool(made.rows("SELECT 1 FROM attempts")), "its outcome is saved")
        [(due,)] = made.rows("SELECT due FROM deliveries")
        assert due - clock() < 60e6


@pytest.mark.parametrize("days", [30, -30])
async def test_since_when_an_endpoint_fails_is_saved_by_the_clock_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """It began before the clock was set; the next start knows the clock as it is alone."""
    real, sender = time.time_ns, ScriptedSender(failed)

    def answer(delivery: Delivery) -> Attempt:
        if len(sender.begun) > 2:
            monkeypatch.setattr(time, "time_ns", lambda: real() + days * 86400 * 10**9)
        return failed(delivery)

    sender.answer = answer
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": sender}, app=endpoint(schedule=(0.0,) + (0.01,) * 200))
        for watch in await made.claim("1", "2"):
            await made.tell(watch, "success")
        saved = "SELECT failing_since FROM endpoints WHERE failing_since IS NOT NULL"
        await until(lambda: bool(made.rows(saved)), "the failure is saved")
        [(since,)] = made.rows(saved)
        assert 0 <= clock() - since <= 3600e6


async def test_what_an_operator_asks_for_as_the_daemon_stops_is_not_said_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is away nothing can be saved: the next start would know nothing of it."""

    async def unsaved(*_: object) -> None:
        """Stand for what announces an event once the store has been given up."""

    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        app = made.dispatcher.endpoints["app"]
        announce = app._announce
        for ask, state in ((partial(app.disable, "operator", "by hand"), State.CLOSED), (app.enable, State.DISABLED)):
            monkeypatch.setattr(app, "_announce", unsaved)
            with pytest.raises(StoreUnavailable):
                await ask()
            assert app.state is state
            monkeypatch.setattr(app, "_announce", announce)
            await ask()


async def test_an_endpoint_that_fails_for_too_long_is_disabled(tmp_path: Path) -> None:
    """After `disable_after` without a success: disabled, and told with its reason."""
    async with sending(tmp_path) as made:
        ops = ScriptedSender()
        made.set_endpoints({"app": ScriptedSender(failed), "ops": ops}, app=endpoint(disable_after=0.5))
        made.recorder.routes = [route("app"), route("ops", events=OPERATORS)]
        for watch in await made.claim("1", "2"):
            await made.tell(watch, "success")
        await made.settled("ops", 1)
        assert made.dispatcher.endpoints["app"].disabled_reason == "failing"
        assert b"no success for 0.5 s" in ops.begun[0].body


async def test_operators_hear_that_an_endpoint_fails_and_that_it_recovers(tmp_path: Path) -> None:
    """Once each, after `failing_after` without a success; with the reason, and the time since when."""
    away = True

    def answer(delivery: Delivery) -> Attempt:
        return failed(delivery) if away else delivered(delivery)

    with capture_logs() as logs:
        async with sending(tmp_path) as made:
            ops = ScriptedSender()
            policy = endpoint(failing_after=0.5, schedule=(0.0,) + (0.1,) * 200)
            made.set_endpoints({"app": ScriptedSender(answer), "ops": ops}, app=policy)
            made.recorder.routes = [route("app"), route("ops", events=OPERATORS)]
            for watch in await made.claim("1", "2"):
                await made.tell(watch, "success")
            await made.settled("ops", 1)
            told = json.loads(ops.begun[0].body)
            assert (told["type"], told["data"]["endpoint"]) == ("endpoint.failing", "app")
            assert told["data"]["reason"] == "http_500"
            assert told["data"]["failing_seconds"] >= 0.5
            assert made.rows("SELECT disabled_at, reason FROM endpoints WHERE name = 'app'") == [(None, "failing")]
            away = False
            await made.settled("app", 2)
            await made.settled("ops", 2)
            assert [delivery.event_type for delivery in ops.begun] == ["endpoint.failing", "endpoint.recovered"]
            assert made.rows("SELECT reason, failing_since FROM endpoints WHERE name = 'app'") == [(None, None)]
    assert [entry["reason"] for entry in logs if entry["event"] == "endpoint.failing"] == ["http_500"]


async def test_an_endpoint_that_refuses_a_share_is_called_slowed(tmp_path: Path) -> None:
    """With the share and the answer; its breaker stays closed, and everything arrives."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender(lambda delivery: failed(delivery) if len(sender.begun) % 3 else delivered(delivery))
        made.set_endpoints({"app": sender}, app=endpoint(schedule=(0.0,) + (0.02,) * 200))
        for watch in await made.claim(*map(str, range(30))):
            await made.tell(watch, "success")
        await made.settled("app", 30)
        app = made.dispatcher.endpoints["app"]
        assert app.condition(app.shares) == ("slowed", "67 % of attempts are answered 500")


async def test_a_message_is_dead_after_the_schedule_and_can_be_retried(tmp_path: Path) -> None:
    """It is kept, said once, and goes out again by hand with the same id; its successors did not wait for it."""
    with capture_logs() as logs:
        async with Listener(respond="500x3,200") as listener, sending(tmp_path) as made:
            made.set_endpoints({"app": webhook(listener.url)}, app=endpoint(schedule=(0.0, 0.01, 0.01)))
            [watch] = await made.claim("1")
            await made.tell(watch, "processing", "success")
            await listener.wait(4)
            await until(lambda: made.statuses("app") == {"dead": 1, "delivered": 1})
            assert await made.store.outbox.retry(DeliveryFilter(endpoint="app"), now=clock()) == 1
            made.dispatcher.expect("app")
            callbacks = await listener.wait(5)
            await made.settled("app", 2)
            assert [callback.sequence for callback in callbacks] == [1, 1, 1, 2, 1]
            assert len({callback.id for callback in callbacks if callback.sequence == 1}) == 1
            assert made.rows("SELECT manual FROM deliveries ORDER BY sequence") == [(1,), (0,)]
    assert [entry["event"] for entry in logs].count("delivery.dead") == 1


async def test_a_schedule_may_begin_with_a_wait(tmp_path: Path) -> None:
    """The first entry of the schedule is the wait before the first attempt; order holds all the same."""
    async with Listener() as listener, sending(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)}, app=endpoint(schedule=(0.4, 0.1)))
        [watch] = await made.claim("1")
        began = clock()
        await made.tell(watch, "queueing", "success")
        callbacks = await listener.wait(2)
        assert [callback.sequence for callback in callbacks] == [1, 2]
        assert (clock() - began) / 1e6 >= 0.4


async def test_a_message_that_is_rejected_is_dead_at_once(tmp_path: Path) -> None:
    """And the endpoint is none the worse for it."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender(lambda _: Attempt(at=clock(), outcome=Rejected(reason="invalid_payload")))
        made.set_endpoints({"app": sender})
        for watch in await made.claim(*map(str, range(20))):
            await made.tell(watch, "success")
        await made.settled("app", 20, "dead")
        assert len(sender.begun) == 20
        assert made.dispatcher.endpoints["app"].state is State.CLOSED


async def test_a_message_that_cannot_be_made_closes_no_breaker(tmp_path: Path) -> None:
    """It is dead without having been sent: the outage goes on, and the next message is the probe."""

    def answer(delivery: Delivery) -> Attempt:
        if delivery.lane == broken.pk:
            return Attempt(at=clock(), outcome=Rejected(reason="template", well=None))
        return failed(delivery) if len(sender.begun) <= 5 else delivered(delivery)

    with capture_logs() as logs:
        async with sending(tmp_path) as made:
            sender = ScriptedSender(answer)
            made.set_endpoints({"app": sender}, app=endpoint(schedule=(0.0,) + (1.5,) * 20, max_in_flight=1))
            broken, *watches = await made.claim(*map(str, range(6)))
            for watch in watches:
                await made.tell(watch, "success")
            await until(lambda: made.dispatcher.endpoints["app"].state is State.OPEN)
            await made.tell(broken, "success")
            await made.settled("app", 5)
            assert made.statuses("app") == {"dead": 1, "delivered": 5}
            assert [delivery.lane for delivery in sender.begun[5:7]] == [broken.pk, watches[0].pk]
    changes = [(entry["was"], entry["state"]) for entry in logs if entry["event"] == "endpoint.state"]
    assert changes == [("ok", "failing"), ("failing", "ok")]


async def test_a_sender_that_raises_is_contained(tmp_path: Path) -> None:
    """A poisonous message dies by the schedule like any other; the rest goes out, the endpoint none the worse."""
    poison: set[int | None] = set()

    def answer(delivery: Delivery) -> Attempt:
        if delivery.lane in poison:
            raise ZeroDivisionError
        return Attempt(at=clock(), outcome=Delivered())

    with capture_logs() as logs:
        async with sending(tmp_path) as made:
            made.set_endpoints({"app": ScriptedSender(answer)}, app=endpoint(schedule=(0.0,) + (0.01,) * FEW))
            watches = await made.claim("poison", "1", "2")
            poison |= {watch.pk for watch in watches if watch.id == "poison"}
            for watch in watches:
                await made.tell(watch, "processing")
            await until(lambda: made.statuses("app") == {"dead": 1, "delivered": 2})
    told = [entry["event"] for entry in logs]
    assert told.count("sender.raised") == FEW + 1
    assert "endpoint.state" not in told


async def test_a_probe_that_raises_or_is_replaced_holds_nobody_up(tmp_path: Path) -> None:
    """The next probe comes at once or after the cool-down, not after the patience for a lost one."""

    def answer(delivery: Delivery) -> Attempt:
        if len(sender.begun) <= 5:
            return failed(delivery)
        if len(sender.begun) == 6:
            raise ZeroDivisionError
        return Attempt(at=clock(), outcome=Delivered())

    async with sending(tmp_path) as made:
        sender = ScriptedSender(answer)
        made.set_endpoints({"app": sender})
        [watch] = await made.claim("1")
        await made.tell(watch, "success")
        await made.settled("app", 1)
        assert len(sender.begun) == 7

        hangs = ScriptedSender(failed)
        made.set_endpoints({"app": hangs})
        [watch] = await made.claim("2")
        await made.tell(watch, "success")
        await until(lambda: len(hangs.begun) == 5)
        hangs.open.clear()
        await until(lambda: made.dispatcher.endpoints["app"].state is State.HALF_OPEN)
        made.set_endpoints({"app": ScriptedSender()})
        [watch] = await made.claim("3")
        await made.tell(watch, "success")
        await made.settled("app", 2)
        hangs.open.set()
        await made.settled("app", 3)


# -- `latest`


async def test_latest_drops_what_is_undelivered_but_never_the_end(tmp_path: Path) -> None:
    """While one state is on its way, the next ones replace each other; the last and the terminal one arrive."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        sender.open.clear()
        made.set_endpoints({"app": sender}, routes=[route("app", latest=True)], app=endpoint(latest=True))
        [watch] = await made.claim("1")
        watch = await made.tell(watch, "a")
        await until(lambda: sender.under_way == 1)
        watch = await made.tell(watch, "b", "c", "d")
        sender.open.set()
        await made.settled("app", 2)
        await made.tell(watch, "success")
        await made.settled("app", 3)
        statuses = [status for (status,) in made.rows("SELECT status FROM deliveries ORDER BY sequence")]
        assert statuses == ["delivered", "superseded", "superseded", "delivered", "delivered"]


async def failing(made: Rig) -> tuple[ScriptedSender, Watch]:
    """Begin with `latest` an attempt that will fail, as the only one, once the sender is opened; return its watch."""
    sender = ScriptedSender(lambda d: failed(d) if len(sender.begun) == 1 else Attempt(at=clock(), outcome=Delivered()))
    sender.open.clear()
    policy = endpoint(latest=True, schedule=(0.0, 3600.0))
    made.set_endpoints({"app": sender}, routes=[route("app", latest=True)], app=policy)
    [watch] = await made.claim("1")
    watch = await made.tell(watch, "a")
    await until(lambda: sender.under_way == 1)
    return sender, watch


async def test_latest_does_not_retry_what_is_overtaken(tmp_path: Path) -> None:
    """A state that failed, and is no longer the newest, gives way instead of waiting for its next attempt."""
    async with sending(tmp_path) as made:
        sender, watch = await failing(made)
        await made.tell(watch, "success")
        sender.open.set()
        await made.settled("app", 1)
        assert made.statuses("app") == {"superseded": 1, "delivered": 1}


async def test_latest_does_not_retry_what_another_node_has_overtaken(tmp_path: Path) -> None:
    """The newer state was committed elsewhere: this node learns of it with the end of its own attempt."""
    async with sending(tmp_path) as made:
        sender, watch = await failing(made)
        elsewhere = Rig(made.store, made.path, made.jitter)
        elsewhere.recorder.routes = made.recorder.routes
        await elsewhere.tell(watch, "success")
        sender.open.set()
        await made.settled("app", 1)
        assert made.statuses("app") == {"superseded": 1, "delivered": 1}


async def test_latest_replaces_what_waits_in_memory(tmp_path: Path) -> None:
    """A state that is claimed but not begun gives its place to the newer one."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        sender.open.clear()
        policy = endpoint(latest=True, max_in_flight=1)
        made.set_endpoints({"app": sender}, routes=[route("app", latest=True)], app=policy)
        busy, watch = sorted(await made.claim("busy", "watch"), key=lambda found: found.id)
        await made.tell(busy, "a")
        await until(lambda: sender.under_way == 1)
        watch = await made.tell(watch, "a")
        assert made.dispatcher.endpoints["app"].waiting == 1
        await made.tell(watch, "b", "c", "success")
        sender.open.set()
        await made.settled("app", 2)
        assert made.statuses("app") == {"delivered": 2, "superseded": 3}
        assert made.rows("SELECT sequence FROM deliveries WHERE status = 'delivered' AND lane = ?", watch.pk) == [(4,)]


async def test_latest_lets_no_event_replace_itself(tmp_path: Path) -> None:
    """An event that was released together with its commit is in memory, or out, before its commit is heard of."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender(lambda d: failed(d) if len(sender.begun) == 1 else delivered(d))
        sender.open.clear()
        policy = endpoint(latest=True, max_in_flight=1)
        made.set_endpoints({"app": sender}, routes=[route("app", latest=True)], app=policy)
        for watch in await made.claim("1", "2"):
            await made.tell(watch, "success")
        await until(lambda: sender.under_way == made.dispatcher.endpoints["app"].waiting == 1)
        for event, lane in made.rows("SELECT e.id, d.lane FROM deliveries d JOIN events e ON e.pk = d.event"):
            made.dispatcher.endpoints["app"].overtake(lane, event)
        assert made.dispatcher.endpoints["app"].waiting == 1
        sender.open.set()
        await made.settled("app", 2)


async def test_latest_never_drops_the_end_whatever_the_timing(tmp_path: Path) -> None:
    """States of many watches replace each other while earlier ones are being settled; each end arrives, and last."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender(lambda d: failed(d) if d.id % 3 == 0 and d.attempt == 0 else delivered(d))
        policy = endpoint(latest=True, max_in_flight=4)
        made.set_endpoints({"app": sender}, routes=[route("app", latest=True)], app=policy)
        watches = await made.claim(*map(str, range(150)))
        await asyncio.gather(*(made.tell(watch, "a", "b", "c", "d", "success") for watch in watches))
        await until(lambda: not made.statuses("app").keys() & {"ready", "waiting"})
        ends = made.rows("SELECT DISTINCT status FROM deliveries WHERE sequence = 5")
        assert ends == [("delivered",)]
        assert {d.lane: b'"success"' in d.body for d in sender.begun} == dict.fromkeys((w.pk for w in watches), True)


# -- reload and stop


async def test_a_new_sender_takes_over_and_the_old_one_ends_in_peace(tmp_path: Path) -> None:
    """Sends under way finish through the old one, which is closed once, after them; nothing is sent twice."""
    async with sending(tmp_path) as made:
        old, new = ScriptedSender(), ScriptedSender()
        old.open.clear()
        made.set_endpoints({"app": old}, app=endpoint(max_in_flight=3))
        for watch in await made.claim(*map(str, range(10))):
            await made.tell(watch, "success")
        await until(lambda: old.under_way == 3)
        made.set_endpoints({"app": new}, app=endpoint(max_in_flight=10))
        await until(lambda: len(new.begun) == 7)
        assert not old.closed
        old.open.set()
        await made.settled("app", 10)
        await until(lambda: old.closed == 1)
        assert not new.closed
        assert len({d.id for d in old.begun + new.begun}) == len(old.begun + new.begun) == 10


async def test_what_a_replaced_sender_met_disables_nothing(tmp_path: Path) -> None:
    """A 410 of the old URL says nothing of the new one; the message goes out through the new one."""
    async with sending(tmp_path) as made:
        old, new = ScriptedSender(lambda _: Attempt(at=clock(), outcome=Gone(reason="http_410"))), ScriptedSender()
        old.open.clear()
        made.set_endpoints({"app": old})
        [watch] = await made.claim("1")
        await made.tell(watch, "success")
        await until(lambda: old.under_way == 1)
        made.set_endpoints({"app": new}, app=endpoint(fingerprint="two"))
        old.open.set()
        await made.settled("app", 1)
        assert len(new.begun) == 1
        assert made.dispatcher.endpoints["app"].state is State.CLOSED


@pytest.mark.parametrize("outcome", [Delivered(), Failed(reason="http_500"), Gone(reason="http_410")])
async def test_an_endpoint_removed_with_sends_under_way_and_brought_back(
    tmp_path: Path, outcome: Delivered | Failed | Gone
) -> None:
    """Its deliveries are kept, none that arrived is sent twice, and all are sent when it is back."""
    with capture_logs() as logs:
        async with sending(tmp_path) as made:
            old, new = ScriptedSender(lambda _: Attempt(at=clock(), outcome=outcome)), ScriptedSender()
            old.open.clear()
            made.set_endpoints({"app": old}, app=endpoint(max_in_flight=2))
            for watch in await made.claim(*map(str, range(8))):
                await made.tell(watch, "processing", "success")
            await until(lambda: old.under_way == 2)
            made.set_endpoints({})
            assert (
                made.metrics.registry.get_sample_value("notifier_endpoint_state", {"endpoint": "app", "state": "ok"})
                is None
            )
            old.open.set()
            await until(lambda: old.closed == 1)
            await until(lambda: made.rows("SELECT count(*) FROM deliveries WHERE owner IS NOT NULL") == [(0,)])
            assert len(old.begun) == 2
            made.set_endpoints({"app": new})
            await made.settled("app", 16)
            assert len(new.begun) == (14 if isinstance(outcome, Delivered) else 16)
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]


async def test_an_endpoint_removed_during_a_commit_leaves_the_delivery_to_the_store(tmp_path: Path) -> None:
    """Its commit makes it this node's: it is given back, and goes out once the endpoint is back."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        app = made.dispatcher.endpoints["app"]
        [watch] = await made.claim("1")
        await claimed(app)
        with locked(made):
            telling = asyncio.create_task(made.tell(watch, "success"), name="tell")
            await until(lambda: app.reserved == 1)
            made.set_endpoints({})
        await telling
        await until(lambda: made.rows("SELECT count(*) FROM deliveries WHERE owner IS NULL") == [(1,)])
        assert (app.reserved, app.waiting) == (0, 0)
        made.set_endpoints({"app": ScriptedSender()})
        await made.settled("app", 1)


async def test_a_disabled_endpoint_brought_back_is_still_disabled(tmp_path: Path) -> None:
    """A reload to and fro is no way round `endpoint enable`; another URL is another endpoint."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        await made.dispatcher.endpoints["app"].disable("operator", "by hand")
        made.set_endpoints({})
        made.set_endpoints({"app": ScriptedSender()})
        assert made.dispatcher.endpoints["app"].state == "disabled"
        made.set_endpoints({"app": ScriptedSender()}, app=endpoint(fingerprint="two"))
        assert made.dispatcher.endpoints["app"].state == "closed"


async def test_disabling_by_hand_gives_back_what_was_not_begun(tmp_path: Path) -> None:
    """Nothing stays claimed in memory; enabled, all of it flows."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        sender.open.clear()
        made.set_endpoints({"app": sender}, app=endpoint(max_in_flight=1))
        for watch in await made.claim(*map(str, range(6))):
            await made.tell(watch, "success")
        await until(lambda: sender.under_way == 1)
        await made.dispatcher.endpoints["app"].disable("operator", "by hand")
        await until(lambda: made.rows("SELECT count(*) FROM deliveries WHERE owner IS NOT NULL") == [(1,)])
        sender.open.set()
        await made.settled("app", 1)
        await made.dispatcher.endpoints["app"].enable()
        await made.settled("app", 6)


async def test_drain_waits_for_what_is_under_way_and_begins_nothing(tmp_path: Path) -> None:
    """It returns as soon as the last send has ended, and burns no time until then; the rest stays in the store."""
    async with sending(tmp_path) as made:
        sender, flaky = ScriptedSender(), ScriptedSender(failed)
        sender.open.clear()
        made.set_endpoints({"app": sender, "flaky": flaky}, app=endpoint(max_in_flight=2))
        for watch in await made.claim(*map(str, range(6))):
            await made.tell(watch, "success")
        await until(lambda: sender.under_way == 2 and len(flaky.begun) >= 5)

        async def only_the_slow() -> bool:  # what the flaky one answered may still be saved
            return await made.dispatcher.drain(0.05) == 2

        await until(only_the_slow, "the attempts that nobody answers are left")
        draining = asyncio.create_task(made.dispatcher.drain(PATIENCE))
        begun = len(flaky.begun)
        before = time.process_time()
        await asyncio.sleep(1.5)  # of the flaky endpoint much is due, and its cool-down is over
        assert time.process_time() - before < 0.25
        sender.open.set()
        assert await draining == 0
        assert (len(sender.begun), len(flaky.begun)) == (2, begun)
        assert made.statuses("app") == {"delivered": 2, "ready": 4}
        assert made.statuses("flaky") == {"ready": 6}


# -- the store


async def test_a_delivery_that_is_no_longer_ours_ends_nothing(tmp_path: Path) -> None:
    """StaleWrite, of a send or of what is settled beside: said, and everything goes on."""
    with capture_logs() as logs:
        async with sending(tmp_path) as made:
            sender = ScriptedSender()
            sender.open.clear()
            policy = endpoint(latest=True, max_in_flight=1)
            made.set_endpoints({"app": sender}, routes=[route("app", latest=True)], app=policy)
            watches = await made.claim("1", "2", "3")
            await made.tell(watches[0], "a")
            await until(lambda: sender.under_way == 1)
            second = await made.tell(watches[1], "a")
            assert made.dispatcher.endpoints["app"].waiting == 1
            await _steal(made)
            await made.tell(second, "b")
            sender.open.set()
            await until(lambda: [entry["event"] for entry in logs].count("delivery.not_ours") == 2)
            await made.tell(watches[2], "success")
            await made.settled("app", 1)


async def _steal(made: Rig) -> None:
    with locked(made) as connection:
        connection.execute("UPDATE deliveries SET owner = 99")
        connection.execute("COMMIT")


@pytest.mark.usefixtures("brief_locks")
async def test_while_the_store_is_away_nothing_unsaved_is_sent(tmp_path: Path) -> None:
    """A state that cannot be saved is not told; all resumes by itself, and nothing is lost or repeated."""
    async with Listener() as listener, sending(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        watches = await made.claim("1", "2")
        first = await made.tell(watches[0], "processing")
        await made.settled("app", 1)
        with locked(made):
            telling = [asyncio.create_task(made.tell(watch, "success")) for watch in (first, watches[1])]
            await until(lambda: not made.store.available)
            assert listener.counts["received"] == 1
            assert not any(task.done() for task in telling)
        await asyncio.gather(*telling)
        await made.settled("app", 3)
        assert made.store.available
        assert listener.counts["received"] == 3
        assert listener.counts["duplicates"] == 0


async def test_a_stale_step_is_not_recorded_and_gives_its_promise_back(tmp_path: Path) -> None:
    """Commits that come to nothing leave no place taken."""
    async with sending(tmp_path) as made:
        made.set_endpoints({"app": ScriptedSender()})
        [watch] = await made.claim("1")
        await made.tell(watch, "success")
        for _ in range(3):
            with pytest.raises(Exception, match="changed or taken"):
                await made.tell(watch, "failed")
        await made.settled("app", 1)
        assert made.dispatcher.endpoints["app"].reserved == 0
