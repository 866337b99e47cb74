"""The judge itself: for each rule a record that keeps it, and one that breaks it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest

from judge import Case, Did, Entry, Received, RecordError, Rows, Said, Terms, entries, parse, verdict, write
from judge.database import DeliveryRow, EventRow, WatchRow

STATES = {1: ("queueing", "queued"), 2: ("processing", "running"), 3: ("success", "succeeded")}
LAST = len(STATES)


def snapshot(number: int) -> dict[str, Any]:
    """Return what the upstream says in the task's state of a number."""
    return {"state": STATES[number][0], "serial": number}


def body(number: int, **changed: Any) -> str:
    """Return the body of the callback about that state."""
    state, phase = STATES[number]
    before = STATES.get(number - 1, (None, None))
    kind = f"task.{phase}" if phase == "succeeded" else "task.state_changed"
    data = {
        "watch": {"source": "vidu", "id": "1"},
        "sequence": number,
        "state": state,
        "phase": phase,
        "previous_state": before[0],
        "previous_phase": before[1],
        "task": snapshot(number),
    }
    return json.dumps({"type": changed.pop("type", kind), "data": data | changed})


def said(number: int, at: float | None = None, **changed: Any) -> Said:
    """Return the upstream's sentence."""
    state, phase = STATES[number]
    given: dict[str, Any] = {
        "at": float(number) if at is None else at,
        "source": "vidu",
        "task": "1",
        "connection": 1,
        "state": state,
        "phase": phase,
        "body": snapshot(number),
    }
    return Said(**(given | changed))


def received(number: int, at: float | None = None, **changed: Any) -> Received:
    """Return the arrival of its callback, half a second later."""
    when = number + 0.5 if at is None else at
    given: dict[str, Any] = {
        "at": when,
        "endpoint": "app",
        "webhook_id": f"msg_{number}",
        "timestamp": int(when),
        "body": body(number),
        "verified": True,
        "answer": 200,
        "node": "a",
    }
    return Received(**(given | changed))


def rows(last: int = LAST, *, status: str = "delivered", **changed: Any) -> Rows:
    """Return the rows of a watch that has come to a state."""
    state, phase = STATES[last]
    watch: dict[str, Any] = {
        "pk": 7,
        "source": "vidu",
        "id": "1",
        "endpoints": None,
        "state": state,
        "phase": phase,
        "sequence": last,
        "ended": phase == "succeeded",
        "lost": None,
        "removed": False,
    }
    events = [
        EventRow(pk=n, id=f"msg_{n}", watch=7, sequence=n, type=json.loads(body(n))["type"], body=body(n))
        for n in range(1, last + 1)
    ]
    deliveries = [
        DeliveryRow(id=n, event=n, endpoint="app", status=status, attempt=1, reason=None) for n in range(1, last + 1)
    ]
    return Rows(watches=[WatchRow(**(watch | changed))], events=events, deliveries=deliveries)


def good() -> list[Entry]:
    """Return a record without fault."""
    return [entry for number in STATES for entry in (said(number), received(number))]


def found(record: Sequence[Entry], left: Rows | None = None, terms: Terms | None = None) -> list[str]:
    """Return the rules that were broken, once each."""
    case = Case(record, rows() if left is None else left, terms or Terms())
    return list(dict.fromkeys(finding.rule for finding in verdict(case)))


def test_a_record_is_read_as_it_was_written() -> None:
    """A last line that was not finished is left out, and what is no line is refused."""
    record = [*good(), Did(at=9.0, action="kill", node="a", detail={"why": "ü"})]
    text = io.StringIO()
    for entry in record:
        write(entry, text)
    assert list(entries(io.StringIO(text.getvalue() + '{"kind": "sai'))) == record
    for wrong in ('{"kind": "shouted"}', "[]", "{", '{"kind": "did", "at": 1, "action": "dance"}'):
        with pytest.raises(RecordError):
            parse(wrong)


def test_silence_where_all_is_well() -> None:
    """Nothing is found in a run without fault."""
    assert found(good()) == []


def test_order() -> None:
    """First arrivals count on; a repeat of an old message is none of them."""
    first, third = received(1), received(3)
    swapped: list[Entry] = [said(1), said(2), said(3), first, received(3, 3.6), received(2, 3.7)]
    assert "order" in found(swapped)
    again = received(1, 3.8)
    assert found([*good(), Did(at=3.7, action="kill", node="a"), again]) == []
    assert "gap" in found([said(1), said(2), said(3), first, third])


def test_one_id_one_body() -> None:
    """A message is the same bytes under the same id whenever it comes."""
    refused = received(1, 1.4, answer=500)
    assert found([said(1), refused, *good()[1:]]) == []
    assert "body" in found([said(1), received(1, 1.4, answer=500, body=body(1, progress=0.5)), *good()[1:]])
    assert "id" in found([said(1), received(1, 1.4, answer=500, webhook_id="msg_0"), *good()[1:]])


def test_repeats() -> None:
    """What was accepted comes again only if something befell the one who had sent it, or an operator asked for it."""
    assert "repeat" in found([*good(), received(3, 4.0)])
    for did in (
        Did(at=3.8, action="kill", node="a"),
        Did(at=3.8, action="takeover"),
        Did(at=3.0, action="cut", detail={"where": "receiver", "until": 3.8}),
        Did(at=3.8, action="retry", detail={"webhook_id": "msg_3"}),
        Did(at=3.8, action="stop", node="a", detail={"clean": False}),
    ):
        assert found([*good(), did, received(3, 4.0)]) == [], did
    for did in (
        Did(at=3.8, action="kill", node="b"),
        Did(at=3.8, action="reload"),
        Did(at=3.8, action="retry", detail={"webhook_id": "msg_2"}),
        Did(at=3.8, action="stop", node="a"),
    ):
        assert found([*good(), did, received(3, 4.0)]) == ["repeat"], did
