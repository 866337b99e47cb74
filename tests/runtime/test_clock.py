"""The time that everything is dated by, and whose it is."""

from __future__ import annotations

import time

import pytest

from notifier.runtime.clock import TOLERANCE, Clock

DAY = 86_400_000_000  # microseconds


def leap(monkeypatch: pytest.MonkeyPatch, micros: int) -> None:
    """Have somebody set this machine's clock."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + micros * 1000)


def near(one: int, other: int) -> bool:
    return abs(one - other) < TOLERANCE


def test_it_is_this_machines_time_until_a_database_tells_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = time.time_ns() // 1000
    assert near(clock(), before)
    leap(monkeypatch, DAY)
    assert near(clock(), before + DAY)


def test_what_a_database_told_outlives_a_leap_of_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = clock()
    clock.correct(before + 60_000_000, before, before)
    leap(monkeypatch, DAY)
    assert near(clock(), before + 60_000_000)
    clock.correct(clock() - 30_000_000, clock(), clock())
    assert near(clock(), before + 30_000_000)


def test_a_difference_that_the_network_explains_is_none() -> None:
    clock = Clock()
    asked = clock()
    clock.correct(asked + 400_000, asked, asked + 800_000)
    assert near(clock(), asked)


# -- durations


def sleep(monkeypatch: pytest.MonkeyPatch, micros: int) -> None:
    """Let time pass on both clocks of the machine."""
    uptime, wall = time.clock_gettime_ns, time.time_ns
    monkeypatch.setattr(time, "clock_gettime_ns", lambda number: uptime(number) + micros * 1000)
    monkeypatch.setattr(time, "time_ns", lambda: wall() + micros * 1000)


HOUR = 3_600_000_000


@pytest.mark.parametrize("by", [DAY, -DAY, 400 * DAY, -400 * DAY, 2 * HOUR, -5 * HOUR])
def test_a_duration_outlives_a_leap(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    """Of dates from before the clock was made, before the leap, and after it."""
    clock = Clock()
    old, start = clock() - HOUR, clock()
    sleep(monkeypatch, HOUR)
    leap(monkeypatch, by)
    after = clock()
    assert near(after - start, HOUR + by), "dates follow"
    sleep(monkeypatch, HOUR)
    now = clock()
    assert near(clock.elapsed(start, now), 2 * HOUR)
    assert near(clock.elapsed(old, now), 3 * HOUR)
    assert near(clock.elapsed(after, now), HOUR)
    assert clock.elapsed(now, start) == 0


def test_leaps_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back, and more often than is remembered."""
    clock, began = Clock(), time.perf_counter()
    dates = [clock()]
    for by in (DAY, -3 * DAY, 2 * DAY, *(((-1) ** n) * HOUR for n in range(80))):
        sleep(monkeypatch, HOUR)
        leap(monkeypatch, by)
        dates.append(clock())
    now = clock()
    for ago in range(20):  # a date that the clock showed several times counts as the latest of them
        passed = (time.perf_counter() - began) * 1e6  # by itself, on a busy machine
        assert clock.elapsed(dates[-1 - ago], now) <= ago * HOUR + passed + TOLERANCE
    assert near(clock.elapsed(dates[-1], now), 0)


def test_it_tells_which_dates_it_showed_between_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest first; of the present ones the last is now."""
    clock = Clock()
    before = clock.era
    assert clock.eras_after(before) == ()
    dates = []
    for by in (DAY, -3 * DAY):
        leap(monkeypatch, by)
        dates.append(clock())
        sleep(monkeypatch, HOUR)
    (latest, now), (middle, last) = clock.eras_after(before)
    assert near(latest.first, dates[1])
    assert near(now, dates[1] + HOUR)
    assert near(middle.first, dates[0])
    assert near(last, dates[0] + HOUR)
    assert [era for era, _ in clock.eras_after(middle)] == [latest]


@pytest.mark.parametrize("by", [DAY, -DAY])
def test_what_ends_now_has_a_date_of_the_present_era(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    """A date of the era itself stays."""
    clock = Clock()
    began = clock()
    assert clock.dated(began, clock()) == began
    leap(monkeypatch, by)
    now = clock()
    assert clock.era.first <= clock.dated(began, now) <= now
    assert clock.dated(now, clock()) == now


def test_a_database_that_is_set_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's first difference from it is no leap, the next one is."""
    clock = Clock()
    machine = clock()
    clock.correct(machine - DAY, machine, machine)
    start, old = clock(), clock() - HOUR
    assert near(start, machine - DAY)
    assert near(clock.elapsed(old, start), HOUR), "another node wrote it, by the database's clock"
    era = clock.era
    sleep(monkeypatch, HOUR)
    asked = clock()
    clock.correct(asked + 5 * DAY, asked, asked)
    assert clock.era != era
    assert near(clock.elapsed(start, clock()), HOUR)
    assert near(clock.elapsed(old, clock()), 2 * HOUR)


def test_a_clock_that_is_adjusted_does_not_leap(monkeypatch: pytest.MonkeyPatch) -> None:
    """NTP moves it by milliseconds, which change no era."""
    clock = Clock()
    era = clock.era
    leap(monkeypatch, 100_000)
    assert clock.era == era


def test_a_date_to_come_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was written by a clock that has been set back since; whether that was seen or not."""
    clock = Clock()
    future = clock() + DAY
    assert clock.elapsed(future, clock()) == 0
    leap(monkeypatch, HOUR)
    assert clock.elapsed(future, clock()) == 0


@pytest.mark.parametrize("by", [40 * DAY, -40 * DAY])
def test_what_is_recent_stays_recent(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    """No date of the last days is before the earliest of them, whichever era it is of; older ones are in the end."""
    clock = Clock()
    assert near(clock.since(DAY), clock() - DAY)
    before = clock()
    sleep(monkeypatch, HOUR)
    leap(monkeypatch, by)
    after = clock()
    sleep(monkeypatch, HOUR)
    assert clock.since(3 * HOUR) <= min(before, after)
    assert near(clock.since(HOUR // 2), clock() - HOUR // 2), "the time before the leap is over"
    sleep(monkeypatch, 2 * DAY)
    assert near(clock.since(DAY), clock() - DAY)
