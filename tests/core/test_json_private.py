"""json has the inside that is relied upon, and values are encoded as it encodes them itself."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config.scalars import Number
from notifier.core import json_private

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.floats().map(repr).map(Number)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))

STYLES = (
    {"sort_keys": True},
    {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")},
    {"skipkeys": True, "ensure_ascii": False},
)
encode = json_private.compiled(json.JSONEncoder(sort_keys=True))


def test_there_is_an_encoder_in_c() -> None:
    """Otherwise nothing is gained."""
    assert json_private._make is not None


@pytest.mark.parametrize("style", STYLES)
@given(value=VALUES)
def test_values_are_encoded_as_json_does(style: dict[str, Any], value: Any) -> None:
    """To the character: stored texts are compared with new ones, and bytes are signed."""
    try:
        text = json.dumps(value, **style)
    except ValueError as exc:  # a number outside JSON
        text = str(exc)
    try:
        mine = json_private.compiled(json.JSONEncoder(**style))(value)
    except ValueError as exc:
        mine = str(exc)
    assert mine == text


def test_each_call_is_by_itself() -> None:
    """Nothing of one that failed is left for the next."""
    for wrong in ({"a": object()}, {"b": 1, 2: 3}):
        with pytest.raises(TypeError):
            encode(wrong)
        assert encode({"b": [math.inf], "a": "é"}) == r'{"a": "\u00e9", "b": [Infinity]}'


def test_without_the_module_in_c_it_works_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another Python."""
    monkeypatch.setattr(json_private, "_make", None)
    assert json_private.compiled(json.JSONEncoder(sort_keys=True))({"b": 1, "a": [None]}) == '{"a": [null], "b": 1}'
