"""Paths of results: no name leads out of its directory, and none into another's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.archive import MAX_PART, file_name, part


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("2370487727425660", "2370487727425660"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("a b/ü", "a%20b%2F%C3%BC"),
        ("a\0b", "a%00b"),
        ("%2E", "%252E"),
    ],
)
def test_a_name_is_one_part(name: str, written: str) -> None:
    assert part(name) == written


@given(st.text(min_size=1, max_size=400))
def test_no_name_leads_away(name: str) -> None:
    """No slash, no hidden file, no NUL, a bounded length."""
    written = part(name)
    assert "/" not in written
    assert "\0" not in written
    assert not written.startswith(".")
    assert 0 < len(written) <= MAX_PART


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_two_names_are_two_parts(one: str, other: str) -> None:
    assert (part(one) == part(other)) == (one == other)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://cdn.example/a/b.MP4?sig=x.y", "1.mp4"),
        ("https://cdn.example/a/b", "1"),
        ("https://cdn.example/a.b/", "1"),
        ("https://cdn.example/x.tar.gz#a.b", "1.gz"),
        ("https://cdn.example/x.averylongsuffix", "1"),
        ("https://cdn.example/x.%2e%2e", "1"),
    ],
)
def test_a_file_is_named_by_number_and_suffix(url: str, name: str) -> None:
    assert file_name(1, url) == name
