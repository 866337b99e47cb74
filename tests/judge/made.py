"""Records and rows that tests of the judge are made of: one watch that goes through three states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from judge import Case, Entry, Received, Rows, Said, Terms, verdict
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
