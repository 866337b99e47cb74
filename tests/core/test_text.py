"""Text from strangers is brought into a form that both databases hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.text import storable


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("plain", "plain"),
        ("über 東京 \U0001f600", "über 東京 \U0001f600"),
        ("a\0b", "a\ufffdb"),
        ("ü\0b", "ü\ufffdb"),
        (json.loads(r'"\ud83d"'), "\ufffd"),
        (json.loads(r'"\ude00\ud83d"'), "\ufffd\ufffd"),
        ("line\nbreak\ttab\x7f", "line\nbreak\ttab\x7f"),
    ],
)
def test_only_what_a_database_refuses_is_replaced(text: str, stored: str) -> None:
    """Every other character stays, control characters too."""
    assert storable(text) == stored


@given(st.text(st.characters(codec=None)))
def test_the_result_can_be_written(text: str) -> None:
    """Whatever comes in: it has the same length, encodes, and does not change again."""
    stored = storable(text)
    assert len(stored) == len(text)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
    assert storable(stored) == stored
