"""Tables fit the terminal without harming an id; what others sent steers no terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.text import Text
from waits import PATIENCE

from notifier.cli import delivery, node
from notifier.cli.output import cell, fold, printable, span, table

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


def test_a_narrow_terminal_loses_a_column_without_a_value_first() -> None:
    rows = [("1", None, "app"), ("2", None, "other")]
    drop = ("endpoint", "reason")
    wide, *_ = table(("id", "reason", "endpoint"), rows, width=24, drop=drop)
    narrow, *_ = table(("id", "reason", "endpoint"), rows, width=14, drop=drop)
    assert (wide.plain, narrow.plain) == ("id  reason  endpoint", "id  endpoint")


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


def test_a_column_stays_readable_as_long_as_another_can_go() -> None:
    """A reason of a few letters says less than one column fewer."""
    for width, kept in ((60, "id watch reason"), (80, "id watch reason endpoint")):
        lines = table(COLUMNS, ROWS, width=width, cut=("reason",), drop=("endpoint",))
        assert lines[0].plain.split() == kept.split()
        assert "connection refused" in lines[1].plain


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


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lists_fit_and_keep_what_matters(width: int) -> None:
    """On a narrow terminal the least useful columns go; a delivery's id and status, and a node's state, stay whole."""
    number, task, name = "1234", "vidu/2370487727425660", "app-of-the-billing-team"
    row = (number, "superseded", name, task, "state_changed", "2", "connect", "21:15:02")
    fitted = table(delivery.COLUMNS, [row], width=width, cut=delivery.CUT, drop=delivery.DROP)
    head, first = (each.plain for each in fitted)
    assert max(len(head), len(first)) <= width
    assert ("created" in head) == (width > 60)
    for part in (number, "superseded", task):
        assert part in first
    host = ("vm-with-a-name *", "2", "not ready", "1234", "1234", "12", "6.3m", "now", "0.1.0", "http://127.0.0.1:9780")
    head, first = (each.plain for each in table(node.COLUMNS, [host], width=width, cut=node.CUT, drop=node.DROP))
    assert max(len(head), len(first)) <= width
    assert "not ready" in first


def test_a_long_sentence_is_broken_between_words() -> None:
    """What follows is indented below its beginning; a word that is too long, as an address, stays whole."""
    assert fold("short", 80) == "short"
    line = "  dead fails (100 % of attempts find no connection), and is tried again: 3 deliveries kept"
    assert fold(line, 60) == (
        "  dead fails (100 % of attempts find no connection), and is\n    tried again: 3 deliveries kept"
    )
    address = "https://example.com/" + "x" * 60
    assert fold(f"see {address} for more", 40) == f"see\n  {address}\n  for more"
    assert fold(line, 10) == line


def test_sentences_fit_the_terminal_of_who_reads_them(tmp_path: Path) -> None:
    """In a terminal of 60 columns `check` breaks no word, in its report or its warnings; elsewhere lines are whole."""
    (tmp_path / "config.yaml").write_text(
        "sources: {vidu: {preset: vidu, token: t}}\n"
        "endpoints: {app: {type: webhook, url: 'https://example.com/hooks', signature: none,"
        " match: {labels: {team: video, tier: gold}}}}\n"
        'watches: ["1"]\n'
    )
    command = [sys.executable, "-m", "notifier", "check"]
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert max(map(len, (piped.stdout + piped.stderr).splitlines())) > 80
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    with subprocess.Popen(command, cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        printed = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed (pty(7))
            while part := os.read(master, 4096):
                printed += part
        os.close(master)
        assert process.wait(PATIENCE) == 0, printed
    shown = printed.decode().replace("\r", "")
    assert max(map(len, shown.splitlines())) <= 60
    assert shown.split() == (piped.stdout + piped.stderr).split()  # the warnings come last, and no word is broken
