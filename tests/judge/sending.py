"""Sending: what was committed is sent, signed, by the node that owns it and by the schedule, until it is settled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from json import loads

from judge.case import Callback, Case, Finding
from judge.database import DeliveryRow, EventRow
from judge.order import explained
from judge.record import Did
from judge.truth import FAULTS

OPEN = ("ready", "waiting")
HOLDING = ("database", "names", "receiver")  # ways on which a cut makes an attempt, or its outcome, late
LONG = 60.0  # seconds of a wait in the schedule, from which there may be attempts beside it
BETWEEN = 5.0  # seconds between those
UNSPENT = 1.0  # seconds before a message comes again that was refused with 429
OBEYED = 86_400.0  # seconds of a Retry-After that are obeyed at most
UNDER_WAY = 20.0  # seconds that an attempt takes at most, from its timestamp to its arrival
UNSAVED = 5.0  # seconds after an answer within which a fault may keep what it meant from being saved
# A recovery may bring others forward after a second without an accepted message and five refused ones, as a node counts
# them. It may count more of both than its receiver: it notices late, and what never arrived was refused too.
OUTAGE = 0.5  # seconds
REFUSED = 3  # in a row


def signed(case: Case) -> Iterator[Finding]:
    """Find a callback whose signature is wrong."""
    for callback in case.callbacks:
        if not callback.received.verified:
            yield _finding("signature", callback, f"{callback.received.webhook_id} is not signed as it should be")


def dated(case: Case) -> Iterator[Finding]:
    """Find a callback with the timestamp of an earlier attempt, which receivers refuse as a replay.

    Clocks may have been set, so it is held against the message's first arrival. What stood still had signed before.
    """
    for tries in case.arrivals.values():
        first = tries[0].received
        for again in tries[1:]:
            got = again.received
            late = (got.at - first.at) - (got.timestamp - first.timestamp)
            odd = any(case.between(first.at - UNDER_WAY, got.at, ("clock", "pause", "cut")))
            if late > UNDER_WAY and not odd:
                yield _finding("stale", again, f"{got.webhook_id} came {late:.0f} s after its timestamp")


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
        if (how := _gave_way(case, delivery, event)) is not None:
            yield _lost(watch, delivery.endpoint, event, how)
        elif delivery.status == "delivered" and (event.id, delivery.endpoint) not in accepted:
            yield _lost(watch, delivery.endpoint, event, "is settled as delivered, and was accepted by nobody")
        elif delivery.status in OPEN and case.terms.patient:
            evidence = f"{event.sequence} ({event.id}) is still {delivery.status} after {delivery.attempt} attempts"
            yield Finding(rule="unsettled", watch=watch, endpoint=delivery.endpoint, evidence=evidence)


def _gave_way(case: Case, delivery: DeliveryRow, event: EventRow) -> str | None:
    """Return what is wrong with a delivery that nobody sends any more, and that was neither accepted nor given up."""
    if delivery.status == "muted":
        return "was muted, and its endpoint is no chat"
    if delivery.status != "superseded":
        return None
    if case.terms.endpoint(delivery.endpoint).ordering != "latest":
        return "gave way to a newer one, at an endpoint that wants all"
    rows = case.history.get(case.names.get(event.watch or 0, ""), ())
    newer = (row for row in rows if row.sequence > event.sequence and (row.id, delivery.endpoint) in case.deliveries)
    if case.terms.pruned or any(newer):
        return None
    return "gave way to a newer one, and there is none"


def astray(case: Case) -> Iterator[Finding]:
    """Find a callback at an endpoint that does not want events of its type, or that its watch does not name."""
    for (watch, endpoint), callbacks in case.lanes.items():
        terms, row = case.terms.endpoints.get(endpoint), case.watches.get(watch)
        if terms is None or not terms.gapless:
            continue
        chosen = None if row is None or row.endpoints is None else loads(row.endpoints)
        for callback in callbacks:
            kind = str(callback.payload.get("type"))
            wanted = any(fnmatchcase(kind, glob) for glob in terms.types)
            if not wanted or (chosen is not None and endpoint not in chosen):
                yield _finding("astray", callback, f"{callback.sequence} ({kind}) was not for this endpoint")


def to_the_disabled(case: Case) -> Iterator[Finding]:
    """Find an attempt that began after its endpoint had answered 410, or had been disabled, and before it was enabled.

    Attempts under way end. A fault may have kept it from being saved that the endpoint is gone.
    """
    gone: dict[str, list[float]] = defaultdict(list)
    for did in case.did:
        if did.action == "disable":
            gone[did.detail["endpoint"]].append(did.at)
    for callback in case.callbacks:
        got = callback.received
        unsaved = case.between(got.at, got.ended + UNSAVED, (*FAULTS, "reload"))
        if got.answer == 410 and not any(unsaved):
            gone[got.endpoint].append(got.ended)
    for callback in case.callbacks:
        got = callback.received
        since = max((each for each in gone.get(got.endpoint, ()) if each <= got.at - UNDER_WAY), default=None)
        if since is None:
            continue
        between = case.between(since - UNDER_WAY, got.at, ("enable", "reload"))
        if not any(did.action == "enable" or got.endpoint in did.detail.get("endpoints", ()) for did in between):
            yield _finding("disabled", callback, f"{got.webhook_id} came though it was disabled at {since}")


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
            wait = max(wait, min(got.retry_after or 0.0, OBEYED))
            recovered = any(began - case.terms.heard <= end < again.received.at for end in gaps.get(endpoint, ()))
            made -= recovered and got.answer != 429  # it gives the attempt back, if that was counted
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
    seen = {
        (did.detail["webhook_id"], did.detail["endpoint"]): (int(did.detail["attempt"]), str(did.detail["reason"]))
        for did in case.did
        if did.action == "dead"
    }
    for delivery in case.rows.deliveries:
        event = events.get(delivery.event)
        if delivery.status == "dead" and event is not None:
            seen[event.id, delivery.endpoint] = delivery.attempt, delivery.reason or ""
    for (id_, endpoint), (attempt, reason) in seen.items():
        retryable = reason in ("timeout", "connect", "broken", "dns", "redirect") or reason.startswith("http_")
        if retryable and attempt < len(case.terms.endpoint(endpoint).schedule) and endpoint not in case.terms.aside:
            row = case.events.get(id_)
            watch = case.names.get(row.watch or 0) if row else None
            evidence = f"{id_} was given up ({reason}) after {attempt} attempts"
            yield Finding(rule="early", watch=watch, endpoint=endpoint, evidence=evidence)


def _finding(rule: str, callback: Callback, evidence: str) -> Finding:
    return Finding(rule=rule, watch=callback.watch, endpoint=callback.received.endpoint, evidence=evidence)
