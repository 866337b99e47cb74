"""The faults of one connection to the simulator, and their written form. Pure: no I/O, no randomness.

A fault is written `KIND[:ARGUMENT][@LINES][xTIMES][#NTH][%PERCENT]`: `@` after how many data lines, `x` only on
the first TIMES connections of a task (then it gives way to normal behaviour), `#` only on the NTH connection, `%` on
that share of connections. A rule adds the task ids it is for, as a glob: `video-*=reset@3x1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import assert_never

HUGE_LINE = 4 << 20  # bytes; above every sane limit on a line
MAX_LINE = 256 << 20  # bytes; the simulator holds a huge line in memory


class How(StrEnum):
    """The ways in which a stream is cut short."""

    DROP = "drop"  # a clean end: last chunk written, connection kept
    RESET = "reset"  # TCP RST
    TRUNCATE = "truncate"  # closed without the last chunk
    STALL = "stall"  # silence, the connection stays open


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Cut the stream short after so many data lines."""

    how: How
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """After so many data lines, write bytes that are no snapshot."""

    after: int
    data: tuple[bytes, ...]  # lines, without their ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer with something else than a stream."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    body: bytes | None = b""  # None: the task's current snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    """Close the connection without a byte of reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowHead:
    """Wait before the head of the reply."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comments:
    """Write `: ping` and never a snapshot."""

    every: float  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEnd:
    """End lines with something else than LF."""

    eol: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bom:
    """Begin the stream with a byte order mark."""


What = Cut | Insert | Answer | Hangup | SlowHead | Comments | LineEnd | Bom


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and on which connections of a task."""

    name: str  # its kind, as counted in the statistics
    what: What
    times: int | None = None  # only the first so many
    nth: int | None = None  # only this one
    chance: float = 1.0

    def strikes(self, connection: int, roll: float) -> bool:
        """Return whether it happens on a task's connection (counted from 1), given a random `roll` in [0, 1)."""
        if self.times is not None and connection > self.times:
            return False
        if self.nth is not None and connection != self.nth:
            return False
        return roll < self.chance


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Everything that goes wrong on one connection."""

    names: tuple[str, ...] = ()
    answer: Answer | Hangup | None = None  # in place of a stream
    delay: float = 0.0  # seconds before the head
    eol: bytes = b"\n"
    bom: bool = False
    comments: float | None = None  # seconds between comments, in place of snapshots
    inserts: tuple[Insert, ...] = ()
    cut: Cut | None = None


def plan_of(faults: Iterable[Fault]) -> FaultPlan:
    """Combine faults: the first answer and the earliest cut win, all else adds up."""
    plan = FaultPlan()
    for fault in faults:
        plan = replace(plan, names=(*plan.names, fault.name))
        match fault.what:
            case Cut() as cut:
                if plan.cut is None or cut.after < plan.cut.after:
                    plan = replace(plan, cut=cut)
            case Insert() as insert:
                plan = replace(plan, inserts=(*plan.inserts, insert))
            case Answer() | Hangup() as answer:
                plan = replace(plan, answer=plan.answer or answer)
            case SlowHead(seconds=seconds):
                plan = replace(plan, delay=plan.delay + seconds)
            case Comments(every=every):
                plan = replace(plan, comments=every)
            case LineEnd(eol=eol):
                plan = replace(plan, eol=eol)
            case Bom():
                plan = replace(plan, bom=True)
            case _:
                assert_never(fault.what)
    return plan


_FAULT = re.compile(
    r"(?P<kind>[a-z]+|\d{3})(?::(?P<argument>.+?))?"
    r"(?:@(?P<after>\d+))?(?:x(?P<times>\d+))?(?:#(?P<nth>\d+))?(?:%(?P<percent>\d+(?:\.\d+)?))?",
    re.DOTALL,
)
_GARBAGE = (b"data: {not json", b"data: \xff\xfe\x00\x9f", b"\x80\x81\x82", b"data: []", b"nonsense: 1", b"data")
_HTML = b"<!doctype html><title>Gateway</title><h1>Please log in</h1>"


def _seconds(argument: str | None, default: float) -> float:
    if argument is None:
        return default
    if not re.fullmatch(r"\d+(\.\d+)?s?", argument):
        raise ValueError(f"{argument!r} is no number of seconds")
    return float(argument.removesuffix("s"))


def _huge(argument: str | None, after: int) -> Insert:
    if argument is not None and not argument.isdecimal():
        raise ValueError(f"{argument!r} is no number of bytes")
    size = HUGE_LINE if argument is None else int(argument)
    if size > MAX_LINE:
        raise ValueError(f"{size} bytes are more than {MAX_LINE}")
    return Insert(after=after, data=(b"data: " + b"x" * size,))


def error_body(message: str) -> bytes:
    """Return an error as the documented gateway words it; `message` holds nothing that JSON would escape."""
    return b'{"error":{"message":"%b"}}' % message.encode()


def _status(kind: str, argument: str | None) -> Answer:
    status = int(kind)
    if status not in range(400, 600):
        raise ValueError(f"{kind} is no status that can be asked for: 204, or 400 to 599")
    try:
        phrase = HTTPStatus(status).phrase.lower()
    except ValueError:
        phrase = "error"
    if argument is not None and not (argument.isascii() and argument.isprintable()):
        raise ValueError(f"{argument!r} cannot stand in a header")
    headers = () if argument is None else (("Retry-After", argument),)
    return Answer(status=status, headers=headers, body=error_body("server_id not found" if status == 404 else phrase))


def _redirect(argument: str | None) -> Answer:
    target = argument or "/elsewhere"
    if not (target.isascii() and target.isprintable()) or " " in target:
        raise ValueError(f"{target!r} is no URL")
    return Answer(status=302, headers=(("Location", target),))


_Maker = Callable[[str | None, int], What]

_KINDS: dict[str, tuple[str, _Maker]] = {
    # kind: which of ARGUMENT and LINES it takes, and what it makes of them
    "drop": ("@", lambda _, after: Cut(how=How.DROP, after=after)),
    "reset": ("@", lambda _, after: Cut(how=How.RESET, after=after)),
    "truncate": ("@", lambda _, after: Cut(how=How.TRUNCATE, after=after)),
    "stall": ("@", lambda _, after: Cut(how=How.STALL, after=after)),
    "garbage": ("@", lambda _, after: Insert(after=after, data=_GARBAGE)),
    "huge": (":@", _huge),
    "html": ("", lambda *_: Answer(status=200, content_type="text/html; charset=utf-8", body=_HTML)),
    "json": ("", lambda *_: Answer(status=200, body=None)),
    "204": ("", lambda *_: Answer(status=204)),
    "redirect": (":", lambda argument, _: _redirect(argument)),
    "hangup": ("", lambda *_: Hangup()),
    "slowhead": (":", lambda argument, _: SlowHead(seconds=_seconds(argument, 10.0))),
    "comments": (":", lambda argument, _: Comments(every=max(0.01, _seconds(argument, 1.0)))),
    "crlf": ("", lambda *_: LineEnd(eol=b"\r\n")),
    "cr": ("", lambda *_: LineEnd(eol=b"\r")),
    "bom": ("", lambda *_: Bom()),
}
KINDS = (*_KINDS, "4xx", "5xx")


def _status_kind(kind: str) -> tuple[str, _Maker]:
    return ":", lambda argument, _: _status(kind, argument)


def parse_fault(text: str) -> Fault:
    """Read `KIND[:ARGUMENT][@LINES][xTIMES][#NTH][%PERCENT]`. Raises ValueError with the reason."""
    match = _FAULT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"fault {text!r}: expected KIND[:ARGUMENT][@LINES][xTIMES][#NTH][%PERCENT]")
    kind, argument, after = match["kind"], match["argument"], match["after"]
    if kind not in _KINDS and not kind.isdecimal():
        raise ValueError(f"fault {text!r}: no kind {kind!r}; there are: {', '.join(KINDS)}")
    takes, make = _KINDS.get(kind) or _status_kind(kind)
    if argument is not None and ":" not in takes:
        raise ValueError(f"fault {text!r}: {kind} takes no :{argument}")
    if after is not None and "@" not in takes:
        raise ValueError(f"fault {text!r}: {kind} takes no @{after}")
    percent = float(match["percent"] or 100)
    times, nth = match["times"], match["nth"]
    if percent > 100 or times == "0" or nth == "0":
        raise ValueError(f"fault {text!r}: x and # count from 1, % goes up to 100")
    try:
        what = make(argument, 1 if after is None else int(after))
    except ValueError as exc:
        raise ValueError(f"fault {text!r}: {exc}") from exc
    return Fault(
        name=kind,
        what=what,
        times=int(times) if times else None,
        nth=int(nth) if nth else None,
        chance=percent / 100,
    )


def parse_rule(text: str) -> tuple[str, Fault]:
    """Read `[GLOB=]FAULT`; without a glob it is for every task. Raises ValueError with the reason."""
    try:
        return "*", parse_fault(text)
    except ValueError:
        glob, equals, fault = text.partition("=")
        if not equals or not glob:
            raise
    return glob, parse_fault(fault)
