"""The judge itself: for each rule a record that keeps it, and one that breaks it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_rig import follow, move, running

from judge import (
    Did,
    EndpointTerms,
    Entry,
    Received,
    RecordError,
    Rows,
    Said,
    Terms,
    entries,
    judge,
    parse,
    write,
)
from judge.database import EventRow
from judge.made import STATES, body, found, good, received, rows, said


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


def test_what_gave_way_and_was_pruned_is_no_gap() -> None:
    """Only where the endpoint wants the latest state alone, and rows may be gone."""
    seen: list[Entry] = [said(1), said(2), said(3), received(1), received(3)]
    kept = replace(rows(), events=[rows().events[0], rows().events[2]], deliveries=[])
    latest = {"app": EndpointTerms(ordering="latest")}
    assert "gap" not in found(seen, kept, Terms(endpoints=latest, pruned=True))
    assert "gap" in found(seen, kept, Terms(endpoints=latest))
    assert "gap" in found(seen, kept, Terms(pruned=True))


def test_overtaking() -> None:
    """A message waits until the one before it is accepted, or given up; an answer that was cut may have accepted it."""
    record: list[Entry] = [said(1), said(2), said(3), received(1, 3.1, answer=500)]
    rest = [received(2, 3.2), received(3, 3.3), received(1, 9.0)]
    assert "order" in found([*record, *rest])
    assert "order" not in found([*record, received(1, 9.0), received(2, 9.1), received(3, 9.2)])
    assert "order" not in found([*record[:3], replace(received(1, 3.1), answer=None), *rest])


def test_a_refusal_that_was_held_up_stops_nothing() -> None:
    """Its message has been accepted since it was signed; one that was signed after that is a repeat, and must wait."""
    record: list[Entry] = [said(1), said(2), said(3), received(1, 3.1)]
    rest = [received(2, 5.2), received(3, 5.3)]
    held_up = received(1, 4.9, answer=500, timestamp=2)
    assert "order" not in found([*record, held_up, *rest])
    assert "order" in found([*record, replace(held_up, timestamp=4), *rest])
    buried = rows()
    dead = [replace(each, status="dead") if each.id == 1 else each for each in buried.deliveries]
    assert "order" not in found([*record, *rest[:2]], replace(buried, deliveries=dead))


def test_one_id_one_body() -> None:
    """A message is the same bytes under the same id whenever it comes."""
    refused = received(1, 1.4, answer=500)
    patient = Terms(endpoints={"app": EndpointTerms(schedule=(0, 0.1))})
    assert found([said(1), refused, *good()[1:]], terms=patient) == []
    assert "body" in found([said(1), received(1, 1.4, answer=500, body=body(1, progress=0.5)), *good()[1:]])
    assert "id" in found([said(1), received(1, 1.4, answer=500, webhook_id="msg_0"), *good()[1:]])


def test_repeats() -> None:
    """What was accepted comes again only if something befell the one who had sent it, or an operator asked for it."""
    assert "repeat" in found([*good(), received(3, 4.0)])
    assert found([*good()[:5], received(3, late=True), received(3, 5.6)]) == []
    for did in (
        Did(at=3.8, action="kill", node="a"),
        Did(at=3.8, action="takeover"),
        Did(at=3.2, action="standstill", detail={"until": 3.9}),
        Did(at=3.0, action="cut", detail={"where": "receiver", "until": 3.8}),
        Did(at=3.8, action="retry", detail={"webhook_id": "msg_3"}),
        Did(at=3.8, action="stop", node="a", detail={"clean": False}),
    ):
        assert found([*good(), did, received(3, 4.0)]) == [], did
    for did in (
        Did(at=3.8, action="kill", node="b"),
        Did(at=3.8, action="reload"),
        Did(at=2.2, action="standstill", detail={"until": 2.9}),
        Did(at=3.8, action="retry", detail={"webhook_id": "msg_2"}),
        Did(at=3.8, action="stop", node="a"),
    ):
        assert found([*good(), did, received(3, 4.0)]) == ["repeat"], did


def test_a_standstill_of_the_recorder_explains_no_repeat_before_a_time_out() -> None:
    """Its sender has to have given the attempt up first."""
    still, terms = Did(at=3.2, action="standstill", detail={"until": 3.9}), Terms(gives_up=2.0)
    assert found([*good(), still, received(3, 4.0)], terms=terms) == ["repeat"]
    assert found([*good(), still, received(3, 5.6)], terms=terms) == []


def test_an_attempt_that_was_held_up_may_come_after_another_that_was_accepted() -> None:
    """Its own timestamp is from before, and the way of its own sender was cut since."""
    cut = Did(at=3.1, action="cut", node="b", detail={"where": "receiver", "until": 3.3})
    held_up = received(3, 6.0, node="b", timestamp=3)
    assert found([*good(), cut, held_up]) == []
    assert found([*good(), held_up]) == ["repeat"]
    assert found([*good(), cut, replace(held_up, timestamp=5)]) == ["repeat"]
    assert found([*good(), replace(cut, node="a"), held_up]) == ["repeat"]


def test_what_the_database_knows_comes_no_more() -> None:
    """Not even if the process was killed in between; what was sent before may arrive after."""
    settled = Did(at=1.8, action="settled", detail={"webhook_id": "msg_1", "endpoint": "app"})
    record = [*good(), Did(at=1.7, action="kill", node="a"), settled]
    assert found([*record, received(1, 2.1, timestamp=1)]) == []
    assert found([*record, received(1, 4.1)]) == ["repeat"]
    for asked in ({}, {"webhook_id": "msg_1"}, {"endpoint": "app"}):
        assert found([*record, Did(at=3.0, action="retry", detail=asked), received(1, 4.1)]) == []
    elsewhere = Did(at=3.0, action="retry", detail={"endpoint": "log"})
    assert found([*record, elsewhere, received(1, 4.1)]) == ["repeat"]


def test_of_an_endpoint_aside_nothing_is_asked() -> None:
    """What it got is not in the record."""
    left = rows()
    other = [replace(each, id=each.id + 10, endpoint="chat") for each in left.deliveries]
    both = replace(left, deliveries=[*left.deliveries, *other])
    assert "lost" in found(good(), both)
    assert found(good(), both, Terms(aside=frozenset({"chat"}))) == []


def changed(left: Rows, number: int, **more: Any) -> Rows:
    """Return the rows with another event of a number."""
    events = [replace(row, **more) if row.sequence == number else row for row in left.events]
    return replace(left, events=events)


def test_numbering() -> None:
    """Committed events count on, whoever hears of them."""
    assert "numbering" in found(good(), replace(rows(), events=[rows().events[0], rows().events[2]]))
    assert "numbering" in found(good(), rows(sequence=4))


def test_invented() -> None:
    """An event tells what was said, after what was told before it."""
    assert "invented" in found([said(1), received(1), received(2), said(3), received(3)])
    assert "invented" in found([said(2, 0.5), said(1), received(1), received(2), said(3), received(3)])
    assert "invented" in found([said(1), received(1), received(2, 1.8), said(2), said(3), received(3)]), (
        "told before it was"
    )
    assert "invented" in found([entry for entry in good() if entry != said(2)] + [said(2, 2.0, body={"serial": 9})])
    repeated = [said(n, 4.0 + n, connection=2, history=n < 3) for n in (1, 2)]
    old = renumbered(1, 2, 1)
    again = received(1, 6.0, webhook_id="msg_4", body=old.events[2].body)
    told: list[Entry] = [said(1), received(1), said(2), received(2), *repeated, again]
    assert "invented" in found(told, old), "history is no news"
    assert found([replace(said(1), complete=False), *good()[1:]]) == [], "what was cut may have been read"


def test_skipped() -> None:
    """On one connection all that came before what was told is told; what a new stream says first is history."""
    left = renumbered(1, 3)
    heard = [received(1), received(3, webhook_id="msg_3", body=left.events[1].body)]
    assert "skipped" in found([said(1), said(2), said(3), *heard], left)
    assert found([said(1), said(2, complete=False), said(3), *heard], left) == []
    assert found([said(1), said(2), said(3, connection=2), *heard], left) == [], "it may have been lost in a crash"
    again = [said(1, 2.5, connection=2), said(2, 2.6, connection=2), said(3, connection=2)]
    assert "skipped" in found([said(1), *again, *heard], left), "history ends where the state is that was known"
    assert found([said(1), *again[1:], *heard], left) == [], "without it, the last state alone counts"


def renumbered(*states: int) -> Rows:
    """Return the rows of a watch that told these states alone."""
    events = []
    for sequence, state in enumerate(states, 1):
        before = STATES[states[sequence - 2]] if sequence > 1 else (None, None)
        text = body(state, sequence=sequence, previous_state=before[0], previous_phase=before[1])
        events.append(
            EventRow(
                pk=sequence, id=f"msg_{state}", watch=7, sequence=sequence, type=json.loads(text)["type"], body=text
            )
        )
    made = rows(states[-1], sequence=len(states))
    return replace(made, events=events, deliveries=made.deliveries[: len(states)])


def test_last_state() -> None:
    """The last state is committed, if there was time, and no watch is given up while the upstream knows its task."""
    short: list[Entry] = [said(1), received(1), said(2)]
    assert "lost" in found(short, rows(1))
    assert found(short, rows(1), Terms(patient=False)) == []
    assert found(short, rows(1, removed=True)) == []
    assert found([said(1), received(1), said(2, complete=False)], rows(1)) == []
    assert "lost" in found(good(), Rows(events=rows().events))
    assert "given_up" in found([said(1), received(1)], rows(1, lost="deadline", ended=True))
    allowed = Terms(lost=frozenset({"vidu/1"}))
    assert found([said(1), received(1)], rows(1, lost="deadline", ended=True), allowed) == []
    assert "given_up" in found([said(1), received(1), said(3, complete=False)], rows(1, lost="deadline"), allowed)


def test_a_deadline_ends_nothing_before_the_upstream_was_asked_once_more() -> None:
    """It has to have told a state after the deadline, which counts from when the task was added."""
    terms = Terms(lost=frozenset({"vidu/1"}), deadlines={"vidu": 5.0})
    record: list[Entry] = [Did(at=0.5, action="add", detail={"source": "vidu", "task": "1"}), said(1), received(1)]
    lost = rows(1, lost="deadline", ended=True)
    assert found([*record, said(1, 5.6, connection=2)], lost, terms) == []
    assert "given_up" in found(record, lost, terms)
    assert "given_up" in found([*record, said(1, 5.4, connection=2)], lost, terms)
    assert "given_up" in found([*record, said(1, 5.6, connection=2, complete=False)], lost, terms)


def test_the_end() -> None:
    """The first end counts, unless a fault hid it, and nothing follows."""
    other = {"state": "failed", "phase": "failed", "body": {"state": "failed", "serial": 4}}
    text = body(3, state="failed", phase="failed", task=other["body"], type="task.failed")
    left = changed(rows(state="failed", phase="failed"), 3, body=text, type="task.failed")
    late = [*good()[:4], said(3), said(3, 4.0, connection=2, **other), received(3, 4.5, body=text)]
    assert "lost" in found(late, left)
    assert found([*late, Did(at=3.2, action="kill")], left) == []
    more = EventRow(pk=4, id="msg_4", watch=7, sequence=4, type="task.state_changed", body=body(2, sequence=4))
    assert "after_the_end" in found(good(), replace(rows(sequence=4), events=[*rows().events, more]))
    assert "after_the_end" in found([*good(), received(2, 5.0, webhook_id="msg_4", body=more.body)])


def test_bodies_tell_of_their_row() -> None:
    """The watch, the number and the state before are those of the row."""
    assert "misdirected" in found(good(), changed(rows(), 2, body=body(2, watch={"source": "vidu", "id": "2"})))
    assert "misdirected" in found(good(), changed(rows(), 2, body=body(2, sequence=5)))
    assert "previous" in found(good(), changed(rows(), 2, body=body(2, previous_state="scheduling")))
    assert "previous" in found(good(), changed(rows(), 1, body=body(1, previous_state="scheduling")))


def test_what_was_committed_is_sent() -> None:
    """Nothing else is; a delivery is settled when it was accepted, and at the end all are."""
    assert "lost" in found([*good()[:5], received(3, answer=500)])
    assert found([*good()[:5], received(3, answer=500)], rows(status="dead"), Terms()) == []
    assert "unsettled" in found(good(), rows(status="ready"))
    assert found(good(), rows(status="ready"), Terms(patient=False)) == []
    given = Terms(endpoints={"app": EndpointTerms()})
    assert found(good(), rows(), given) == []
    assert "lost" in found(good(), replace(rows(), deliveries=rows().deliveries[:2]), given)
    unsent = [entry for entry in good() if isinstance(entry, Said)]
    assert found(unsent, replace(rows(endpoints='["other"]'), deliveries=[]), given) == []
    assert "uncommitted" in found(good(), replace(rows(2, sequence=3, ended=True), deliveries=rows().deliveries[:2]))
    assert "lost" in found(good(), replace(rows(), events=rows().events[:2])), "a delivery without its event"


def test_signatures() -> None:
    """Each callback is verified."""
    assert found([*good()[:5], received(3, verified=False)]) == ["signature"]


def test_claims() -> None:
    """Who was declared dead sends nothing before it begins anew."""
    taken = Did(at=2.9, action="takeover", node="a")
    assert "not_its_own" in found([*good(), taken])
    assert found([*good(), taken, Did(at=3.2, action="start", node="a")]) == []
    assert found([*good(), Did(at=2.9, action="takeover", node="b")]) == []
    assert found([*good(), Did(at=3.45, action="takeover", node="a")]) == [], "it had been sent before"
    restarted = [Did(at=2.6, action="kill", node="a"), Did(at=2.7, action="start", node="a")]
    assert found([*good(), *restarted, taken]) == [], "it was the life that had ended before"


def test_schedules() -> None:
    """A message that was refused comes again by the schedule and no sooner, and is not given up before its end."""
    refused = received(3, 3.2, answer=500)
    soon, late = [*good()[:5], refused, received(3, 4.0)], [*good()[:5], refused, received(3, 9.0)]
    assert found(soon) == ["early"]
    assert "early" not in found(soon, terms=Terms(endpoints={"app": EndpointTerms(schedule=(0, 0.5))}))
    assert "early" not in found([*soon, Did(at=3.5, action="kill", node="a")])
    assert "early" not in found([*soon, Did(at=3.5, action="retry")])
    assert found(late) == []
    limited = received(3, 3.2, answer=429)
    assert found([*good()[:5], limited, received(3, 4.25)]) == [], "which costs no attempt"
    assert found([*good()[:5], limited, received(3, 4.0)]) == ["early"]
    unheard, anew = received(3, 3.2, answer=None), received(3, 3.4, answer=None)
    assert found([*good()[:5], unheard, received(3, 3.4)]) == [], "the same attempt, over a new connection"
    assert found([*good()[:5], unheard, anew, received(3, 3.6)]) == [], "kept ones may end one after another"
    assert found([*good()[:5], unheard, anew, received(3, 4.1)]) == ["early"], "another attempt: it has another time"
    dead = [replace(row, status="dead", reason="http_500") for row in rows().deliveries]
    assert "early" in found(good(), replace(rows(), deliveries=dead))


def test_an_outage_that_is_over_brings_messages_forward() -> None:
    """Whoever accepted nothing for a while may be sent everything when it accepts again."""
    other = [
        Received(at=at, endpoint="app", webhook_id=f"op_{at}", timestamp=0, body="{}", verified=True, answer=answer)
        for at, answer in ((3.0, 200), (4.5, 200))
    ]
    record = [*good()[:5], received(3, 3.2, answer=500, node=None), *other, received(3, 4.6, node=None)]
    assert "early" not in found(record)
    assert "early" in found([entry for entry in record if entry is not other[1]])
    begun = [*good()[:5], *other, received(3, 4.6, answer=500, node=None), received(3, 4.8, node=None)]
    assert "early" in found(begun)
    slow = Terms(heard=0.2)
    assert "early" not in found(begun, terms=slow), "the attempt began before the node had heard of it"
    limited = [received(3, 3.2, answer=429, node=None), received(3, 4.6, answer=500, node=None)]
    again = received(3, 4.7, node=None)
    assert "early" in found([*begun[:-2], *limited, again]), "a 429 was not counted, and is not given back"
    late = [*begun[:-2], received(3, 4.8, answer=500, node=None), received(3, 5.0, node=None)]
    assert "early" in found(late, terms=slow)


def test_reloads() -> None:
    """A stream goes on over a reload on its connection, unless its own settings changed or something cut it."""
    moved: list[Entry] = [said(1), received(1), said(2, connection=2), received(2), said(3, connection=2), received(3)]
    reload = Did(at=1.7, action="reload")
    assert found([*good(), reload]) == []
    assert found([*moved, reload]) == ["reload"]
    assert found([*moved, said(1, 1.6, connection=0, complete=False), reload]) == [], "nobody listened before it"
    others = [Did(at=0.1, action="start", node=node) for node in "ab"]
    assert found([*moved, reload, others[0]]) == ["reload"]
    assert found([*moved, reload, *others]) == [], "two nodes share their watches evenly"
    forsaken = [*moved, said(1, 1.2, connection=0), said(1, 1.4), said(2, 2.1, connection=0)]
    assert found([*forsaken, replace(reload, at=2.05)]) == [], "an older connection goes on unheard"
    for detail in ({"sources": ["vidu"]}, {"tasks": ["1"]}):
        assert found([*moved, replace(reload, detail=detail)]) == []
    where = {"where": "upstream", "source": "vidu", "task": "1", "connection": 1}
    cut = Did(at=1.6, action="cut", detail=where)
    assert found([*moved, reload, cut]) == []
    assert found([*moved, reload, replace(cut, detail=where | {"task": "2"})]) == ["reload"]
    assert found([*moved, reload], terms=Terms(polled=frozenset({"vidu"}))) == []


async def test_rows_are_read_from_a_real_database(tmp_path: Path, shared_url: str) -> None:
    """As the program wrote them, from both kinds: here nothing was said, and nobody has received anything yet."""
    for url in (f"sqlite:///{tmp_path}/notifier.db", shared_url):
        async with running(url) as store:
            await move(store, (await follow(store, "1"))[0], "processing")
            database = url.removeprefix("sqlite:///")
            assert {finding.rule for finding in judge([], database)} == {"invented", "unsettled"}
    with pytest.raises(FileNotFoundError):
        judge([], tmp_path / "other.db")
