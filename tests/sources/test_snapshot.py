"""Reading snapshots: what each preset field means, and that no upstream can make it raise or return anything unsafe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from notifier.core.errors import Unreadable
from notifier.core.model import Json, Observation, Phase, TaskError
from notifier.sources.document import MAX_DEPTH
from notifier.sources.preset import Preset
from notifier.sources.snapshot import MAX_STATE, MAX_UNKNOWN, SnapshotReader

STATES = {
    "queued": ["created", "0"],
    "running": ["busy"],
    "succeeded": ["done", "true"],
    "failed": ["bad"],
    "canceled": ["stopped"],
}


def reader(**fields: Any) -> SnapshotReader:
    preset = Preset.model_validate({"url": "http://upstream.example/{id}", "states": STATES, **fields})
    return SnapshotReader(source="upstream", preset=preset)


def read(snapshot: Json, *, failure_if_present: tuple[str, ...] = (), **paths: str) -> Observation:
    return reader(paths=paths, failure_if_present=failure_if_present).read(json.dumps(snapshot).encode())


# -- state and phase


@pytest.mark.parametrize(
    ("state", "phase"),
    [("created", Phase.QUEUED), ("busy", Phase.RUNNING), ("done", Phase.SUCCEEDED), ("bad", Phase.FAILED)],
)
def test_phase_is_looked_up(state: str, phase: Phase) -> None:
    """The preset's table says what a state means."""
    observation = read({"state": state})
    assert (observation.state, observation.phase) == (state, phase)


@pytest.mark.parametrize("state", ["new to us", "DONE", "done ", "失敗"])
def test_an_unknown_state_is_running(state: str) -> None:
    """A state that the table does not have, exactly so, counts as running."""
    observation = read({"state": state})
    assert (observation.state, observation.phase) == (state, Phase.RUNNING)


def test_unknown_states_are_told_once_and_not_for_ever() -> None:
    """Each unknown state is logged once, up to a bound."""
    here = reader()
    with capture_logs() as logs:
        for number in range(MAX_UNKNOWN + 5):
            for _ in range(2):
                here.read(json.dumps({"state": f"odd {number}"}).encode())
    assert [entry["state"] for entry in logs] == [f"odd {number}" for number in range(MAX_UNKNOWN)]
    assert {(entry["event"], entry["source"]) for entry in logs} == {("source.unknown_state", "upstream")}


@pytest.mark.parametrize(
    ("value", "state", "phase"),
    [
        (0, "0", Phase.QUEUED),
        (True, "true", Phase.SUCCEEDED),
        (False, "false", Phase.RUNNING),
        (1.5, "1.5", Phase.RUNNING),
    ],
)
def test_a_state_that_is_no_string(value: Json, state: str, phase: Phase) -> None:
    """Numbers and booleans are states as JSON writes them."""
    observation = read({"state": value})
    assert (observation.state, observation.phase) == (state, phase)


@pytest.mark.parametrize("value", [None, "", [], {}, ["done"], {"state": "done"}, "x" * (MAX_STATE + 1), 10**MAX_STATE])
def test_what_is_no_state(value: Json) -> None:
    """Null, nothing, containers and whole texts are no state."""
    with pytest.raises(Unreadable):
        read({"state": value})


@pytest.mark.parametrize("snapshot", [{}, [], None, 1, "done", {"State": "done"}, [{"state": "done"}]])
def test_no_state(snapshot: Json) -> None:
    """A snapshot without a state where the preset says is unreadable."""
    with pytest.raises(Unreadable, match="no state"):
        read(snapshot)


def test_state_by_path() -> None:
    """The state's path may be nested, or any JMESPath."""
    task = {"data": {"task": {"status": "busy"}, "log": [{"s": "created"}, {"s": "done"}]}}
    assert read(task, state="data.task.status").state == "busy"
    assert read(task, state="data.log[-1].s").state == "done"
    assert read(task, state="data.missing.status || data.task.status").state == "busy"


# -- failure_if_present


@pytest.mark.parametrize("value", ["boom", 0, 1, {"code": 1}, ["x"], True])
def test_failure_if_present(value: Json) -> None:
    """Anything that is there makes a task failed that is not over."""
    observation = read({"state": "busy", "error": value}, failure_if_present=("other", "error"))
    assert (observation.state, observation.phase) == ("busy", Phase.FAILED)


@pytest.mark.parametrize("value", [None, "", [], {}, False])
def test_no_failure_if_empty(value: Json) -> None:
    """Null, false and what is empty is not there."""
    assert read({"state": "busy", "error": value}, failure_if_present=("error",)).phase is Phase.RUNNING
    assert read({"state": "busy"}, failure_if_present=("error",)).phase is Phase.RUNNING


@pytest.mark.parametrize("error", ["boom", {"code": 3}, ["x"], True])
def test_an_error_outweighs_success(error: Json) -> None:
    """A task that is done with an error has failed; a failed or canceled one stays as its state says."""

    def phase(state: str) -> Phase:
        return read({"state": state, "error": error}, failure_if_present=("error",)).phase

    assert {phase(state) for state in ("done", "busy", "created", "never heard of")} == {Phase.FAILED}
    assert (phase("bad"), phase("stopped")) == (Phase.FAILED, Phase.CANCELED)
    assert read({"state": "done", "error": error}).phase is Phase.SUCCEEDED  # the preset does not name it


@pytest.mark.parametrize(
    ("snapshot", "error"),
    [
        ({"error": {"code": "content_policy", "message": "refused"}}, ("content_policy", "refused")),
        ({"error": {"type": "quota", "detail": "used up"}}, ("quota", "used up")),
        ({"error": {"code": 404, "status": "NOT_FOUND"}}, ("404", None)),
        ({"error": "no such task"}, (None, "no such task")),
        ({"error": ["x"]}, (None, '["x"]')),
        ({"error": {"left": 3}}, None),
        ({"state": None, "error": {"message": "refused"}}, (None, "refused")),
        ({"state": "", "error": 7}, (None, "7")),
        ({"state": {"not": "text"}, "error": True}, None),
    ],
)
def test_an_error_without_a_state(snapshot: Json, error: tuple[str | None, str | None] | None) -> None:
    """It is a failure by `failure_if_present`, with the provider's words, and unreadable without."""
    observation = read(snapshot, failure_if_present=("error",))
    assert (observation.state, observation.phase) == (None, Phase.FAILED)
    assert observation.error == (error and TaskError(code=error[0], message=error[1]))
    assert observation.task == snapshot
    with pytest.raises(Unreadable):
        read(snapshot)


def test_the_paths_of_an_error_come_first() -> None:
    """What the preset says of code and message holds; a guess is made only where it says nothing."""
    snapshot = {"error": {"code": 1, "message": "no"}, "why": {"id": "E7", "text": "refused"}}
    observation = read(snapshot, failure_if_present=("error",), error_code="why.id", error_message="why.text")
    assert observation.error == TaskError(code="E7", message="refused")


# -- progress, eta, error, result


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0.0), (37, 37.0), (0.5, 0.5), (-1, -1.0), ("37", 37.0), (" 37.5 ", 37.5), ("50%", 50.0), ("1e2", 100.0),
        (True, None), (False, None), (None, None), ("", None), ("half", None), ("nan", None), ("inf", None),
        ("1_0", None), ("\u0663", None), ([1], None), ({}, None), (10**400, None), ("9" * 101, None), ("1e999", None),
        ([1, 4], 0.25), ([0, 4], 0.0), ([1, 0], None), ([1, None], None), ([1e308, 1e-308], None), ([10**400, 4], None),
    ],
)  # fmt: skip
def test_progress(value: Json, number: float | None) -> None:
    """Progress is a finite number, a text that is one, or two counts; anything else is none."""
    assert read({"state": "busy", "p": value}, progress="p").progress == number


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(12, 12.0), (0.5, 0.5), ("12", 12.0), (0, None), (-3, None), ("", None), (None, None), (True, None)],
)
def test_eta(value: Json, seconds: float | None) -> None:
    """An estimate is a positive number of seconds; 0 means unknown."""
    assert read({"state": "busy", "eta": value}, eta="eta").eta_seconds == seconds


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        ("E1", "boom", TaskError(code="E1", message="boom")),
        ("E1", "", TaskError(code="E1")),
        (None, "boom", TaskError(message="boom")),
        (1001, None, TaskError(code="1001")),
        ("", "", None),
        (None, None, None),
        (0, "", None),
        (False, True, None),
        ({"a": 1}, {}, None),
        ({"a": 1}, ["x"], TaskError(message='["x"]')),
        (None, {"code": 502, "message": "no provider"}, TaskError(code="502", message="no provider")),
        ("E1", {"type": "quota", "detail": "used up"}, TaskError(code="E1", message="used up")),
        (None, {"reasons": ["é", 1]}, TaskError(message='{"reasons":["é",1]}')),
        (None, {"code": "E2", "at": 7}, TaskError(code="E2", message='{"code":"E2","at":7}')),
    ],
)
def test_error(code: Json, message: Json, error: TaskError | None) -> None:
    """Code and message are told where they say anything, whatever the phase and the form."""
    for state in ("busy", "bad"):
        observation = read({"state": state, "e": {"c": code, "m": message}}, error_code="e.c", error_message="e.m")
        assert observation.error == error


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("http://x/1", ("http://x/1",)),
        (["http://x/1", "http://x/2"], ("http://x/1", "http://x/2")),
        ([["a"], [["b"], "c"], []], ("a", "b", "c")),
        (["a", None, 1, {"url": "b"}, ""], ("a",)),
        ("", ()),
        (None, ()),
        ({"url": "a"}, ()),
    ],
)
def test_result(value: Json, urls: tuple[str, ...]) -> None:
    """The result is the strings found, flattened."""
    assert read({"state": "done", "r": value}, result="r").urls == urls


def test_result_by_projection() -> None:
    """A projection collects the addresses."""
    task = {"state": "done", "videos": [{"url": "a"}, {"url": None}, {"url": "b"}]}
    assert read(task, result="videos[*].url").urls == ("a", "b")


@pytest.mark.parametrize(
    ("value", "expire"),
    [
        (1_786_406_400, 1_786_406_400.0), (1_786_406_400_000, 1_786_406_400.0), ("1786406400", 1_786_406_400.0),
        ("2026-08-11T00:00:00Z", 1_786_406_400.0), ("2026-08-11T02:00:00+02:00", 1_786_406_400.0),
        ("2026-08-11T00:00:00", 1_786_406_400.0), (["2026-08-12T00:00:00Z", None, 1_786_406_400], 1_786_406_400.0),
        (3600, None), (-1, None), ("soon", None), ("", None), (None, None), ([], None), ([[1_786_406_400]], None),
        (10**400, None), (1e300, None), ("9999-12-31T23:59:59Z", 253_402_300_799.0), (True, None), ({}, None),
    ],
)  # fmt: skip
def test_the_time_at_which_a_result_expires(value: Json, expire: float | None) -> None:
    """A time that a date can name, or nothing; of several the earliest."""
    assert read({"state": "done", "until": value}, result_expires="until").urls_expire == expire


def test_the_snapshot_is_kept_whole() -> None:
    """`task` is what the provider sent."""
    task = {"state": "busy", "extra": [1, 1.5, None, True, {"ü": "東"}]}
    assert read(task).task == task


# -- safety


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b'{"state":', b"[DONE]", b"state", b"{'state':'done'}", b'{"state":"done"} x',
        b'{"state":NaN}', b'{"state":"done","n":nan}', b'{"state":"done","n":.5}', b'{"state":"done",}',
        b'{"state":"done"}\0{}', b'{"state":"done\\', b"\xff\xfe", b"[" * 100_000,
        b'{"state":"done","n":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}",
        b'{"a":' * 100_000, b"\xef\xbb\xbf\xef\xbb\xbf{}",
    ],
    ids=lambda data: data[:20],
)  # fmt: skip
def test_what_is_not_json(data: bytes) -> None:
    """Text that is not JSON (RFC 8259), apart from what careless writers send, is unreadable."""
    with pytest.raises(Unreadable) as caught:
        reader().read(data)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"NaN", None), (b"Infinity", None), (b"-Infinity", None), (b"1e999", None),
        (b"[-1e999, NaN, 2]", [None, None, 2]),
        (b"9" * 5000, None), (b"-" + b"9" * 5000, None), (b"9" * 400, int("9" * 400)),
        (b'"a\tb\x01\x1f\x7f"', "a\tb\x01\x1f\x7f"), (b'"two\nlines"', "two\nlines"), (b'"a\0b"', "a\ufffdb"),
        (rb'"C:\dir\u12"', r"C:\dir\u12"), (rb'"it\'s"', r"it\'s"), (rb'"\x41\n\\x"', "\\x41\n\\x"),
        (rb'"\\\q"', r"\\q"),
    ],
    ids=lambda part: str(part)[:20],
)  # fmt: skip
def test_what_careless_writers_send_is_read(written: bytes, value: Json) -> None:
    """Python and PHP write such things; the state beside them counts, and what is passed on is JSON."""
    observation = reader().read(b'\0 {"state": "done", "score": ' + written + b"}\0\n")
    assert observation.phase is Phase.SUCCEEDED
    assert observation.task == {"state": "done", "score": value}
    assert json.loads(json.dumps(observation.task, allow_nan=False)) == observation.task


def test_strings_are_text() -> None:
    """Lone surrogates and NUL, which no database takes, become U+FFFD everywhere; true pairs stay."""
    data = rb'{"state":"a\u0000b\ud800","x":{"k\uDFFF":["\u0000"]},"ok":"\ud83c\udfac\\u0000","n":[1,null]}'
    observation = reader().read(data)
    assert observation.state == "a\ufffdb\ufffd"
    assert observation.task == {
        "state": "a\ufffdb\ufffd",
        "x": {"k\ufffd": ["\ufffd"]},
        "ok": "🎬\\u0000",
        "n": [1, None],
    }


PATHS = {
    "state": "state",
    "progress": "a",
    "eta": "to_number(b)",
    "error_code": "error.code",
    "error_message": "error || a[0]",
    "result": "a[*].b[]",
}
keys = st.sampled_from(["state", "a", "b", "error", "code", "é"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["done", "\ud800\0"])
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5))
texts = values.map(lambda value: json.dumps(value).encode())
states = st.fixed_dictionaries({"state": scalars}, optional={"a": values, "b": values, "error": values})


@settings(max_examples=500, deadline=None)
@given(data=texts | states.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
def test_nothing_unsafe_is_returned_and_nothing_else_raised(data: bytes) -> None:
    """Whatever arrives is Unreadable or becomes values that can be stored as UTF-8 JSON without NUL."""
    try:
        observation = reader(paths=PATHS, failure_if_present=["error", "a > b"]).read(data)
    except Unreadable:
        return
    for value in (observation.task, observation.state, observation.urls, observation.progress, observation.eta_seconds):
        written = json.dumps(value, allow_nan=False, ensure_ascii=False)
        written.encode("utf-8")
        assert (
            "\0" not in json.loads(written) if isinstance(value, str) else "\\u0000" not in written.replace("\\\\", "")
        )
    assert observation.eta_seconds is None or observation.eta_seconds > 0
