"""Reloads: a stream whose settings did not change goes on over a reload on the same connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from judge.case import Case, Finding
from judge.record import Did, Said
from judge.truth import TERMINAL

BALANCING = 60.0  # seconds until watches are shared evenly again
ENDING = ("start", "kill", "stop", "pause", "resume", "takeover", "cut", "disk_full", "add", "remove")  # connections


def kept_open(case: Case) -> Iterator[Finding]:
    """Find a task that had to be connected anew though nothing but a reload happened."""
    reloads = [did for did in case.did if did.action == "reload"]
    for watch, said in case.said.items():
        if said[0].source in case.terms.polled:
            continue
        for before, after in _moves(each for each in said if each.complete):
            if before.phase in TERMINAL:
                continue
            unheard = [each.at for each in said if before.at < each.at < after.at and not each.complete]
            open_until = min(unheard, default=after.at)  # by then, nobody listened any more
            over = [each for each in reloads if before.at <= each.at <= open_until and not _changes(each, before)]
            if over and _calm(case, before, after):
                evidence = f"{before.connection} became {after.connection} over the reload at {over[0].at}"
                yield Finding(rule="reload", watch=watch, endpoint=None, evidence=evidence)


def _moves(said: Iterable[Said]) -> Iterator[tuple[Said, Said]]:
    """Yield the first sentence of each new connection, with the last one of the connection before it.

    Older ones may go on beside it: an upstream is not told of a connection that broke on the way.
    """
    newest, known = None, set[int]()
    for each in said:
        if newest is not None and each.connection not in known:
            yield newest, each
        if newest is None or each.connection == newest.connection or each.connection not in known:
            newest = each
        known.add(each.connection)


def _changes(reload: Did, said: Said) -> bool:
    return said.source in reload.detail.get("sources", ()) or said.task in reload.detail.get("tasks", ())


def _calm(case: Case, before: Said, after: Said) -> bool:
    """Return whether nothing else ended a connection between two sentences.

    Where there are several nodes, one that came or went makes others give streams to each other for a while.
    """
    if len({did.node for did in case.did if did.action == "start"}) > 1 and any(
        case.between(before.at - BALANCING, after.at, ("start", "kill", "stop", "takeover"))
    ):
        return False
    return not any(
        did.detail.get("task") in (None, before.task) and did.detail.get("where") in (None, "upstream", "database")
        for did in case.between(before.at, after.at, ENDING)
    )
