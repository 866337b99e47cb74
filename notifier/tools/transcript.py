"""The snapshots that a simulated task reports. Pure: texts in, snapshots and bytes out.

A snapshot is the payload of one `data:` line; a transcript is every snapshot of one task from first to last. It
comes from the documentation (packaged, byte for byte), from a file in the same format, or from a compact text such
as `queueing*3,processing*28,success` or `queueing,failed:CreditInsufficient`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

Framing = Literal["line", "event"]  # `line`: data lines directly under one another; `event`: a blank line after each

MAX_SNAPSHOTS = 100_000  # of one transcript: a typo such as `processing*9999999999` must not fill the memory
TERMINAL_STATES = frozenset({"success", "succeeded", "failed", "canceled"})

_STEP = r"(?P<state>{state})(?::(?P<code>[^*,]*))?(?:\*(?P<count>\d+))?"
WORD = r"[\w.-]+"  # a state of the documented API


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Every snapshot of one task; may be empty, for a task that is moved by hand."""

    snapshots: tuple[bytes, ...]


def snapshot(state: str, *, err_code: str = "") -> bytes:
    """Return a snapshot as the documented upstream writes it."""
    return json.dumps(
        {"state": state, "estimated_time_left": 0, "err_code": err_code}, separators=(",", ":"), ensure_ascii=False
    ).encode()


def parse_spec(text: str) -> Transcript:
    """Read `STATE[:ERR_CODE][*COUNT],...`. Raises ValueError with the wrong part."""
    return Transcript(snapshots=tuple(snapshot(state, err_code=code) for state, code in parse_steps(text)))


def parse_steps(text: str, *, state: str = WORD) -> list[tuple[str, str]]:
    """Return the state and the error code of each step of a compact text; `state` is a pattern of states.

    Raises ValueError with the wrong part.
    """
    pattern, steps = re.compile(_STEP.format(state=state)), list[tuple[str, str]]()
    for part in text.split(","):
        match = pattern.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"transcript: {part.strip()!r} is not STATE[:ERR_CODE][*COUNT]")
        count = int(match["count"] or 1)
        if len(steps) + count > MAX_SNAPSHOTS:
            raise ValueError(f"transcript: more than {MAX_SNAPSHOTS} snapshots at {part.strip()!r}")
        steps += [(match["state"], match["code"] or "")] * count
    return steps


def parse_lines(text: bytes) -> Transcript:
    """Read `data:` lines; blank lines and comments are ignored. Raises ValueError with the number of a bad line."""
    snapshots: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(b":"):
            continue
        if not line.startswith(b"data:"):
            raise ValueError(f"transcript: line {number} is no `data:` line: {line[:60]!r}")
        snapshots.append(line.removeprefix(b"data:").removeprefix(b" "))
    if not snapshots:
        raise ValueError("transcript: no `data:` line")
    if len(snapshots) > MAX_SNAPSHOTS:
        raise ValueError(f"transcript: more than {MAX_SNAPSHOTS} snapshots")
    return Transcript(snapshots=tuple(snapshots))


@cache
def documented() -> Transcript:
    """Return the transcript printed in the upstream's documentation: 3 queueing, 28 processing, success."""
    return parse_lines(files("notifier.tools").joinpath("data", "vidu-state-transcript.sse").read_bytes())


def load(text: str) -> Transcript:
    """Read a transcript as given on a command line: `documented`, `@FILE` or a compact text.

    Raises ValueError for a bad text and OSError for a file that cannot be read.
    """
    if text == "documented":
        return documented()
    if text.startswith("@"):
        return parse_lines(Path(text[1:]).read_bytes())
    return parse_spec(text)


@lru_cache(maxsize=4096)
def frame(payload: bytes, framing: Framing, eol: bytes) -> bytes:
    """Return a snapshot as it is written to a stream."""
    return b"data: " + payload + (eol if framing == "line" else eol + eol)


@lru_cache(maxsize=4096)
def state_of(payload: bytes) -> str:
    """Return the state that a snapshot reports, or `?` if it reports none."""
    try:
        fields = json.loads(payload)
    except ValueError:
        return "?"
    state = fields.get("state") if isinstance(fields, dict) else None
    return state if isinstance(state, str) else "?"
