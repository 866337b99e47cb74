"""JSON is read as RFC 8259 has it; what Python would let pass besides is refused."""

from __future__ import annotations

import json

import pytest

from notifier.core.strictjson import SameKeyTwice, parse


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, "b", null, true], "b": {}}', "[]", '"text"', "-0.5e3", "null"])
def test_what_is_json_is_read(text: str) -> None:
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_what_only_python_has_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        parse(text)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]'])
def test_a_key_that_comes_twice_is_refused(text: str) -> None:
    """Readers of JSON disagree about which one counts."""
    with pytest.raises(SameKeyTwice):
        parse(text)


def test_the_same_key_in_two_mappings_is_fine() -> None:
    assert parse('[{"a": {"a": 1}}, {"a": 2}]') == [{"a": {"a": 1}}, {"a": 2}]
