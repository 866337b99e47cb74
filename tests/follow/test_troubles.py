"""Troubles of a source are logged once a kind and counted by watch; one watch's word does not undo another's."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from notifier.core.errors import NoContent, NoStream, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.reconnect import Ending
from notifier.follow.troubles import QUIET, SILENT, Troubles

Logs = list[MutableMapping[str, Any]]
BAD = Unreadable("the snapshot is not JSON", excerpt="<html>")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def troubles(clock: Clock) -> Troubles:
    return Troubles("vidu", now=clock)


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as entries:
        yield entries


def events(logs: Logs) -> list[str]:
    return [entry["event"] for entry in logs]


def test_a_kind_is_logged_once_and_counted_by_watch(troubles: Troubles, logs: Logs) -> None:
    """However many watches and connections have it; and its end once, when the last watch is well."""
    for _ in range(10):
        for pk in range(5):
            troubles.begin(pk, Refused("the upstream answers 401"), observed=False)
    assert troubles.counts == {"refused": 5}
    for pk in range(5):
        troubles.end(pk, proven=False)
    assert events(logs) == ["source.refused", "source.recovered"]
    assert logs[0]["error"] == "the upstream answers 401"
    assert logs[1]["after"] == ["refused"]
    assert troubles.counts == {}


def test_a_good_watch_does_not_speak_for_a_bad_one(troubles: Troubles, logs: Logs) -> None:
    """Twenty-six are well all the time, two are not; that is one line."""
    for turn in range(100):
        for pk in range(28):
            if pk < 2:
                troubles.begin(pk, BAD, observed=turn % 2 == 0)
            else:
                troubles.end(pk, proven=True)
    assert events(logs) == ["source.unreadable"]
    assert logs[0]["excerpt"] == "<html>"
    assert troubles.counts == {"unreadable": 2}


def test_a_snapshot_proves_nothing_where_the_trouble_comes_behind_it(troubles: Troubles, logs: Logs) -> None:
    """The same first snapshot comes on every connection; a change, or an orderly end, proves that it is over."""
    for _ in range(10):
        troubles.end(1, proven=False)
        troubles.begin(1, BAD, observed=True)
    assert events(logs) == ["source.unreadable"]
    troubles.end(1, proven=True)
    assert events(logs) == ["source.unreadable", "source.recovered"]


def test_a_trouble_that_goes_and_comes_is_logged_at_most_once_a_minute(
    troubles: Troubles, clock: Clock, logs: Logs
) -> None:
    """A line for each turn would be a line a second for ever."""
    for _ in range(round(QUIET) * 3):
        troubles.begin(1, Unavailable("503"), observed=False)
        troubles.end(1, proven=True)
        clock.now += 1.0
    assert events(logs) == ["source.unavailable", "source.recovered"] * 3


def test_streams_that_end_without_an_event_are_a_trouble(troubles: Troubles, clock: Clock, logs: Logs) -> None:
    """Not the first one, nor one that lasted; until a snapshot comes the source brings nothing."""
    silent = Ending(opened=True, silent=True, lasted=1.0)
    troubles.ended(1, silent, attempts=0, longest=30.0)
    troubles.ended(1, replace(silent, lasted=30.0), attempts=5, longest=30.0)
    assert events(logs) == []
    for _ in range(3):
        troubles.ended(1, silent, attempts=1, longest=30.0)
    assert troubles.counts == {"unavailable": 1}
    assert (troubles.fault, troubles.failing_since) == (SILENT, clock.now)
    troubles.ended(1, Ending(opened=True, observed=True), attempts=1, longest=30.0)
    assert events(logs) == ["source.unavailable", "source.recovered"]
    assert troubles.fault is None


def test_each_kind_speaks_for_itself(troubles: Troubles, logs: Logs) -> None:
    """Two kinds at a time are two lines; kinds that are one watch's own are none."""
    for error in (Refused("401"), Unavailable("503"), TaskNotFound("404"), NoContent(), NoStream()):
        troubles.begin(1, error, observed=False)
    assert troubles.counts == {"refused": 1, "unavailable": 1, "no_content": 1}
    troubles.end(1, proven=False)
    assert events(logs) == ["source.refused", "source.unavailable", "source.no_content", "source.recovered"]
    assert logs[3]["after"] == ["no_content", "refused", "unavailable"]


@pytest.mark.parametrize("error", [Refused("401"), BAD, Unavailable("503")])
def test_a_watch_that_is_given_up_is_no_recovery(troubles: Troubles, logs: Logs, error: SourceError) -> None:
    """It is not counted any more; the next watch that reports says that the source is well."""
    troubles.begin(1, error, observed=False)
    troubles.forget(1)
    assert troubles.counts == {}
    assert events(logs) == [f"source.{error.kind}"]
    troubles.end(2, proven=False)
    assert events(logs) == [f"source.{error.kind}", "source.recovered"]


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (Refused("401", status=401), "check the source's token"),
        (Refused("400", status=400), "the task's id"),
        (Refused("402", status=402), "account"),
        (Refused("403", status=403), "may see"),
        (Refused("422", status=422), "the task's id"),
        (Refused("451", status=451), "check the source's url and headers"),
        (Unavailable("429", status=429), "connect_rate"),
        (Unavailable("503", status=503), "trying again"),
        (Unavailable("cannot connect"), "trying again"),
        (BAD, "paths and states"),
        (NoContent(status=204), "deadline"),
    ],
)
def test_the_hint_fits_the_status(troubles: Troubles, logs: Logs, error: SourceError, hint: str) -> None:
    """Of every refusal only 401 means the token."""
    troubles.begin(1, error, observed=False)
    assert hint in logs[0]["hint"]
    assert (logs[0]["hint"] == "check the source's token") is (error.status == 401)
