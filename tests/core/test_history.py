"""Of the first burst of a stream that was connected again, history makes no events, and news makes all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.history import MAX_NEWS, Replay
from notifier.core.model import Observation, Phase, Watch

PHASES = {"success": Phase.SUCCEEDED, "failed": Phase.FAILED}
TASK = ["queued", "running", "upscaling", "success"]


def observation(state: str, event_id: str = "") -> Observation:
    return Observation(state=state, phase=PHASES.get(state, Phase.RUNNING), event_id=event_id)


def known(state: str) -> Watch:
    return Watch(
        pk=1, source="s", id="1", created_at=0, state=state, phase=PHASES.get(state, Phase.RUNNING), sequence=1
    )


def news(watch: Watch, last_event_id: str, burst: list[Observation]) -> list[str | None]:
    replay = Replay(watch, last_event_id)
    for each in burst:
        replay.add(each)
    return [each.state for each in replay.news()]


def numbered(*states: str, start: int = 1) -> list[Observation]:
    return [observation(state, str(number)) for number, state in enumerate(states, start)]


@pytest.mark.parametrize(("last", "expected"), [(2, ["upscaling", "success"]), (3, ["success"])])
def test_without_ids_the_known_state_tells_where_history_ends(last: int, expected: list[str]) -> None:
    """Everything behind its last occurrence was missed."""
    burst = [observation(state) for state in TASK]
    assert news(known(TASK[last - 1]), "", burst) == expected
    assert news(known(TASK[last - 1]), "", [*burst[:3], *burst]) == expected
    assert news(known(TASK[last - 1]), "", burst[:last]) == [TASK[last - 1]]


@pytest.mark.parametrize("end", range(1, 5))
def test_without_ids_and_the_known_state_everything_is_news(end: int) -> None:
    """A history would hold the state that the watch knows; a state that moved backwards meanwhile is a change."""
    assert news(known("starting"), "", [observation(state) for state in TASK[:end]]) == TASK[:end]


@pytest.mark.parametrize("end", [2, 3])
@pytest.mark.parametrize(
    ("began", "expected"),
    [
        (["queued", "running"], []),  # cut before it came to what is known
        (["running", "queued"], TASK),
        (["queued"], TASK),
        ([], TASK),
        (None, ["last"]),
    ],
)
def test_a_history_that_was_cut_short(end: int, began: list[str] | None, expected: list[str]) -> None:
    """It begins as the watch began; a stream that did not end there tells the present, and news ends as it likes."""
    burst = [observation(state) for state in TASK[:end]]
    replay = Replay(known("other"), "", began)
    for each in [*burst[:1], *burst]:
        replay.add(each)
    told = [each.state for each in replay.news(ended=True)]
    assert told == (TASK[end - 1 : end] if expected == ["last"] else expected[:end])
    assert [each.state for each in replay.news()] == TASK[:end]


@pytest.mark.parametrize("burst", [["queued"], ["queued", "running", "other", "upscaling"], TASK])
def test_a_stream_that_ends_and_was_not_cut_short(burst: list[str]) -> None:
    """The present alone, what is known, or the end of the task: each is told by the rules for a stream that goes on."""
    replay = Replay(known("other"), "", TASK[:2])
    for state in burst:
        replay.add(observation(state))
    assert replay.news(ended=True) == replay.news()


def test_an_upstream_that_repeats_its_history_with_ids() -> None:
    """Everything behind the ID that was sent is news; if it is the last one, only a repeat is left."""
    assert news(known("running"), "2", numbered(*TASK)) == ["upscaling", "success"]
    assert news(known("upscaling"), "3", numbered("queued", "running", "upscaling")) == ["upscaling"]
    assert news(known("running"), "2", numbered("queued", "running", "queued", "running")) == ["queued", "running"]


def test_an_upstream_that_goes_on_behind_the_id() -> None:
    """Everything that it sends was missed."""
    assert news(known("running"), "2", numbered("upscaling", "success", start=3)) == ["upscaling", "success"]
    assert news(known("running"), "2", numbered("running", "upscaling", "success", start=3)) == ["upscaling", "success"]


def test_ids_that_are_new_on_each_connection() -> None:
    """The known state tells where history ends."""
    burst = [observation(state, f"random-{state}") for state in TASK]
    assert news(known("running"), "another", burst) == ["upscaling", "success"]
    assert news(known("upscaling"), "another", burst[:3]) == ["upscaling"]


def test_an_id_that_is_sent_once_for_all() -> None:
    """An event without an ID keeps the one before, by specification: the present counts all the same."""
    burst = [observation(state, "1") for state in TASK]
    assert news(known("upscaling"), "1", burst) == ["success"]
    assert news(known("upscaling"), "1", burst[:2]) == ["running"]


def test_ids_that_come_and_go() -> None:
    """The known state tells where history ends."""
    burst = [observation("queued", "a"), observation("running"), observation("upscaling", "b")]
    assert news(known("other"), "x", burst) == ["queued", "running", "upscaling"]
    assert news(known("running"), "x", burst) == ["upscaling"]


@pytest.mark.parametrize("ids", [True, False])
def test_nothing_counts_behind_the_end(ids: bool) -> None:
    """The first terminal snapshot is the last one that is looked at."""
    states = ["queued", "failed", "queued", "success"]
    burst = numbered(*states, start=7) if ids else [observation(state) for state in states]
    replay = Replay(known("running"), "6" if ids else "")
    for each in burst:
        replay.add(each)
    assert replay.over
    assert [each.state for each in replay.news()] == ["queued", "failed"]


def test_the_newest_snapshot_of_a_state_counts() -> None:
    """Progress moves while the state stays."""
    first, second = (
        observation("running", "3"),
        Observation(state="running", phase=Phase.RUNNING, progress=0.5, event_id="4"),
    )
    replay = Replay(known("queued"), "2")
    replay.add(first)
    replay.add(second)
    assert list(replay.news()) == [second]


def test_a_long_history_is_not_kept() -> None:
    """More changes than anybody would want to be told of late are one."""
    burst = [observation(f"state {number}", f"id {number}") for number in range(MAX_NEWS + 1)]
    assert len(news(known("running"), "x", burst[:-1])) == MAX_NEWS
    assert news(known("running"), "x", burst) == [f"state {MAX_NEWS}"]
    assert news(known("running"), "x", [*burst, *burst]) == [f"state {MAX_NEWS}"]


def test_an_empty_burst_is_no_news() -> None:
    """A stream that breaks before its first snapshot."""
    replay = Replay(known("running"), "1")
    assert not replay.began
    assert list(replay.news()) == []


@given(
    st.lists(st.tuples(st.sampled_from([*TASK[:3], "other"]), st.sampled_from(["", "1", "2", "3", "4"])), max_size=40),
    st.sampled_from(["", "1", "2"]),
)
def test_the_present_always_counts(burst: list[tuple[str, str]], sent: str) -> None:
    """Whatever IDs there are, the last snapshot is among the news, as the last of them."""
    observations = [observation(state, event_id) for state, event_id in burst]
    found = news(known("running"), sent, observations)
    assert found[-1:] == [each.state for each in observations[-1:]]
    assert len(found) <= MAX_NEWS
