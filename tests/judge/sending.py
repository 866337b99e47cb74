"""Sending: what was committed is sent, signed, by the node that owns it and by the schedule, until it is settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from json import loads

from judge.case import Callback, Case, Finding
from judge.database import DeliveryRow, EventRow
from judge.order import explained
from judge.record import Did

OPEN = ("ready", "waiting")
HOLDING = ("database", "names", "receiver")  # ways on which a cut makes an attempt, or its outcome, late
LONG = 60.0  # seconds of a wait in the schedule, from which there may be attempts beside it
BETWEEN = 5.0  # seconds between those
UNSPENT = 1.0  # seconds before a message comes again that was refused with 429
# A recovery may bring others forward after a second without an accepted message and five refused ones, as a node counts
# them. It may count more of both than its receiver: it notices late, and what never arrived was refused too.
OUTAGE = 0.5  # seconds
REFUSED = 3  # in a row


def signed(case: Case) -> Iterator[Finding]:
    """Find a callback whose signature is wrong."""
    for callback in case.callbacks:
        if not callback.received.verified:
            yield _finding("signature", callback, f"{callback.received.webhook_id} is not signed as it should be")


def committed(case: Case) -> Iterator[Finding]:
    """Find a callback that was never committed."""
    for callback in case.callbacks:
        id_ = callback.received.webhook_id
        if id_ not in case.events and not case.terms.pruned:
            yield _finding("uncommitted", callback, f"{id_} was sent and is in no row")


def undelivered(case: Case) -> Iterator[Finding]:
    """Find an event that an endpoint should have accepted, and a delivery that is said to be accepted and was not."""
    accepted = {key for key, tries in case.arrivals.items() if any(each.received.accepted for each in tries)}
    for watch, rows in case.history.items():
        for row in rows:
            for endpoint in _wanted(case, watch, row):
                delivery = case.deliveries.get((row.id, endpoint))
                if delivery is None and not case.terms.pruned:
                    yield _lost(watch, endpoint, row, "was committed without a delivery")
    names = {row.pk: row for row in case.rows.events}
    for delivery in case.rows.deliveries:
        if delivery.endpoint in case.terms.aside:
            continue
        event = names.get(delivery.event)
        if event is None:
            yield Finding(
                rule="lost", watch=None, endpoint=delivery.endpoint, evidence=f"delivery {delivery.id}: no event"
            )
            continue
        watch = case.names.get(event.watch or 0, "")
        if delivery.status == "delivered" and (event.id, delivery.endpoint) not in accepted:
            yield _lost(watch, delivery.endpoint, event, "is settled as delivered, and was accepted by nobody")
        elif delivery.status in OPEN and case.terms.patient:
            evidence = f"{event.sequence} ({event.id}) is still {delivery.status} after {delivery.attempt} attempts"
            yield Finding(rule="unsettled", watch=watch, endpoint=delivery.endpoint, evidence=evidence)


def _wanted(case: Case, watch: str, row: EventRow) -> Iterator[str]:
    """Yield the endpoints that should get an event; those that came or changed in the run are not known well enough."""
    named = case.watches[watch].endpoints
    chosen = None if named is None else loads(named)
    for name, terms in case.terms.endpoints.items():
        wants = terms.gapless and any(fnmatchcase(row.type, glob) for glob in terms.types)
        if wants and (chosen is None or name in chosen):
            yield name


def _lost(watch: str, endpoint: str, row: EventRow, how: str) -> Finding:
    return Finding(rule="lost", watch=watch, endpoint=endpoint, evidence=f"{row.sequence} ({row.id}) {how}")


def by_its_owner(case: Case) -> Iterator[Finding]:
    """Find a callback of a node whose claim had been taken, before it began anew.

    A callback may be held up on its way: it counts if its own timestamp is later too.
    """
    for taken in _takeovers_of_the_living(case):
        starts = [did.at for did in case.did if did.action == "start" and did.node == taken.node and did.at > taken.at]
        anew = min(starts, default=float("inf"))
        for callback in case.callbacks:
            got = callback.received
            if got.node == taken.node and taken.at < got.at < anew and got.timestamp > taken.at:
                yield _finding("not_its_own", callback, f"{got.node} sent it; its claim was taken at {taken.at}")


def _takeovers_of_the_living(case: Case) -> Iterator[Did]:
    """Yield the takeovers but for those from a process that had ended: it may have been started again before."""
    ended: Counter[str] = Counter()
    for did in case.did:
        if did.node is None:
            continue
        if did.action in ("kill", "stop"):
            ended[did.node] += 1
        elif did.action == "takeover" and ended[did.node]:
            ended[did.node] -= 1
        elif did.action == "takeover":
            yield did


def by_schedule(case: Case) -> Iterator[Finding]:
    """Find an attempt before its time, and a message that was given up before its last attempt."""
    gaps = _gaps(case)
    for (_, endpoint), tries in case.arrivals.items():
        schedule, made, anew, began = case.terms.endpoint(endpoint).schedule, 0, False, 0.0
        for before, again in pairwise(tries):
            got = before.received
            if got.accepted:
                continue  # a repeat, which has rules of its own
            began = began if anew else got.at
            anew = got.answer is None and again.received.timestamp == got.timestamp
            if anew:  # its kept connection ended: the attempt goes on over another one, which may be a kept one too
                continue  # (RFC 9112 section 9.3.1)
            if _excused(case, before, again, endpoint):
                continue  # it may not have been counted, either
            made += got.answer != 429
            if got.answer == 410:
                continue
            seconds, wait = again.received.at - got.at, _least(schedule, made, got.answer)
            recovered = any(began - case.terms.heard <= end < again.received.at for end in gaps.get(endpoint, ()))
            made -= recovered  # which gives the attempt back
            if seconds < wait - case.terms.slack and not recovered:
                yield _finding("early", again, f"{got.webhook_id} came again after {seconds:.3f} s, not {wait:g} s")
    yield from _given_up(case)


def _least(schedule: Sequence[float], made: int, answer: int | None) -> float:
    """Return the shortest wait after so many attempts that were seen; there may have been more."""
    if answer == 429:
        return UNSPENT
    waits = schedule[min(made, len(schedule) - 1) :]
    return min(BETWEEN if wait > LONG else wait for wait in waits)


def _excused(case: Case, before: Callback, again: Callback, endpoint: str) -> bool:
    """Return whether something besides the schedule brought an attempt about, or held up the one before."""
    since, until = before.received.at, again.received.at
    others = case.between(since, until, ("clock", "reload"))
    cuts = case.between(since, until, ("cut",))
    return (
        any(did.action == "clock" or endpoint in did.detail.get("endpoints", ()) for did in others)
        or any(did.concerns(before.received.node) and did.detail.get("where") in HOLDING for did in cuts)
        or explained(case, before, again, *("kill", "pause", "takeover", "disk_full"))
    )


def _gaps(case: Case) -> dict[str, list[float]]:
    """Return by endpoint when it accepted something after a while: a node that hears of it may find that it is well."""
    last: dict[tuple[str, str | None], float] = {}
    refused: Counter[tuple[str, str | None]] = Counter()
    found: dict[str, list[float]] = {}
    for got in sorted((callback.received for callback in case.callbacks), key=lambda each: each.ended):
        way = (got.endpoint, got.node)
        before = last.setdefault(way, got.ended)
        if not got.accepted:
            refused[way] += 1
            continue
        if got.ended - before >= OUTAGE or refused[way] >= REFUSED:
            found.setdefault(got.endpoint, []).append(got.ended)
        last[way], refused[way] = got.ended, 0
    return found


def _given_up(case: Case) -> Iterator[Finding]:
    events = {row.pk: row for row in case.rows.events}
    for delivery in case.rows.deliveries:
        if _is_too_soon(case, delivery):
            event = events.get(delivery.event)
            watch = case.names.get(event.watch or 0) if event else None
            evidence = f"dead ({delivery.reason}) after {delivery.attempt} attempts"
            yield Finding(rule="early", watch=watch, endpoint=delivery.endpoint, evidence=evidence)


def _is_too_soon(case: Case, delivery: DeliveryRow) -> bool:
    reason = delivery.reason or ""
    retryable = reason in ("timeout", "connect", "broken", "dns") or reason.startswith("http_5")
    return (
        delivery.status == "dead"
        and retryable
        and delivery.attempt < len(case.terms.endpoint(delivery.endpoint).schedule)
    )


def _finding(rule: str, callback: Callback, evidence: str) -> Finding:
    return Finding(rule=rule, watch=callback.watch, endpoint=callback.received.endpoint, evidence=evidence)
