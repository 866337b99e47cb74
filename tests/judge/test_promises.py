"""What is promised beside order and truth: for each rule a record that keeps it, and one that breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from judge import Asked, Did, EndpointTerms, Entry, Rows, Terms
from judge.asking import MOST
from judge.made import body, found, good, received, rows, said

FOR_ALL = Terms(endpoints={"app": EndpointTerms()})
LATEST = Terms(endpoints={"app": EndpointTerms(ordering="latest")})


def changed(number: int, **more: Any) -> Rows:
    """Return the rows with another delivery of a number."""
    left = rows()
    return replace(left, deliveries=[replace(row, **more) if row.id == number else row for row in left.deliveries])


def test_types() -> None:
    """The type of an event is that of the phase that it tells, in its row and in its body."""
    for wrong in ("task.state_changed", "task.failed"):
        text = body(3, type=wrong)
        left = rows()
        events = [*left.events[:2], replace(left.events[2], type=wrong, body=text)]
        assert found([*good()[:5], received(3, body=text)], replace(left, events=events)) == ["type"], wrong
    left = rows()
    events = [*left.events[:2], replace(left.events[2], body=body(3, type="task.failed"))]
    assert "type" in found(good(), replace(left, events=events))


def test_what_was_added_is_followed() -> None:
    """It has a row, and the upstream is asked; a task that was removed need not be."""
    add = Did(at=0.1, action="add", detail={"source": "vidu", "task": "2"})
    assert found([*good(), add]) == ["lost"]
    left = rows()
    unasked = replace(left.watches[0], pk=8, id="2", state=None, phase=None, sequence=0, ended=False)
    for row, rules in ((unasked, ["lost"]), (replace(unasked, removed=True), [])):
        assert found([*good(), add], replace(left, watches=[*left.watches, row])) == rules
    gone = Did(at=0.2, action="remove", detail={"source": "vidu", "task": "2"})
    assert found([*good(), add, gone]) == []
    assert found([*good(), add, gone, replace(add, at=0.3)]) == ["lost"]
    asleep = replace(left, watches=[*left.watches, unasked])
    assert found([*good(), add], asleep, Terms(patient=False)) == []


def test_metadata() -> None:
    """Events have what their task was added with, if that is known of each time."""
    text = [body(number, watch={"source": "vidu", "id": "1", "metadata": {"order": 7}}) for number in (1, 2, 3)]
    left = rows()
    left = replace(left, events=[replace(row, body=text[row.pk - 1]) for row in left.events])
    record: list[Entry] = [each for n in (1, 2, 3) for each in (said(n), received(n, body=text[n - 1]))]
    added = Did(at=0.1, action="add", detail={"source": "vidu", "task": "1", "metadata": {"order": 7}})
    other = Did(at=0.2, action="add", detail={"source": "vidu", "task": "1", "metadata": {}})
    unknown = Did(at=0.2, action="add", detail={"source": "vidu", "task": "1"})
    assert found([*record, added]) != []
    assert found([*record, added], left) == []
    assert found([*record, added, other], left) == []
    assert found([*record, other], left) == ["misdirected"]
    assert found([*record, other, unknown], left) == []


def test_what_gives_way_gives_way_to_something() -> None:
    """To a newer event, at an endpoint that wants the latest alone; and webhooks are never muted."""
    heard = [entry for entry in good() if entry != received(2)]
    assert found(heard, changed(2, status="superseded"), LATEST) == []
    assert found(heard, changed(2, status="superseded"), FOR_ALL) == ["lost"]
    assert found(good()[:5], changed(3, status="superseded"), LATEST) == ["lost"]
    assert found(good()[:5], changed(3, status="superseded"), replace(LATEST, pruned=True)) == []
    assert found(heard, changed(2, status="muted"), FOR_ALL) == ["lost"]


def test_events_go_where_they_are_wanted() -> None:
    """Not to an endpoint that wants other types, and not to one that the watch does not name."""
    few = Terms(endpoints={"app": EndpointTerms(types=("task.succeeded",))})
    assert found(good(), terms=FOR_ALL) == []
    assert found(good(), terms=few) == ["astray"]
    assert found(good(), rows(endpoints='["log"]'), FOR_ALL) == ["astray"]
    assert found(good(), rows(endpoints='["app"]'), FOR_ALL) == []


def test_each_attempt_has_a_timestamp_of_its_own() -> None:
    """Receivers refuse an old one as a replay. Clocks that were set, and standstills, excuse it."""
    late = [*good()[:5], received(3, 3.2, answer=500), received(3, 43.2, timestamp=43)]
    assert found(late) == []
    stale = [*late[:-1], received(3, 43.2, timestamp=3)]
    assert found(stale) == ["stale"]
    assert found([*stale, Did(at=20.0, action="clock")]) == []
    assert found([*stale, Did(at=20.0, action="pause")]) == []


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    """A Retry-After lengthens the wait of the schedule, and never shortens it."""
    terms = Terms(endpoints={"app": EndpointTerms(schedule=(0, 2, 2, 2))})
    for hint, again, rules in ((7.0, 10.3, []), (7.0, 6.0, ["early"]), (1.0, 5.3, []), (1.0, 4.5, ["early"])):
        record = [*good()[:5], received(3, 3.2, answer=503, retry_after=hint), received(3, again)]
        assert found(record, terms=terms) == rules, (hint, again)


def test_whatever_is_refused_is_tried_to_the_end_of_its_schedule() -> None:
    """Whatever the status; and what was given up and then asked for again was given up all the same."""
    for reason in ("http_404", "redirect", "timeout"):
        assert "early" in found(good()[:5], changed(3, status="dead", reason=reason)), reason
    assert "early" not in found(good()[:5], changed(3, status="dead", reason="http_404", attempt=10))
    seen = {"webhook_id": "msg_3", "endpoint": "app", "attempt": 1, "reason": "http_404"}
    assert found([*good(), Did(at=3.2, action="dead", detail=seen)]) == ["early"]
    assert found([*good(), Did(at=3.2, action="dead", detail=seen | {"attempt": 10})]) == []
    assert found([*good(), Did(at=3.2, action="dead", detail=seen)], terms=Terms(aside=frozenset({"app"}))) == []


def test_who_is_gone_gets_nothing() -> None:
    """From a 410, or from an operator's word, until somebody enables the endpoint; attempts under way end."""
    gone = [*good()[:5], received(3, 3.2, answer=410)]
    disabled = [*good()[:5], Did(at=3.2, action="disable", detail={"endpoint": "app"})]
    for record in (gone, disabled):
        assert found([*record, received(3, 60.0)]) == ["disabled"]
        assert found([*record, received(3, 20.0)]) == []
        assert found([*record, Did(at=30.0, action="enable", detail={"endpoint": "app"}), received(3, 60.0)]) == []
        assert found([*record, Did(at=30.0, action="reload", detail={"endpoints": ["app"]}), received(3, 60.0)]) == []
    assert found([*gone, Did(at=3.3, action="kill"), received(3, 60.0)]) == [], "it was not saved"


def asked(at: float, **more: Any) -> Asked:
    """Return a question."""
    return Asked(at=at, source="vidu", task="1", **more)


def test_an_upstream_is_not_asked_without_end() -> None:
    """Pauses lie between the requests about a task, unless something began anew."""
    often: list[Entry] = [asked(1 + number / 10) for number in range(MOST + 1)]
    assert found([*good(), *often]) == ["hasty"]
    assert found([*good(), *often[1:]]) == []
    assert found([*good(), *often, Did(at=1.55, action="start")]) == []
    assert found([*good(), *often, Did(at=1.55, action="add", detail={"source": "vidu", "task": "2"})]) != []


@pytest.mark.parametrize(
    ("did", "excuses"),
    [
        (Did(at=3.0, action="reload", detail={"sources": ["vidu"]}), True),
        (Did(at=3.0, action="reload", detail={"tasks": ["1"]}), True),
        (Did(at=3.0, action="reload", detail={"tasks": ["2"]}), False),
        (Did(at=3.0, action="kill"), True),
        (Did(at=3.0, action="disk_full"), False),
    ],
)
def test_an_upstream_that_asks_for_time_gets_it(did: Did, excuses: bool) -> None:
    """A Retry-After is obeyed, by what was not begun anew."""
    hint = asked(2.0, retry_after=20.0, answered=2.2)
    assert found([*good(), hint, asked(22.3)]) == []
    assert found([*good(), hint, asked(5.0)]) == ["hasty"]
    assert found([*good(), replace(hint, answered=None), asked(21.9)]) == ["hasty"]
    assert found([*good(), hint, did, asked(5.0)]) == ([] if excuses else ["hasty"])


def test_an_answer_that_came_while_the_process_stood_still_may_be_too_late() -> None:
    """Its time is over when it goes on, and which of the two it sees first is chance. One that came before was read."""
    still = [Did(at=3.0, action="pause"), Did(at=33.0, action="resume")]
    hint = asked(2.0, retry_after=20.0, answered=33.0)
    assert found([*good(), hint, *still, asked(35.0)]) == []
    assert found([*good(), replace(hint, answered=2.5), *still, asked(3.0)]) == ["hasty"]
    assert found([*good(), *still, replace(hint, at=34.0, answered=35.0), asked(36.0)]) == ["hasty"]


def test_a_task_that_was_removed_is_not_listened_to() -> None:
    """Once it was said so, and until it is added again; a stream takes a moment to end."""
    about = {"source": "vidu", "task": "1"}
    removed = Did(at=3.6, action="remove", detail=about | {"done": True})
    added = Did(at=20.0, action="add", detail=about)
    left = rows(removed=True)
    heard = said(3, 30.0)
    assert found([*good(), removed, heard], left) == ["removed"]
    assert found([*good(), replace(removed, detail=about), heard], left) == [], "nobody had said so yet"
    assert found([*good(), removed, replace(heard, at=8.0)], left) == []
    assert found([*good(), removed, replace(heard, complete=False)], left) == []
    assert found([*good(), removed, added, heard], left) == []
