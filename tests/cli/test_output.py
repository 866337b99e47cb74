"""Tables fit the terminal without harming an id; what others sent steers no terminal."""

from __future__ import annotations

import pytest
from rich.text import Text

from notifier.cli.output import cell, printable, span, table

COLUMNS = ("id", "watch", "reason", "endpoint")
ROWS = [
    ("1", "vidu/2370487727425660", "connection refused by the peer", "billing-system"),
    ("2", "vidu/2370487727425661", "-", "a"),
]


def plain(width: int | None) -> list[str]:
    return [line.plain for line in table(COLUMNS, ROWS, width=width, cut=("reason", "endpoint"))]


def test_nothing_is_shortened_without_a_terminal() -> None:
    head, first, second = plain(None)
    assert head.split() == list(COLUMNS)
    assert "connection refused by the peer" in first
    assert first.endswith("billing-system")
    assert second.endswith("a")
    assert all(first.index(text) == head.index(name) for text, name in (("vidu", "watch"), ("billing", "endpoint")))


@pytest.mark.parametrize("width", [50, 60, 70])
def test_a_narrow_terminal_shortens_what_may_be(width: int) -> None:
    """The widest column gives first; ids stay whole."""
    lines = plain(width)
    assert max(map(len, lines)) <= width
    assert "vidu/2370487727425660" in lines[1]
    assert "…" in lines[1]


@pytest.mark.parametrize(
    ("width", "kept"),
    [(None, "id watch reason endpoint"), (49, "id watch reason endpoint"), (40, "id watch reason"), (20, "id watch")],
)
def test_a_narrower_terminal_loses_the_least_useful_columns(width: int | None, kept: str) -> None:
    """First those that may be cut are shortened; a column that is left out leaves no gap."""
    lines = table(COLUMNS, ROWS, width=width, cut=("reason", "endpoint"), drop=("endpoint", "reason"))
    assert lines[0].plain.split() == kept.split()
    assert "vidu/2370487727425660" in lines[1].plain
    assert len({line.plain.index("vidu") for line in lines[1:]}) == 1


def test_ids_stay_whole_even_where_there_is_no_room() -> None:
    assert "vidu/2370487727425660" in plain(20)[1]


def test_wide_characters_are_counted_as_they_are_shown() -> None:
    [_, line] = table(("a", "b"), [("图像", "x")], width=None)
    assert line.plain == "图像  x"
    [_, line, other] = table(("a", "b"), [("图像", "x"), ("abcdef", "y")], width=None)
    assert line.plain == "图像    x"
    assert other.plain == "abcdef  y"


def test_control_characters_are_shown_not_sent() -> None:
    assert printable("a\x1b[31m\nb\x9b") == "a\\x1b[31m\\nb\\x9b"
    assert cell("\x1b]0;title\x07").plain == "\\x1b]0;title\\x07"
    assert cell("[red]x[/]").plain == "[red]x[/]"
    assert cell(None).plain == "-"
    assert cell(Text("kept")).plain == "kept"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "-"), (0.0123, "12ms"), (1, "1.0s"), (59.94, "59.9s"), (90, "1.5m"), (5400, "1.5h"), (129600, "1.5d")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
