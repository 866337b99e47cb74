"""The document of a provider: values that are safe, and paths that find or find nothing, but never raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.core.model import Json
from notifier.sources.document import MAX_DEPTH, find, parse


def test_unusual_json() -> None:
    """A BOM, white space, invalid UTF-8 and deep but bounded nesting are read."""
    assert parse(b'\xef\xbb\xbf {"a":\n"\xff"} ') == {"a": "\ufffd"}
    deep = parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert json.dumps(deep) == "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse(b"[[],[],[]," + b"[]," * 200 + b"{}]")[-1] == {}


@pytest.mark.parametrize("path", ["length(@.n)", "sum(n)", "a[::0]", "n > `1` && x[?@ > `1`]", "sort_by(x, &n)"])
def test_a_path_that_fails_finds_nothing(path: str) -> None:
    """A path that cannot be followed in this snapshot is like one that leads nowhere."""
    assert find(path)({"n": 3, "a": [1], "x": ["s", {"n": 1}, {"n": "s"}]}) is None


keys = st.sampled_from(["state", "a", "b", "é"])
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5))
names = st.lists(st.sampled_from(["state", "a", "b"]), min_size=1, max_size=3).map(".".join)


@settings(max_examples=300, deadline=None)
@given(path=names, value=values)
def test_plain_paths_mean_what_jmespath_says(path: str, value: Json) -> None:
    """The short way for plain paths finds what JMESPath would."""
    found, expected = find(path)(value), find(f"{path} | @")(value)
    assert json.dumps(found) == json.dumps(expected)
