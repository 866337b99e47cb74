"""What a simulated task reports."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from notifier.tools.transcript import documented, frame, load, parse_lines, parse_spec, state_of

# Of the text in the provider's documentation, a newline after its last line.
SHA256 = "5bb7001ee4235b9d4d35ca4fb707410e1099f9af5b0f6c851ec377d76a2708ff"


def test_documented_transcript_is_the_documentation_byte_for_byte() -> None:
    """Its frames in `line` framing are the 32 documented lines: 3 queueing, 28 processing, 1 success."""
    text = b"".join(frame(payload, "line", b"\n") for payload in documented().snapshots)
    states = [state_of(payload) for payload in documented().snapshots]
    assert states == ["queueing"] * 3 + ["processing"] * 28 + ["success"]
    assert len(text) == 2135
    assert hashlib.sha256(text).hexdigest() == SHA256


def test_event_framing_adds_a_blank_line_and_keeps_the_line_end() -> None:
    assert frame(b"{}", "event", b"\r\n") == b"data: {}\r\n\r\n"
    assert frame(b"{}", "line", b"\r") == b"data: {}\r"


def test_spec_gives_the_documented_snapshots() -> None:
    """The compact text for what is documented makes the same bytes."""
    assert parse_spec("queueing*3,processing*28,success") == documented()


def test_spec_takes_an_error_code() -> None:
    (payload,) = parse_spec("failed:CreditInsufficient").snapshots
    assert payload == b'{"state":"failed","estimated_time_left":0,"err_code":"CreditInsufficient"}'


@pytest.mark.parametrize("text", ["", "queueing,,success", "a*b", "a b", "a*999999999", "*3"])
def test_bad_spec_is_refused_with_the_part(text: str) -> None:
    with pytest.raises(ValueError, match="transcript: "):
        parse_spec(text)


def test_lines_ignore_blanks_and_comments_and_name_the_bad_line() -> None:
    assert parse_lines(b": hi\n\ndata: {}\ndata:1\r\n").snapshots == (b"{}", b"1")
    with pytest.raises(ValueError, match="line 2 "):
        parse_lines(b"data: {}\nid: 1\n")
    with pytest.raises(ValueError, match="no `data:` line"):
        parse_lines(b"\n")


def test_load_reads_a_file_a_spec_or_the_documented(tmp_path: Path) -> None:
    file = tmp_path / "own.sse"
    file.write_bytes(b'data: {"status":"done"}\n')
    assert load(f"@{file}").snapshots == (b'{"status":"done"}',)
    assert load("documented") == documented()
    assert len(load("a*2,b").snapshots) == 3


@pytest.mark.parametrize("payload", [b"{not json", b"[]", b'{"state": 3}', b"\xff"])
def test_state_of_anything_else_is_a_question_mark(payload: bytes) -> None:
    assert state_of(payload) == "?"
