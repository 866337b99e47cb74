"""Asking: an upstream is asked about a task no more often than it bears, and no more once the task was removed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from judge.case import Case, Finding

# Random pauses that grow from a second keep far below this; a loop without pauses does not.
MOST, WITHIN = 14, 5.0  # requests about one task, in so many seconds
OBEYED = 3600.0  # seconds of a Retry-After that are obeyed at most
RENEWING = ("start", "kill", "stop", "takeover", "add", "remove")  # after which an upstream's request is forgotten
ENDING = 5.0  # seconds within which a stream ends whose task was removed


def hasty(case: Case) -> Iterator[Finding]:
    """Find a task that is asked about without end, or before the time for which the upstream asked."""
    for watch, asked in case.asked.items():
        for before, again in zip(asked, asked[MOST:], strict=False):
            if again.at - before.at < WITHIN and not _renewed(case, watch, before.at, again.at):
                evidence = f"it was asked {MOST + 1} times in {again.at - before.at:.2f} s, from {before.at} on"
                yield _finding("hasty", watch, evidence)
                break
        for before, again in pairwise(asked):
            if before.retry_after is None:
                continue
            since = before.at if before.answered is None else before.answered
            wait = min(before.retry_after, OBEYED)
            if any(case.between(before.at, since, ("resume",))):
                continue  # its patience and the answer came to their end in the same moment: it may not have read that
            if again.at - since < wait - case.terms.slack and not _renewed(case, watch, before.at, again.at):
                yield _finding("hasty", watch, f"it was asked again after {again.at - since:.3f} s, not {wait:g} s")


def _renewed(case: Case, watch: str, after: float, before: float) -> bool:
    """Return whether the task, its source or the process began anew between two moments."""
    source, _, task = watch.partition("/")
    for did in case.between(after, before, (*RENEWING, "reload")):
        if did.action == "reload":
            if source in did.detail.get("sources", ()) or task in did.detail.get("tasks", ()):
                return True
        elif did.detail.get("task") in (None, task):
            return True
    return False


def dropped(case: Case) -> Iterator[Finding]:
    """Find a stream that went on though its task had been removed."""
    for did in case.did:
        if did.action != "remove" or not did.detail.get("done"):
            continue
        watch = f"{did.detail['source']}/{did.detail['task']}"
        added = [each.at for each in case.added.get(watch, ()) if each.at > did.at]
        anew = min(added, default=float("inf"))
        for said in case.said.get(watch, ()):
            if said.complete and did.at + ENDING < said.at < anew:
                yield _finding("removed", watch, f"{said.state} was read at {said.at}; it was removed at {did.at}")
                break


def _finding(rule: str, watch: str, evidence: str) -> Finding:
    return Finding(rule=rule, watch=watch, endpoint=None, evidence=evidence)
