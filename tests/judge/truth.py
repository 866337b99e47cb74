"""Truth: every event tells what the upstream said, in the order in which it was said, and nothing said is left out.

Of what was said, this has to be told: the last state of each task; and on one connection all that came before a state
which was told, since a stream is read in order. What a connection says before the state that the watch knew is history.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from judge.case import Case, Finding
from judge.database import EventRow
from judge.record import Said

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
ENDS = frozenset({*(f"task.{phase}" for phase in TERMINAL), "watch.lost"})  # types of events that nothing follows
TOLD = frozenset({"task.state_changed", *(f"task.{phase}" for phase in TERMINAL)})  # types that tell what was said
MOST_NEWS = 16  # changes of one burst that a stream which was connected again has to tell; of more, the last alone
FAULTS = ("kill", "stop", "pause", "takeover", "disk_full")

Key = tuple[Any, Any]  # state and phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event that tells what was said."""

    row: EventRow
    key: Key
    body: Any
    before: Key  # the state and phase that it names as the ones before


def invented(case: Case) -> Iterator[Finding]:
    """Find an event that the upstream did not say, or that it had said before another one told it."""
    first = _first_arrivals(case)
    for watch, rows in case.history.items():
        said, place = _news(case.said.get(watch, [])), 0
        for told in _told(rows):
            until = first.get(told.row.id, float("inf"))
            found = next((n for n in range(place, len(said)) if _says(said[n], told) and said[n].at <= until), None)
            if found is None:
                before = any(_says(each, told) for each in said)
                why = "the upstream said so only before what was told last" if before else "the upstream never said so"
                yield _finding("invented", watch, f"{told.row.sequence} tells {told.key} ({told.row.id}): {why}")
            else:
                place = found + 1


def _news(said: Sequence[Said]) -> list[Said]:
    """Leave out what a stream only repeats: it was said before, and is true of then alone."""
    found: list[Said] = []
    for each in said:
        if not each.history or not any(_key(old) == _key(each) and old.body == each.body for old in found):
            found.append(each)
    return found


def skipped(case: Case) -> Iterator[Finding]:
    """Find a state that was said on a connection between two states that were told."""
    removed = {did.detail.get("task") for did in case.did if did.action == "remove"}
    for watch, rows in case.history.items():
        if watch.partition("/")[2] in removed:
            continue
        connections = _connections(case.said.get(watch, []))
        before: Key | None = None
        for told in _told(rows):
            ways = [
                _missed(runs, place, before)
                for runs in connections
                for place, run in enumerate(runs)
                if any(_says(each, told) for each in run)
            ]
            if ways and all(ways):
                missed = ", ".join(str(_key(run[0])) for run in ways[0])
                yield _finding("skipped", watch, f"{told.row.sequence} tells {told.key}, not {missed} before")
            before = told.key


def _missed(runs: Sequence[Sequence[Said]], place: int, before: Key | None) -> list[Sequence[Said]]:
    """Return the runs of equal states that were left out, if `before` and then `runs[place]` were told."""
    known = [n for n in range(place) if _key(runs[n][0]) == before]
    if before is not None and not known:
        return []  # the first burst of a stream that was connected again, without the state that was known: history
    missed = runs[known[-1] + 1 if known else 0 : place]
    if len(missed) >= MOST_NEWS:
        return []
    return [run for run in missed if any(each.complete for each in run)]


def last_state(case: Case) -> Iterator[Finding]:
    """Find a task whose last state was not committed though there was time for it, and a watch given up too soon."""
    removed = [
        (f"{did.detail.get('source')}/{did.detail.get('task')}", did.at) for did in case.did if did.action == "remove"
    ]
    for watch, added in case.added.items():
        if any(each == watch and at >= added[-1].at for each, at in removed):
            continue  # maybe before anybody read that it was added
        row = case.watches.get(watch)
        if row is None and not case.terms.pruned:
            yield _finding("lost", watch, "it was added, and no row knows it")
        elif row is not None and case.terms.patient and watch not in case.said and not (row.ended or row.removed):
            yield _finding("lost", watch, "it was added, and the upstream was never asked")
    for watch, said in case.said.items():
        row = case.watches.get(watch)
        complete = [each for each in said if each.complete]
        if row is None:
            if complete and not case.terms.pruned:
                yield _finding("lost", watch, "the upstream told its state, and no row knows it")
            continue
        if row.lost is not None:
            ends = [each for each in said if each.phase in TERMINAL]
            if ends and ends[0].at <= _lost_at(case, watch):
                yield _finding("given_up", watch, f"lost ({row.lost}), though it was {ends[0].state} before")
            elif watch not in case.terms.lost:
                yield _finding("given_up", watch, f"lost ({row.lost}), though nothing was wrong with it")
            elif row.lost == "deadline" and not _asked_after_the_deadline(case, watch, complete):
                yield _finding("given_up", watch, "lost by its deadline, and the upstream was not asked after that")
        elif case.terms.patient and not row.removed and complete:
            wanted, known = _final(case, complete), (row.state, row.phase)
            cut = {_key(each) for each in said if each.phase in TERMINAL and not each.complete}
            if known not in wanted and known not in cut:  # what was cut may have become known
                yield _finding("lost", watch, f"it ended as {(row.state, row.phase)}; the upstream said {wanted}")


def _final(case: Case, complete: Sequence[Said]) -> list[Key]:
    """Return the states that a watch may have at the end: the first terminal one, or the last of all.

    An end that was handed over right before a fault may have been lost in it, and then a later one counts.
    """
    ends = [each for each in complete if each.phase in TERMINAL]
    if not ends:
        return [_key(complete[-1])]
    struck = any(case.between(ends[0].at - 1, float("inf"), FAULTS))
    return [_key(each) for each in (ends if struck else ends[:1])]


def _asked_after_the_deadline(case: Case, watch: str, complete: Sequence[Said]) -> bool:
    """Return whether the upstream told a state between the deadline of a watch, at the earliest, and its end."""
    source, _, task = watch.partition("/")
    added = [did.at for did in case.did if did.action == "add" and did.detail.get("task") == task]
    started = [did.at for did in case.did if did.action == "start"]
    begun = min(added or started, default=float("-inf"))
    over = begun + case.terms.deadlines.get(source, 0.0)
    return any(over <= each.at <= _lost_at(case, watch) for each in complete)


def _lost_at(case: Case, watch: str) -> float:
    arrivals = [
        callback.received.at
        for callback in case.callbacks
        if callback.watch == watch and callback.payload.get("type") == "watch.lost"
    ]
    return min(arrivals, default=float("inf"))


def previous(case: Case) -> Iterator[Finding]:
    """Find an event that names another state as the one before it than the event before it told."""
    removed = {did.detail.get("task") for did in case.did if did.action == "remove"}
    for watch, rows in case.history.items():
        if watch.partition("/")[2] in removed:
            continue
        told = list(_told(rows))
        for before, after in pairwise(told):
            if after.before != before.key:
                yield _finding("previous", watch, f"{after.row.sequence} names {after.before}, not {before.key}")
        if told and told[0].row.sequence == 1 and told[0].before != (None, None):
            yield _finding("previous", watch, f"the first names {told[0].before} before it")


def after_the_end(case: Case) -> Iterator[Finding]:
    """Find an event behind one that ended its watch; one that was removed and added again begins anew."""
    added = {did.detail.get("task") for did in case.did if did.action == "remove"}
    for watch, rows in case.history.items():
        for before, after in pairwise(rows):
            if before.type in ENDS and watch.partition("/")[2] not in added:
                yield _finding("after_the_end", watch, f"{after.sequence} ({after.type}) follows {before.type}")
    for (watch, endpoint), callbacks in case.lanes.items():
        ended: int | None = None
        for callback in callbacks:
            if ended is not None and (callback.sequence or 0) > ended and watch.partition("/")[2] not in added:
                evidence = f"{callback.sequence} came after the end, which was {ended}"
                yield Finding(rule="after_the_end", watch=watch, endpoint=endpoint, evidence=evidence)
            if callback.payload.get("type") in ENDS:
                ended = callback.sequence


def misdirected(case: Case) -> Iterator[Finding]:
    """Find an event whose body tells of another watch, or another number, than its row."""
    for watch, rows in case.history.items():
        for row in rows:
            data = _read(row.body).get("data", {})
            about = data.get("watch", {})
            if f"{about.get('source')}/{about.get('id')}" != watch or data.get("sequence") != row.sequence:
                evidence = f"{row.sequence} ({row.id}) tells of {about.get('id')} {data.get('sequence')}"
                yield _finding("misdirected", watch, evidence)
            given = [did.detail.get("metadata") for did in case.added.get(watch, ())]
            if given and None not in given and about.get("metadata") not in given:
                evidence = f"{row.sequence} ({row.id}) has the metadata {about.get('metadata')}, not {given}"
                yield _finding("misdirected", watch, evidence)


def typed(case: Case) -> Iterator[Finding]:
    """Find an event whose type is not that of the phase that it tells, or whose body names another one."""
    for watch, rows in case.history.items():
        for row in rows:
            told = _read(row.body)
            phase = told.get("data", {}).get("phase")
            wanted = row.type
            if row.type in TOLD:
                wanted = f"task.{phase}" if phase in TERMINAL else "task.state_changed"
            if not row.type == told.get("type") == wanted:
                evidence = f"{row.sequence} ({row.id}) is {row.type}, its body {told.get('type')}, and tells {phase}"
                yield _finding("type", watch, evidence)


def _told(rows: Sequence[EventRow]) -> Iterator[Told]:
    for row in rows:
        if row.type in TOLD:
            data = _read(row.body)["data"]
            before = (data.get("previous_state"), data.get("previous_phase"))
            yield Told(row=row, key=(data["state"], data["phase"]), body=data.get("task"), before=before)


@lru_cache(maxsize=100_000)
def _read(body: str) -> Any:
    return json.loads(body)


def _says(said: Said, told: Told) -> bool:
    return _key(said) == told.key and said.body == told.body


def _key(said: Said) -> Key:
    return said.state, said.phase


def _connections(said: Sequence[Said]) -> list[list[list[Said]]]:
    """Return what was said on each connection, as runs of equal states."""
    found: dict[int, list[list[Said]]] = {}
    for each in said:
        runs = found.setdefault(each.connection, [])
        if runs and _key(runs[-1][0]) == _key(each):
            runs[-1].append(each)
        else:
            runs.append([each])
    return list(found.values())


def _first_arrivals(case: Case) -> dict[str, float]:
    found: dict[str, float] = {}
    for callback in case.callbacks:
        found.setdefault(callback.received.webhook_id, callback.received.at)
    return found


def _finding(rule: str, watch: str, evidence: str) -> Finding:
    return Finding(rule=rule, watch=watch, endpoint=None, evidence=evidence)
