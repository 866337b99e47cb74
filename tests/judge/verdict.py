"""The verdict on a run: every rule, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from judge import asking, order, reloading, sending, truth
from judge import database as rows
from judge.case import Case, Finding, Rule
from judge.record import Entry
from judge.terms import Terms

RULES: tuple[Rule, ...] = (
    order.order,
    order.overtaking,
    order.numbering,
    order.one_body,
    order.repeats,
    order.repeats_of_the_settled,
    truth.invented,
    truth.skipped,
    truth.last_state,
    truth.previous,
    truth.after_the_end,
    truth.misdirected,
    truth.typed,
    asking.hasty,
    asking.dropped,
    sending.signed,
    sending.dated,
    sending.committed,
    sending.undelivered,
    sending.astray,
    sending.to_the_disabled,
    sending.by_its_owner,
    sending.by_schedule,
    reloading.kept_open,
)


def judge(entries: Sequence[Entry], database: str | Path, terms: Terms | None = None) -> list[Finding]:
    """Return every promise that was not kept; none: all were."""
    return verdict(Case(entries, rows.read(database), terms or Terms()))


def verdict(case: Case) -> list[Finding]:
    """Return the findings of a case, once each."""
    return list(dict.fromkeys(finding for rule in RULES for finding in rule(case)))
