"""The record of a run: what an upstream was asked and said, what receivers received, what operators and faults did.

JSON lines. Each is one object with a `kind` and `at`, in the order in which things happened. `at` is in seconds of one
clock for the whole record: the machine's, or a simulation's. Nobody sets that clock: a step of the daemon's is a `did`.

`said`: the upstream sent a snapshot of a task.

    {"kind": "said", "at": 12.5, "source": "vidu", "task": "t-1", "connection": 7, "state": "processing",
     "phase": "running", "body": {"state": "processing", "serial": 31}, "complete": true}

    connection  a number of its own for each stream, and for each answer to a poll; never used again
    state       the provider's word; `phase` is ours: queued, running, succeeded, failed, canceled
    body        the snapshot, as the daemon has to hand it on in `data.task`. Give each snapshot something of its own,
                such as a serial number that is sent again only where the upstream repeats itself: by it the judge
                tells alike states apart. Where two are alike, the daemon has the benefit of the doubt.
    complete    all bytes were handed to the socket while the connection was open and the other side read it.
                A snapshot that was cut, or that came while nobody asked, is said with `false`: it may become known.
    history     true for what a stream repeats at its beginning from before the present state (may be left out)

`asked`: the upstream was asked about a task, by a request for a stream or by a poll. Those that note it note all of it.

    {"kind": "asked", "at": 12.4, "source": "vidu", "task": "t-1", "retry_after": 20.0, "answered": 12.5}

    retry_after the seconds for which the answer asked to be left alone; null: it did not, or never arrived
    answered    when the answer arrived (may be left out: at once)

`received`: a receiver has read a callback whole. An attempt that was cut before its end is not in the record.

    {"kind": "received", "at": 12.6, "endpoint": "app", "webhook_id": "msg_1", "timestamp": 1795850461, "body": "{...}",
     "verified": true, "answer": 200, "node": "a"}

    endpoint    the name in the configuration; of a watch's own callback, the name that its deliveries have
    timestamp   of the header `webhook-timestamp`, a whole number of seconds
    body        the bytes, as text
    verified    the signature is right
    answer      the status; null: the connection ended, or time ran out, before an answer had gone out
    node        who sent it, where several do; else null
    late        true if the answer went out so late that the sender may have given up by then (may be left out)
    answered    when the answer was given or cut (may be left out: at once)
    retry_after the seconds for which the answer asked to be left alone (may be left out: it did not)

The line is written when the answer was given or cut, but `at` is when the callback had been read, so these lines alone
may be out of order; the judge sorts by `at`.

`did`: an operator or a fault did something.

    {"kind": "did", "at": 14.0, "action": "kill", "node": "a", "detail": {}}

    node        of which node it is true; null: of all
    detail      more, by action:

    start       a process begins; also a node that had been taken for dead and begins anew
    kill        it ends without notice, wherever it was: SIGKILL, power loss
    stop        it was asked to end, and has ended. {"clean": false}: it had to leave attempts unsettled
    pause       it stands still (SIGSTOP), until `resume`
    reload      its configuration was read again. {"sources": [...], "endpoints": [...], "tasks": [...]}: whose settings
                changed; nothing of others may change. `at` is when it was asked, {"until": s} when it was done
    add         a task was given to it, and it said so. {"source": ..., "task": ..., "metadata": {...}}; the last may be
                left out, for every time that the task is added
    remove      a task was taken from it. {"source": ..., "task": ...}; {"done": true}: it has said so by now
    disable     an endpoint was disabled, and it said so. {"endpoint": ...}
    enable      an endpoint was enabled. {"endpoint": ...}
    retry       a delivery was asked for again. {"webhook_id": ...}, {"endpoint": ...}, or {} for any
    cut         a connection ended or was held up on the way. {"where": "upstream" | "receiver" | "names" | "database" |
                "broker"}; {"source", "task", "connection"} where the upstream itself ends one stream; {"until": s}
    clock       its clock was set. {"by": seconds}
    disk_full   nothing could be written, {"until": s}
    takeover    it was declared dead, and others took what it had
    settled     its database was seen to know that a message was accepted. {"webhook_id": ..., "endpoint": ...}: it
                comes no more, whatever befalls the daemon
    dead        its database was seen to have given a message up. {"webhook_id": ..., "endpoint": ..., "attempt": n,
                "reason": ...}: it may be gone from the rows at the end, since an operator asked for it again
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

Action = Literal[
    "start",
    "kill",
    "stop",
    "pause",
    "resume",
    "reload",
    "add",
    "remove",
    "disable",
    "enable",
    "retry",
    "cut",
    "clock",
    "disk_full",
    "takeover",
    "standstill",
    "settled",
    "dead",
]
ACTIONS = frozenset(get_args(Action))


class RecordError(ValueError):
    """A line of a record is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The upstream sent a snapshot."""

    at: float
    source: str
    task: str
    connection: int
    state: str
    phase: str
    body: Any
    complete: bool = True
    history: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The upstream was asked."""

    at: float
    source: str
    task: str
    retry_after: float | None = None
    answered: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A receiver read a callback."""

    at: float
    endpoint: str
    webhook_id: str
    timestamp: int
    body: str
    verified: bool
    answer: int | None
    node: str | None = None
    late: bool = False
    answered: float | None = None
    retry_after: float | None = None

    @property
    def ended(self) -> float:
        """Return when its sender may have learnt the answer."""
        return self.at if self.answered is None else self.answered

    @property
    def accepted(self) -> bool:
        """Return whether it was answered 2xx."""
        return self.answer is not None and 200 <= self.answer < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """An operator or a fault did something."""

    at: float
    action: Action
    node: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def concerns(self, node: str | None) -> bool:
        """Return whether it may have concerned a node; a sender that is not known may be any."""
        return self.node is None or node is None or self.node == node


Entry = Said | Asked | Received | Did
_KINDS: Mapping[str, type[Entry]] = {"said": Said, "asked": Asked, "received": Received, "did": Did}
_NAMES = {made: name for name, made in _KINDS.items()}


def line(entry: Entry) -> str:
    """Return an entry as a line of a record, without its end."""
    return json.dumps({"kind": _NAMES[type(entry)], **asdict(entry)}, ensure_ascii=False, separators=(",", ":"))


def write(entry: Entry, to: TextIO) -> None:
    """Write an entry, as one line in one call."""
    to.write(line(entry) + "\n")


def parse(text: str) -> Entry:
    """Read a line. Raises RecordError."""
    try:
        fields = json.loads(text)
        entry = _KINDS[fields.pop("kind")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise RecordError(f"no line of a record: {text[:200]}") from exc
    if isinstance(entry, Did) and entry.action not in ACTIONS:
        raise RecordError(f"no action: {entry.action}")
    return entry


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Read lines; an unfinished last one, of a recorder that was killed, is left out. Raises RecordError."""
    for text in lines:
        if text.endswith("\n") and text.strip():
            yield parse(text)


def read(path: Path) -> list[Entry]:
    """Read a whole record. Raises RecordError, and OSError."""
    with path.open(encoding="utf-8") as lines:
        return list(entries(lines))
