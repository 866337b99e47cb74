"""How limits fall and rise."""

from __future__ import annotations

import pytest

from notifier.core.window import DOUBLING, HOLD, LONGEST_HOLD, UNUSED, Pace, Window


def rise(window: Window, now: float) -> int:
    """Have as many accepted as it takes to rise once, if it may."""
    for _ in range(window.size):
        window.accepted(now)
    return window.size


# -- windows


def test_a_window_is_open_at_first() -> None:
    """And stays so, whatever is accepted."""
    window = Window(3)
    assert rise(window, 0.0) == 3


def test_a_window_falls_by_a_half_at_most_and_never_below_one() -> None:
    """Whatever it is told."""
    window = Window(32)
    assert window.fall(20, 0.0)
    assert window.size == 20
    assert window.fall(1, 0.0)
    assert window.size == 10
    assert not window.fall(10, 0.0)
    for _ in range(9):
        window.fall(0, 0.0)
    assert window.size == 1
    assert not window.fall(0, 0.0)


def test_a_window_rises_ever_more_rarely_at_its_ceiling() -> None:
    """Holds double up to LONGEST_HOLD while the ceiling proves right."""
    window, now, holds = Window(32), 0.0, []
    window.fall(16, now)
    for _ in range(8):
        begin = now
        while window.size == 16:
            now += 0.5
            rise(window, now)
        holds.append(now - begin)
        window.fall(16, now)
    assert holds == [2 * HOLD, 4 * HOLD, 8 * HOLD, 16 * HOLD, *[LONGEST_HOLD] * 4]


def test_a_window_rises_ever_faster_beyond_its_ceiling() -> None:
    """There is room after all: down to one step in each HOLD."""
    window, now = Window(32), 0.0
    for _ in range(6):
        window.fall(16, now)
        window.size = 17
    window.fall(16, now)
    while window.size < 32:
        now += 0.5
        rise(window, now)
    assert LONGEST_HOLD <= now <= 3 * LONGEST_HOLD + 16 * HOLD


def test_a_window_rises_at_once_below_its_ceiling() -> None:
    """By a step for each window of accepted attempts: a fall of a half was a guess."""
    window = Window(32)
    window.halve()
    assert [rise(window, 0.0) for _ in range(3)] == [17, 18, 19]
    assert window.size == 19


def test_a_window_takes_more_than_one_success_to_rise() -> None:
    """As many as may be in flight."""
    window = Window(32)
    window.halve()
    for _ in range(15):
        window.accepted(0.0)
    assert window.size == 16
    window.accepted(0.0)
    assert window.size == 17


def test_a_window_doubles_from_one_after_an_outage() -> None:
    """Once in DOUBLING at most, and as far as it was accepted; then it is open."""
    window, now, sizes = Window(20), 100.0, []
    window.restart(now)
    while window.size < 20:
        sizes.append(window.size)
        rise(window, now + DOUBLING / 2)
        assert window.size == sizes[-1]
        now += DOUBLING
        rise(window, now)
    assert sizes == [1, 2, 4, 8, 16]
    window.fall(12, now)
    assert rise(window, now) == 12


def test_a_window_follows_its_cap() -> None:
    """An open one stays open; one that was held back stays so."""
    window = Window(8)
    window.limit(16)
    assert window.size == 16
    window.fall(8, 0.0)
    window.limit(20)
    assert window.size == 8
    window.limit(4)
    assert window.size == 4
    window.limit(12)
    assert window.size == 12


def test_the_smallest_window_stays() -> None:
    """One attempt at a time can always be made."""
    window = Window(1)
    window.halve()
    assert window.size == 1


# -- paces


def test_a_pace_is_unlimited_at_first() -> None:
    """Nothing waits."""
    pace = Pace()
    pace.take(0.0)
    pace.accepted(0.0)
    assert (pace.wait(0.0), pace.rate) == (0.0, None)


def test_a_pace_spaces_attempts() -> None:
    """After an idle time two go out at once, then one each interval."""
    pace = Pace()
    assert pace.fall(4.0, 0.0)
    sent: list[float] = []
    now = 10.0
    while len(sent) < 4:
        if (wait := pace.wait(now)) == 0:
            pace.take(now)
            sent.append(now)
        else:
            now += wait
    assert sent == [10.0, 10.0, 10.25, 10.5]
    assert pace.wait(5.0) == 0.25  # a clock that was set back


def test_a_pace_falls_by_a_half_at_most() -> None:
    """After the first fall, which is to what was accepted."""
    pace = Pace()
    pace.fall(40.0, 0.0)
    assert pace.fall(1.0, 0.0)
    assert pace.rate == 20.0
    assert not pace.fall(20.0, 0.0)


def test_a_pace_rises_by_steps_after_its_holds() -> None:
    """A twentieth at a time."""
    pace = Pace()
    pace.fall(20.0, 0.0)
    pace.accepted(2 * HOLD - 0.1)
    assert pace.rate == 20.0
    pace.accepted(2 * HOLD)
    assert pace.rate == 21.0
    pace.accepted(2 * HOLD + 0.9)
    assert pace.rate == 21.0
    pace.accepted(3 * HOLD)
    assert pace.rate == pytest.approx(22.0)


def test_a_pace_ends_once_nothing_waits_for_it() -> None:
    """Or when the endpoint was away, and nothing is known of it any more."""
    pace = Pace()
    pace.fall(20.0, 0.0)
    pace.take(0.0)
    assert pace.wait(0.01) > 0
    pace.accepted(UNUSED)
    assert pace.rate is not None
    pace.accepted(UNUSED + 1.1)
    assert pace.rate is None
    pace.fall(20.0, 100.0)
    pace.end()
    assert pace.rate is None
