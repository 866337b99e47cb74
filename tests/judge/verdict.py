"""The verdict on a run: every rule, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from judge import database as rows
from judge import order
from judge.case import Case, Finding, Rule
from judge.record import Entry
from judge.terms import Terms

RULES: tuple[Rule, ...] = (order.order, order.one_body, order.repeats)


def judge(entries: Sequence[Entry], database: str | Path, terms: Terms | None = None) -> list[Finding]:
    """Return every promise that was not kept; none: all were."""
    return verdict(Case(entries, rows.read(database), terms or Terms()))


def verdict(case: Case) -> list[Finding]:
    """Return the findings of a case, once each."""
    return list(dict.fromkeys(finding for rule in RULES for finding in rule(case)))
