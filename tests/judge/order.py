"""Order: first arrivals of a watch at an endpoint count 1, 2, 3 without gaps, one message has one id and one body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from judge.case import Callback, Case, Finding
from judge.record import Did

# Of a repeat, where they befell the one who had sent it. A standstill is the recorder's: what it passed on came later,
# and was sent again once its sender had given it up.
EXPLAINING = ("kill", "pause", "takeover", "cut", "disk_full", "standstill")


def order(case: Case) -> Iterator[Finding]:
    """Find first arrivals out of order, or behind a gap.

    A number may be left out where its delivery is dead or gave way to a newer one, and may then come late, by an
    operator's retry. A watch that was removed and added again counts on.
    """
    for (watch, endpoint), callbacks in case.lanes.items():
        excused = _excused(case, watch, endpoint)
        last, seen = 0, set[str]()
        for callback in callbacks:
            if callback.received.webhook_id in seen or callback.sequence is None:
                continue
            seen.add(callback.received.webhook_id)
            sequence = callback.sequence
            if sequence in excused and sequence < last:
                continue  # an operator asked for it again
            if sequence <= last:
                yield _finding("order", callback, f"{sequence} came after {last}")
                continue
            if _is_gapless(case, endpoint) and not set(range(last + 1, sequence)) <= excused:
                yield _finding("gap", callback, f"{sequence} came after {last}")
            last = sequence


def _is_gapless(case: Case, endpoint: str) -> bool:
    """Return whether a gap can be told: what gave way to a newer state may be among the rows that were deleted."""
    terms = case.terms.endpoint(endpoint)
    return terms.gapless and not (case.terms.pruned and terms.ordering == "latest")


def overtaking(case: Case) -> Iterator[Finding]:
    """Find a message that was sent though the one before it had been refused, and not accepted since.

    An attempt without an answer is given the benefit of the doubt. One that was signed before another was accepted, and
    held up on its way, is refused in vain.
    """
    for (watch, endpoint), callbacks in case.lanes.items():
        terms = case.terms.endpoint(endpoint)
        if terms.ordering == "latest" or not terms.gapless:
            continue
        excused, refused, seen = _excused(case, watch, endpoint), set[int](), set[int]()
        accepted: dict[int, float] = {}
        for callback in callbacks:
            if (sequence := callback.sequence) is None:
                continue
            if sequence not in seen and (before := {each for each in refused if each < sequence}):
                yield _finding("order", callback, f"{sequence} came while {min(before)} was refused")
            seen.add(sequence)
            got = callback.received
            if got.accepted:
                accepted[sequence] = got.at
            if sequence in excused or got.answer is None or got.accepted:
                refused.discard(sequence)
            elif got.timestamp > accepted.get(sequence, 0.0):
                refused.add(sequence)


def _excused(case: Case, watch: str, endpoint: str) -> set[int]:
    rows = ((row.sequence, case.deliveries.get((row.id, endpoint))) for row in case.history.get(watch, ()))
    retried = any(did.action == "retry" for did in case.did)
    return {
        sequence
        for sequence, delivery in rows
        if delivery is not None
        and (delivery.status in ("dead", "superseded", "muted") or (retried and delivery.status == "delivered"))
    }


def one_body(case: Case) -> Iterator[Finding]:
    """Find an id with two bodies, and an event with two ids."""
    bodies: dict[str, str] = {}
    ids: dict[tuple[str, str], str] = {}
    for callback in case.callbacks:
        got = callback.received
        if bodies.setdefault(got.webhook_id, got.body) != got.body:
            yield _finding("body", callback, f"{got.webhook_id} came with another body before: {_differs(bodies, got)}")
        row = case.events.get(got.webhook_id)
        if row is not None and row.body != got.body:
            yield _finding("body", callback, f"{got.webhook_id} was committed with another body")
        if callback.watch is not None and ids.setdefault((callback.watch, got.body), got.webhook_id) != got.webhook_id:
            yield _finding("id", callback, f"number {callback.sequence} came as {ids[callback.watch, got.body]} before")


def _differs(bodies: dict[str, str], got: object) -> str:
    body = getattr(got, "body", "")
    before = bodies[getattr(got, "webhook_id", "")]
    at = next((n for n, (one, other) in enumerate(zip(before, body, strict=False)) if one != other), len(before))
    return f"from byte {at}: {before[at : at + 40]!r}, then {body[at : at + 40]!r}"


def numbering(case: Case) -> Iterator[Finding]:
    """Find a watch whose committed events do not count 1, 2, 3."""
    for watch, rows in case.history.items():
        numbers = [row.sequence for row in rows]
        first = numbers[0] if case.terms.pruned else 1
        if numbers != list(range(first, first + len(numbers))) or case.watches[watch].sequence != numbers[-1]:
            evidence = f"committed as {numbers[:20]}, and the watch has come to {case.watches[watch].sequence}"
            yield Finding(rule="numbering", watch=watch, endpoint=None, evidence=evidence)


def repeats(case: Case) -> Iterator[Finding]:
    """Find a message that came again though it had been accepted and nothing befell its sender."""
    for callbacks in case.arrivals.values():
        for before, again in pairwise(callbacks):
            if before.received.accepted and not explained(case, before, again):
                yield _finding("repeat", again, f"it had been accepted at {before.received.at}")


def repeats_of_the_settled(case: Case) -> Iterator[Finding]:
    """Find a message that was sent again though the database had been seen to know that it was accepted."""
    settled = {
        (did.detail["webhook_id"], did.detail["endpoint"]): did.at
        for did in reversed(case.did)
        if did.action == "settled"
    }
    for key, since in settled.items():
        for again in case.arrivals.get(key, ()):
            got = again.received
            # It may have been held up on its way: it counts if its own timestamp is later too.
            asked = any(_asks_for(did, again) for did in case.between(since, got.at, ("retry",)))
            if got.at > since and got.timestamp > since and not asked:
                yield _finding("repeat", again, f"the database knew at {since} that it had been accepted")


def causes(case: Case) -> dict[str, int]:
    """Count the messages that came again by what explains it; a refused or lost answer explains most of them."""
    counts: Counter[str] = Counter()
    for callbacks in case.arrivals.values():
        for before, again in pairwise(callbacks):
            if not before.received.accepted:
                counts["an answer refused or lost"] += 1
            else:
                counts[_cause(case, before, again) or "nothing"] += 1
    return dict(counts)


def explained(case: Case, before: Callback, again: Callback, *by: str) -> bool:
    """Return whether something explains why a message came again; `by` these, an unclean stop, or a retry."""
    return _cause(case, before, again, *by) is not None


def _cause(case: Case, before: Callback, again: Callback, *by: str) -> str | None:
    sender = before.received.node
    if before.received.late and not by:
        return "a late answer"
    for did in case.between(before.received.at, again.received.at, (*(by or EXPLAINING), "stop", "retry")):
        if did.action == "retry":
            if _asks_for(did, again):
                return did.action
        elif did.action == "standstill":
            if again.received.timestamp - before.received.timestamp >= int(case.terms.gives_up):
                return did.action
        elif did.concerns(sender) and (did.action != "stop" or not did.detail.get("clean", True)):
            return did.action
    if not by and _is_held_up(case, before, again):
        return "an attempt held up on its way"
    return None


def _is_held_up(case: Case, before: Callback, again: Callback) -> bool:
    """Return whether what came again may have been sent before the other was accepted, by a sender whose way was cut.

    That one gave the attempt up, another one was accepted, and then the first came through.
    """
    got = again.received
    return got.timestamp <= before.received.at and any(
        did.concerns(got.node) and did.detail.get("where") == "receiver"
        for did in case.between(got.timestamp, got.at, ("cut",))
    )


def _asks_for(retry: Did, callback: Callback) -> bool:
    """Return whether an operator asked for a message again."""
    got = callback.received
    id_, endpoint = retry.detail.get("webhook_id"), retry.detail.get("endpoint")
    return id_ in (None, got.webhook_id) and endpoint in (None, got.endpoint)


def _finding(rule: str, callback: Callback, evidence: str) -> Finding:
    return Finding(rule=rule, watch=callback.watch, endpoint=callback.received.endpoint, evidence=evidence)
