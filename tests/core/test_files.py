"""Whose copy of the files holds."""

from __future__ import annotations

from notifier.core.files import Copy, newer

NEW = Copy(node="b", digest="new")


def test_an_older_copy_does_not_undo_a_newer_one() -> None:
    """At a start, and when its node reads again what it had before."""
    for before in (None, "old"):
        assert newer("old", before=before, current="new", superseded=True, others=[NEW]) == NEW
    other = Copy(node="a", digest=None)
    assert newer("old", before=None, current="new", superseded=True, others=[other, NEW]) == NEW


def test_what_was_never_superseded_is_applied() -> None:
    """What is in force already, and what nobody knows."""
    assert newer("new", before=None, current="new", superseded=False, others=[NEW]) is None
    assert newer("newest", before=None, current="new", superseded=False, others=[NEW]) is None


def test_files_that_change_back_hold() -> None:
    """Whoever changes them means it, be it to what they were."""
    assert newer("old", before="new", current="new", superseded=True, others=[NEW]) is None


def test_what_nobody_has_any_more_does_not_hold() -> None:
    """A node alone, or the last one that is rolled back."""
    assert newer("old", before=None, current="new", superseded=True, others=[]) is None
    assert newer("old", before=None, current="new", superseded=True, others=[Copy(node="b", digest="old")]) is None
