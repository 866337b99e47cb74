"""The bytes of a callback (DESIGN.md section 7; Standard Webhooks 1.0.0)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.core import payload
from notifier.core.kept_json import KeptJson, KeptLabels
from notifier.core.machine import give_up, stall, step
from notifier.core.model import Event, EventType, LostReason, Observation, Phase, TaskError, Watch
from notifier.core.payload import body, encode, message_id, timestamp

SECOND = 1_000_000
ENDED_AT = 1_795_328_461_123_456  # 2026-11-22T06:21:01.123456Z
WATCH = Watch(
    pk=1,
    source="vidu",
    id="2370487727425660",
    created_at=ENDED_AT - 81_200_000,
    labels={"team": "video"},
    metadata={"order": 7},
    state="processing",
    phase=Phase.RUNNING,
    sequence=2,
)
SNAPSHOT = {"state": "success", "estimated_time_left": 0, "err_code": ""}
SAMPLE = """{"type": "task.succeeded",
 "timestamp": "2026-11-22T06:21:01.123456Z",
 "data": {
  "watch": {"source": "vidu", "id": "2370487727425660", "labels": {"team": "video"}, "metadata": {"order": 7}},
  "sequence": 3,
  "state": "success", "phase": "succeeded",
  "previous_state": "processing", "previous_phase": "running",
  "progress": null, "eta_seconds": null,
  "error": null,
  "result": null,
  "watched_seconds": 81.2,
  "task": {"state": "success", "estimated_time_left": 0, "err_code": ""}}}"""

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # half surrogate pairs included
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=15,
)


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


def read(raw: bytes) -> Any:
    """Parse as strictly as the specification allows: UTF-8, no constants beyond JSON's."""
    return json.loads(raw.decode("utf-8", "strict"), parse_constant=refuse)


def callback(observation: Observation) -> Any:
    (event,) = step(WATCH, observation, ENDED_AT).events
    return read(body(event))


def test_the_sample_of_the_documentation_comes_out_in_its_very_order() -> None:
    """Keys, their order and their values are a contract; only the blanks between them are not."""
    (event,) = step(WATCH, Observation(state="success", phase=Phase.SUCCEEDED, task=SNAPSHOT), ENDED_AT).events
    assert body(event) == json.dumps(json.loads(SAMPLE), separators=(",", ":")).encode()


def test_what_the_provider_tells_is_passed_on() -> None:
    """Progress and the estimate as given, the error with code and message, the result with its URLs."""
    data = callback(
        Observation(
            state="failed",
            phase=Phase.FAILED,
            progress=0.25,
            eta_seconds=12.5,
            error=TaskError(code="E7", message="Größe"),
            urls=("https://example.com/a", "https://example.com/b"),
            task={"state": "failed", "extra": [1, None]},
        )
    )["data"]
    assert (data["progress"], data["eta_seconds"]) == (0.25, 12.5)
    assert data["error"] == {"code": "E7", "message": "Größe"}
    assert data["result"] == {"urls": ["https://example.com/a", "https://example.com/b"]}
    assert data["task"] == {"state": "failed", "extra": [1, None]}


def test_a_result_whose_urls_end_says_when() -> None:
    """From the event on, as the provider promises."""
    observation = Observation(
        state="success", phase=Phase.SUCCEEDED, urls=("https://example.com/a",), urls_lifetime=600.0, task={}
    )
    assert callback(observation)["data"]["result"] == {
        "urls": ["https://example.com/a"],
        "expires_at": timestamp(ENDED_AT + 600 * SECOND),
    }


def test_the_time_that_the_provider_names_goes_before_the_lifetime_of_its_urls() -> None:
    observation = Observation(
        state="success",
        phase=Phase.SUCCEEDED,
        urls=("https://example.com/a",),
        urls_lifetime=600.0,
        urls_expire=1_786_406_400.0,
        task={},
    )
    assert callback(observation)["data"]["result"]["expires_at"] == "2026-08-11T00:00:00.000000Z"


def test_a_result_that_could_not_be_fetched_says_why() -> None:
    """The task has succeeded all the same."""
    observation = Observation(state="success", phase=Phase.SUCCEEDED, result_error="not within 120 s", task={})
    data = callback(observation)["data"]
    assert (data["result"], data["result_error"]) == (None, "not within 120 s")


@pytest.mark.parametrize(
    "observation",
    [
        Observation(state="success", phase=Phase.SUCCEEDED, task=SNAPSHOT),
        Observation(state="failed", phase=Phase.FAILED, error=TaskError(code="c", message="m")),
    ],
)
@pytest.mark.parametrize("metadata", [None, 7, "x", {"order": [7, {"é": None}]}])
def test_a_watch_that_keeps_its_description_as_text_is_told_alike(observation: Observation, metadata: Any) -> None:
    """The bytes are those of a watch that has it as values, for every kind of event."""
    labels = {"team": "é"}
    kept = replace(WATCH, labels=KeptLabels(json.dumps(labels)), metadata=KeptJson(json.dumps(metadata)))
    plain = replace(WATCH, labels=labels, metadata=metadata)
    (told,), (wanted,) = step(kept, observation, ENDED_AT).events, step(plain, observation, ENDED_AT).events
    assert body(told) == body(wanted)


def test_metadata_that_was_not_given_is_an_empty_object() -> None:
    """A receiver may look into it without asking first; other values are passed on as they are."""
    for given_, told in ((None, {}), ([], []), (0, 0), ("text", "text")):
        watch = Watch(pk=1, source="vidu", id="1", created_at=ENDED_AT, metadata=given_)
        (event,) = step(watch, Observation(state="queueing", phase=Phase.QUEUED), ENDED_AT).events
        assert read(body(event))["data"]["watch"] == {"source": "vidu", "id": "1", "labels": {}, "metadata": told}


def test_the_first_state_comes_from_null() -> None:
    """There is no previous state before the first."""
    watch = Watch(pk=1, source="vidu", id="1", created_at=ENDED_AT)
    (event,) = step(watch, Observation(state="queueing", phase=Phase.QUEUED), ENDED_AT).events
    data = read(body(event))["data"]
    assert (data["sequence"], data["previous_state"], data["previous_phase"]) == (1, None, None)


def test_a_loss_carries_its_reason_and_a_detail() -> None:
    """`watch.lost` says why, for programs and for people, beside all that a state change says."""
    (event,) = give_up(WATCH, LostReason.NOT_FOUND, "unknown for 60 s", ENDED_AT).events
    told = read(body(event))
    assert told["type"] == "watch.lost"
    data = told["data"]
    assert (data["reason"], data["detail"], data["sequence"]) == ("not_found", "unknown for 60 s", 3)
    assert (data["state"], data["phase"], data["task"]) == ("processing", "running", None)


def test_a_stall_says_for_how_long() -> None:
    """`watch.stalled` carries seconds."""
    (event,) = stall(WATCH, 60.0, ENDED_AT).events
    assert read(body(event))["data"]["stalled_seconds"] == 60.0


def test_an_event_for_operators_has_no_watch() -> None:
    """Its data is what it is about, and nothing of a task."""
    raw = body(Event(type=EventType.ENDPOINT_DISABLED, at=ENDED_AT, extra={"endpoint": "app", "reason": "http_410"}))
    assert read(raw) == {
        "type": "endpoint.disabled",
        "timestamp": "2026-11-22T06:21:01.123456Z",
        "data": {"endpoint": "app", "reason": "http_410"},
    }


def test_a_clock_that_went_back_does_not_make_a_watch_shorter_than_nothing() -> None:
    """`watched_seconds` is never negative."""
    watch = Watch(pk=1, source="vidu", id="1", created_at=ENDED_AT + 5 * SECOND)
    (event,) = step(watch, Observation(state="queueing", phase=Phase.QUEUED), ENDED_AT).events
    assert read(body(event))["data"]["watched_seconds"] == 0


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("ü€😀", '"ü€😀"'),
        ("\ud83d\ude00", '"😀"'),  # two halves that belong together
        ("a\ud800b", '"a\ufffdb"'),
        ("\udc00\ud800", '"\ufffd\ufffd"'),
        ({"\ud800": "\udfff"}, '{"\ufffd":"\ufffd"}'),
        ("\x00\x1f\u2028", '"\\u0000\\u001f\u2028"'),
        (float("nan"), "null"),
        ([float("inf"), {"a": float("-inf")}, ("x",), True], '[null,{"a":null},["x"],true]'),
        ([float("nan"), "\ud800"], '[null,"\ufffd"]'),
        (10**400, "1" + "0" * 400),
        ([10**5000, -(10**5000), 7, False], "[null,null,7,false]"),  # Python itself refuses to write these
        (1e300, "1e+300"),
    ],
)
def test_what_json_cannot_carry_is_replaced(value: Any, written: str) -> None:
    """Bytes that a strict parser takes come first: a message that nobody can read helps nobody."""
    assert encode(value).decode() == written


@given(ANY_JSON)
def test_any_value_becomes_valid_json(value: Any) -> None:
    """Whatever an upstream or a user sends along, the bytes are UTF-8 and JSON, and read back as Unicode text."""
    json.dumps(read(encode(value)), ensure_ascii=False).encode("utf-8", "strict")


@example(
    texts=["a", "1", "b", "c"],
    labels={},
    metadata=float("nan"),
    task={},
    progress=None,
    eta=None,
    watched=None,
    phase=Phase.RUNNING,
)
@given(
    texts=st.lists(ANY_TEXT, min_size=4, max_size=4),
    labels=st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2),
    metadata=ANY_JSON,
    task=ANY_JSON,
    progress=st.none() | st.floats(),
    eta=st.none() | st.floats(),
    watched=st.none() | st.integers(-SECOND, 10**13),
    phase=st.sampled_from(Phase),
)
def test_a_change_is_written_by_hand_as_the_encoder_would(
    texts: list[str],
    labels: dict[str, str],
    metadata: Any,
    task: Any,
    progress: float | None,
    eta: float | None,
    watched: int | None,
    phase: Phase,
) -> None:
    """Byte for byte, whatever it holds: ids and signatures are of these bytes."""
    source, task_id, state, before = texts
    watch = replace(WATCH, source=source, id=task_id, labels=labels, metadata=metadata, state=before or None)
    observation = Observation(state=state or "?", phase=phase, progress=progress, eta_seconds=eta, task=task)
    for event in step(watch, observation, ENDED_AT).events:
        assert event.watch is not None
        data = payload._watch_data(event, event.watch, watched)
        said = {"type": event.type.value, "timestamp": timestamp(event.at), "data": data}
        assert body(event, watched=watched) == encode(said)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=15,
    )
)
def test_a_value_that_json_can_carry_is_kept_exactly(value: Any) -> None:
    """Nothing is rounded, escaped or dropped that needs not be."""
    assert read(encode(value)) == value


@given(st.integers(0, 2**47), st.integers(0, 2**80 - 1))
def test_ids_have_one_form(milliseconds: int, entropy: int) -> None:
    """`msg_` and 32 hexadecimal digits: letters that are safe in a header, a URL and a log."""
    made = message_id(milliseconds * 1000 + 999, entropy)
    assert re.fullmatch(r"msg_[0-9a-f]{32}", made)
    assert int(made[4:], 16) == milliseconds << 80 | entropy


@given(st.integers(0, 2**55), st.integers(1, 2**55), st.integers(0, 2**80 - 1), st.integers(0, 2**80 - 1))
def test_ids_sort_by_time(earlier: int, gap: int, first: int, second: int) -> None:
    """An id of a later millisecond sorts after one of an earlier, whatever chance says."""
    later = earlier + 1000 * gap
    assert message_id(earlier, first) < message_id(later, second)


def test_more_entropy_than_there_is_room_for_does_not_change_the_time() -> None:
    """Excess bits are cut off."""
    assert message_id(ENDED_AT, 2**80 + 5) == message_id(ENDED_AT, 5)


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (ENDED_AT, "2026-11-22T06:21:01.123456Z"),
        (ENDED_AT - 123_456, "2026-11-22T06:21:01.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_written_in_utc_with_microseconds(at: int, written: str) -> None:
    """One width, so that texts sort as times do (RFC 3339 section 5.1)."""
    assert timestamp(at) == written
