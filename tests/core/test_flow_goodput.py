"""How much gets through to receivers of several kinds, in virtual time: seeded, so that every run is the same."""

from __future__ import annotations

import random

import pytest
from flow_model import SHORT, TIMEOUT, Calendar, Loop, Outage, Places, Random, Rate, refusal, told

from notifier.core.breaker import State
from notifier.core.condition import Condition
from notifier.core.flow import SICK_RATE
from notifier.core.retry import Failed

SHARES = (0.0, 0.01, 0.05, 0.1, 0.33, 0.5, 0.67, 0.9)
CAP = 8
ACCEPTING = 0.1  # seconds
KINDS: dict[str, tuple[Failed, ...]] = {
    "429": (refusal(429),),
    "500": (refusal(500),),
    "502": (refusal(502),),
    "503": (refusal(503),),
    "504": (refusal(504),),
    "timeout": (TIMEOUT,),
    "mixture": (refusal(429), refusal(500), refusal(502), refusal(503), refusal(504), TIMEOUT),
}
DAYS = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)


def capacity(share: float, refusing: float) -> float:
    """Return the attempts a second that CAP places make, if a refused one takes no less time than an accepted one."""
    return CAP / ((1 - share) * ACCEPTING + share * max(ACCEPTING, refusing))


# -- random refusals


@pytest.mark.unmeasured
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
def test_random_refusals_cost_their_share_and_no_more(kind: str, share: float) -> None:
    """Immediate ones, with a backlog: the window stays open, since load is not the cause."""
    loop = Loop(Random(share, KINDS[kind], random.Random(7)), cap=CAP)
    loop.backlog(range(1000))
    result = loop.run(12.0)
    assert result.goodput(2.0, 12.0) >= 0.95 * (1 - share) * capacity(share, 0.001)
    assert (loop.flow.limit, loop.flow.rate) == (CAP, None)


@pytest.mark.unmeasured
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", ["503", "mixture"])
def test_slow_refusals_cost_their_time_and_no_more(kind: str, share: float) -> None:
    """They hold their places for two seconds."""
    loop = Loop(Random(share, KINDS[kind], random.Random(11), refusing_seconds=2.0), cap=CAP)
    loop.backlog(range(6000))
    end = 65.0 if share < 0.5 else 405.0
    result = loop.run(end)
    assert result.goodput(5.0, end) >= 0.95 * (1 - share) * capacity(share, 2.0)
    assert (loop.flow.limit, loop.flow.rate) == (CAP, None)


@pytest.mark.unmeasured
@pytest.mark.parametrize("share", SHARES)
def test_a_steady_stream_is_delivered_as_it_comes(share: float) -> None:
    """Thirty a second, of which the endpoint could take more than twice as many: none is left behind but the last."""
    loop = Loop(Random(share, KINDS["503"], random.Random(3), seconds=0.02), cap=CAP)
    for number in range(30 * 30):
        loop.add(number, number / 30)
    result = loop.run(30.0)
    waiting = 1.5 * share / (1 - share)  # seconds that a delivery spends between attempts
    assert len(result.accepted) >= 0.95 * 30 * (30.0 - 2 * waiting)


@pytest.mark.parametrize("share", SHARES)
def test_bursts_are_delivered_before_the_next_one(share: float) -> None:
    """A hundred and fifty at once, every twenty seconds; the window is open for each."""
    loop = Loop(Random(share, KINDS["mixture"], random.Random(5)), cap=CAP)
    for burst in range(3):
        for number in range(150):
            loop.add(1000 * burst + number, 20.0 * burst)
    result = loop.run(200.0)
    assert len(result.accepted) == 450
    if share < 0.9:  # of the last few attempts of a burst, twenty may fail one after another
        assert loop.flow.limit == CAP
    for burst in range(3):
        work = 150 / (1 - share) / capacity(share, 0.001)
        first = sorted(at for at in result.accepted if at >= 20.0 * burst)[: round(150 * 0.6)]
        assert first[-1] - 20.0 * burst <= 1.1 * work + 2.0 / (1 - share)


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 12.0), (0.67, 20.0), (0.9, 100.0)])
def test_sixty_tasks_of_three_states_are_soon_done(share: float, seconds: float) -> None:
    """With eight in flight and a second between attempts; each task's states in order."""
    loop = Loop(Random(share, KINDS["503"], random.Random(2), seconds=0.05), cap=8)
    loop.backlog(range(60), states=3)
    result = loop.run(600.0)
    assert len(result.accepted) == 180
    assert result.end <= seconds


@pytest.mark.parametrize("kind", KINDS)
def test_order_is_strict(kind: str) -> None:
    """A retry delays the states of its task, and those of no other."""
    loop = Loop(Random(0.33, KINDS[kind], random.Random(2)), cap=8)
    for number in range(40):
        for step in range(5):
            loop.add(number, step * 0.5 + number / 100)
    result = loop.run(100.0)
    assert all(observed == sorted(observed) and len(observed) == 5 for observed in result.order.values())
    assert len(result.order) == 40


# -- load


@pytest.mark.unmeasured
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("refusing", [0.001, 0.5])
@pytest.mark.parametrize("places", [1, 3, 10])
def test_a_receiver_with_few_places_gets_few_refusals(places: int, refusing: float, status: int) -> None:
    """The window falls to the places that there are, within seconds, and all of them are used."""
    loop = Loop(Places(places, refusal(status), random.Random(3), refusing_seconds=refusing), cap=32)
    loop.backlog(range(8000))
    result = loop.run(60.0)
    assert result.goodput(10.0, 60.0) >= 0.95 * places / ACCEPTING
    assert result.refused_share(10.0, 60.0) <= 0.05
    assert loop.flow.limit <= places + 3
    assert loop.flow.rate is None


def test_places_that_come_back_are_used() -> None:
    """A receiver that was scaled up gets more after a while."""
    receiver = Places(3, refusal(503), random.Random(3))
    loop = Loop(receiver, cap=16)
    loop.backlog(range(40_000))
    loop.run(20.0)
    assert loop.flow.limit <= 5
    receiver.count = 100
    result = loop.run(110.0)
    assert loop.flow.limit == 16
    assert result.goodput(100.0, 110.0) >= 0.95 * 16 / ACCEPTING


def test_places_and_chance_together_keep_most_of_both() -> None:
    """Ten places, and a third refused at random besides: the window does not collapse."""
    loop = Loop(Places(10, refusal(503), random.Random(3), share=0.33), cap=32)
    loop.backlog(range(20_000))
    result = loop.run(60.0)
    assert result.goodput(10.0, 60.0) >= 0.7 * 10 / ACCEPTING


@pytest.mark.unmeasured
@pytest.mark.parametrize("share", [0.1, 0.33, 0.5, 0.67])
@pytest.mark.parametrize("places", [1, 3, 10])
@pytest.mark.parametrize("status", [429, 503])
def test_chance_takes_no_more_from_few_places_than_its_share(status: int, places: int, share: float) -> None:
    """Whatever the window makes of both, as much gets through as if each refusal had held a place."""
    loop = Loop(Places(places, refusal(status), random.Random(3), share=share), cap=32)
    loop.backlog(range(20_000))
    result = loop.run(120.0)
    assert result.goodput(10.0, 120.0) >= 0.95 * (1 - share) * places / ACCEPTING


@pytest.mark.unmeasured
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("count", "window"), [(30, 60.0), (60, 60.0), (600, 60.0), (100, 10.0), (1000, 3600.0)])
def test_a_limit_by_the_minute_is_used_up_and_the_rest_of_it_is_quiet(status: int, count: int, window: float) -> None:
    """A window of the calendar, which says nothing of when the next begins: a few requests a second ask for it."""
    loop = Loop(Calendar(count, window, refusal(status)), cap=32, schedule=DAYS)
    loop.backlog(range(40_000))
    end = max(900.0, 4 * window)
    result = loop.run(end)
    begin = end / 4
    accepted = result.goodput(begin, end)
    assert accepted >= 0.9 * count / window
    assert result.rate(begin, end) - accepted <= SICK_RATE + 200 / window  # that many refusals make places rest longer
    assert result.dead == 0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("rate", [2.0, 10.0, 50.0])
def test_a_receiver_that_limits_a_rate_gets_about_that(rate: float, status: int) -> None:
    """A token bucket: the pace falls to what is accepted, and the rest is not sent in vain."""
    loop = Loop(Rate(rate, refusal(status)), cap=32)
    loop.backlog(range(20_000))
    result = loop.run(60.0)
    assert result.goodput(20.0, 60.0) >= 0.65 * rate
    assert result.refused_share(20.0, 60.0) <= 0.35


def test_a_limit_by_the_second_is_used_up() -> None:
    """A fixed window of a second: whatever is refused besides, every second's share is taken."""
    loop = Loop(Rate(20.0, refusal(429), fixed=True), cap=32)
    loop.backlog(range(20_000))
    result = loop.run(30.0)
    assert result.goodput(10.0, 30.0) >= 0.95 * 20.0


def test_a_pace_ends_when_nothing_waits_for_it() -> None:
    """The limit is gone: after a while nothing is held back."""
    receiver = Rate(10.0, refusal(429))
    loop = Loop(receiver, cap=32)
    loop.backlog(range(100))
    loop.run(10.0)
    assert loop.flow.rate is not None
    receiver.rate = 10_000.0
    for number in range(600):
        loop.add(number, 60.0 + number / 4)
    loop.run(260.0)
    assert loop.flow.rate is None


# -- outages


@pytest.mark.unmeasured
@pytest.mark.parametrize("seconds", [0.005, 0.1])
def test_an_hour_of_outage(seconds: float) -> None:
    """A few requests a second while it is away, no herd when it is back, and soon the full speed."""
    well = Random(0.0, KINDS["503"], random.Random(2), seconds=seconds)
    loop = Loop(Outage(((60.0, 3660.0),), refusal(503), well), schedule=DAYS)
    for number in range(2 * 3700):
        loop.add(number, number / 2)
    result = loop.run(3659.0)
    assert told(loop.flow, 3659.0) is Condition.FAILING
    assert result.rate(60.0, 75.0) <= 10.0  # what comes, and its second attempt
    assert result.rate(75.0, 120.0) <= 1.0
    assert result.rate(120.0, 3659.0) <= 0.03
    result = loop.run(3900.0)
    back = min(at for at in result.accepted if at > 3660.0)
    assert back <= 3660.0 + 61.0
    one = 1 / (0.8 * seconds)  # a second, by one place
    assert result.rate(back, back + 0.5) <= 1.05 * one + 2
    assert result.rate(back, back + 1.0) <= 2.05 * one + 4
    assert loop.flow.limit == 32
    full = 32 / seconds
    assert max(result.goodput(back + step / 10, back + step / 10 + 0.2) for step in range(40)) >= 0.9 * full


def test_a_sick_endpoint_with_a_backlog_gets_few_requests() -> None:
    """It refuses at once, and everything: the rate falls within seconds, before the breaker opens."""
    loop = Loop(Outage(((0.0, 1e9),), refusal(503), Random(0.0, KINDS["503"], random.Random(2))), schedule=SHORT)
    loop.backlog(range(20_000))
    result = loop.run(120.0)
    assert len(result.sent) <= 250
    assert result.rate(3.0, 10.0) <= 1.5 * SICK_RATE
    assert result.rate(10.0, 120.0) <= 0.5


def test_a_black_hole_is_left_alone_after_its_first_time_outs() -> None:
    """Nothing is answered at all."""
    hole = Outage(((0.0, 1e9),), TIMEOUT, Random(0.0, (TIMEOUT,), random.Random(2)), refusing_seconds=15.0)
    loop = Loop(hole, schedule=SHORT)
    loop.backlog(range(20_000))
    result = loop.run(600.0)
    assert len(result.sent) <= 70
    assert loop.flow.breaker.state in (State.OPEN, State.HALF_OPEN)


def test_a_quiet_endpoint_that_answers_nothing_is_called_failing() -> None:
    """With fewer attempts than many there is time to be sure."""
    loop = Loop(Outage(((0.0, 1e9),), refusal(500), Random(0.0, (TIMEOUT,), random.Random(2))), schedule=DAYS)
    loop.backlog(range(3))
    loop.run(7200.0)
    assert told(loop.flow, 7200.0) is Condition.FAILING


def test_short_outages_cost_little_more_than_their_time() -> None:
    """A receiver that restarts every ten seconds for one."""
    periods = tuple((10.0 * number, 10.0 * number + 1.0) for number in range(1, 7))
    loop = Loop(Outage(periods, refusal(502), Random(0.0, (TIMEOUT,), random.Random(2))), cap=CAP)
    loop.backlog(range(20_000))
    result = loop.run(60.0)
    assert len(result.accepted) >= 0.85 * 55.0 * CAP / ACCEPTING
    assert loop.flow.limit == CAP
