"""Shows the line of a mistake in YAML, with a mark below the place. Anything that could be a secret is left out.

Where YAML is broken, nobody can tell values from keys, or where a value ends. Therefore only the indentation, a key
that this program knows, and single characters of YAML's syntax are shown; `…` stands for everything else.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1, section 5.4
_HEAD = re.compile(r"""(?P<indent>[ \t]*)(?P<dashes>(?:-[ ]+)*)(?:(?P<key>(["']?)\w+\4)(?P<colon>[ ]*:)(?=[ \t]|$))?""")
_OPENING = frozenset("'\"[{|>&*!%@`#")  # with which a value may begin
_SYNTAX = _OPENING | frozenset("]},:\\-?\t")
_LEFT_OUT = "…"
_TAB = "→"
_WIDEST = 72  # characters of a shown line; a longer one is broken by terminals, which moves the mark


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a line: how it is shown, and how many characters it stands for."""

    shown: str
    length: int


def excerpt(text: str, line: int, column: int, *, keys: Collection[str]) -> tuple[str, ...]:
    """Return the line and a mark below the column, both from 1; of the keys, only `keys` are shown.

    A mistake of indentation has the line before it as well. The result is empty for a line that is too wide.
    """
    lines = LINE_BREAK.split(text)
    if line > len(lines):
        return ()
    written = lines[line - 1]
    pieces = _pieces(written, column - 1, keys)
    shown = {line: "".join(piece.shown for piece in pieces)}
    if column - 1 <= len(written) - len(written.lstrip(" \t-")):
        before = next((n for n in range(line - 1, 0, -1) if lines[n - 1].partition("#")[0].strip()), None)
        if before is not None:
            shown[before] = "".join(piece.shown for piece in _pieces(lines[before - 1], None, keys))
    mark = " " * _offset(pieces, column - 1) + "^"
    if max(map(len, (*shown.values(), mark))) > _WIDEST:
        return ()
    gutter = len(str(line))
    numbered = [f"{number:>{gutter}} | {shown[number]}".rstrip() for number in sorted(shown)]
    return (*numbered, f"{'':>{gutter}} | {mark}")


def _pieces(written: str, place: int | None, keys: Collection[str]) -> list[_Piece]:
    head = _HEAD.match(written)
    assert head is not None  # each part of it may be empty
    pieces = [_Piece(_TAB if each == "\t" else each, 1) for each in head["indent"] + head["dashes"]]
    if head["key"] is not None:
        known = head["key"].strip("'\"") in keys
        pieces.append(_Piece(head["key"] if known else _LEFT_OUT, len(head["key"])))
        pieces += [_Piece(each, 1) for each in head["colon"]]
    rest = written[head.end() :]
    value = rest.lstrip(" \t")
    pieces += [_Piece(_TAB if each == "\t" else each, 1) for each in rest[: len(rest) - len(value)]]
    return pieces + _value(value, None if place is None else place - (len(written) - len(value)))


def _value(value: str, place: int | None) -> list[_Piece]:
    """Leave out a value, except for the character that it begins with and the one at the mistake."""
    kept = [at for at in (0, place) if at is not None and 0 <= at < len(value)]
    pieces: list[_Piece] = []
    end = 0
    for at in sorted(set(kept)):
        if value[at] in (_OPENING if at == 0 and place != 0 else _SYNTAX):
            pieces += [_Piece(_LEFT_OUT, at - end)] if at > end else []
            pieces.append(_Piece(_TAB if value[at] == "\t" else value[at], 1))
            end = at + 1
        elif at > end:
            pieces.append(_Piece(_LEFT_OUT, at - end))
            end = at
    return [*pieces, _Piece(_LEFT_OUT, len(value) - end)] if len(value) > end else pieces


def _offset(pieces: list[_Piece], place: int) -> int:
    """Return where the character at `place` of the written line is in the shown one."""
    offset = passed = 0
    for piece in pieces:
        if passed + piece.length > place:
            break
        passed += piece.length
        offset += len(piece.shown)
    return offset
