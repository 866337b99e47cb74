"""The form of W3C Trace Context, with the cases of its section 3.2.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.trace import accepted, trace_id, traceparent_fault

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # the specification's example


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (GOOD, None),
        (GOOD.replace("-01", "-00"), None),
        (GOOD.replace("00-4b", "01-4b") + "-what-the-future-holds", None),
        (GOOD.replace("00-4b", "ff-4b"), "version"),
        (GOOD + "-more", "version"),
        (GOOD.upper(), "lower case"),
        (GOOD[:-1], "expected 00-"),
        (GOOD + "\n", "expected 00-"),
        ("", "expected 00-"),
        (GOOD.replace("00-4b", "01-4b") + "-" + "x" * 600, "expected 00-"),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", "zeros"),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", "zeros"),
    ],
)
def test_the_form_is_checked(text: str, part: str | None) -> None:
    """A fault is told in words; a header with one is as good as none."""
    fault = traceparent_fault(text)
    assert (fault is None) == (part is None)
    assert part is None or part in (fault or "")
    assert accepted(text) == (text if part is None else None)


def test_no_header() -> None:
    assert accepted(None) is None


def test_the_id_of_a_trace() -> None:
    assert trace_id(GOOD) == "4bf92f3577b34da6a3ce929d0e0e4736"


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    """And what is accepted can be written into a header."""
    if traceparent_fault(text) is None:
        assert text.isascii()
        assert text.isprintable()
