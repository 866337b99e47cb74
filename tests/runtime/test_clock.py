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
