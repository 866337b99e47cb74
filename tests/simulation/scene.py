"""What all parts of a run share: its time, its weather, its record and its trace."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from email.utils import formatdate
from hashlib import blake2b
from random import Random
from typing import Any

from judge import Did, Entry, line
from judge.record import Action

from simulation.loop import Agenda


class Scene:
    """The stage of a run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.agenda = Agenda()
        self.entries: list[Entry] = []  # the record, for the judge
        self.faults: list[str] = []  # of the run itself: exceptions that nobody handled, and the like
        self.stormy = True
        self.trouble = self.rng("trouble").choice([0.0, 0.05, 0.2, 0.5])  # the share of what goes wrong in a storm
        self.lines: list[str] | None = None  # of the trace, where they are wanted
        self.muted = False  # what happens now is no part of the run
        self._connections = itertools.count(1)
        self._digest = blake2b(digest_size=12)

    def rng(self, part: str) -> Random:
        """Return the randomness of one part: what one draws changes nothing for the others."""
        return Random(f"{self.seed} {part}")

    def connection(self) -> int:
        """Return a number that no other connection has."""
        return next(self._connections)

    def record(self, entry: Entry) -> None:
        """Keep an entry of the record."""
        self.entries.append(entry)
        self.note(line(entry) + "\n")

    def did(self, action: Action, **detail: Any) -> None:
        """Record that something was done now."""
        self.did_at(self.agenda.now, action, detail)

    def did_at(self, at: float, action: Action, detail: Mapping[str, Any]) -> None:
        """Record that something was done."""
        self.record(Did(at=at, action=action, detail=detail))

    def date_in(self, seconds: float) -> str:
        """Return an HTTP-date (RFC 9110 section 5.6.7) by the machine's clock."""
        return formatdate(self.agenda.date / 1e6 + seconds, usegmt=True)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        if self.muted:
            return
        self._digest.update(text.encode())
        if self.lines is not None:
            self.lines.append(text)

    @property
    def trace(self) -> str:
        """Return the hash of everything that happened."""
        return self._digest.hexdigest()
