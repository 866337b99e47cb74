"""Writes the record of a run down as it happens: in memory, and in a file where one is wanted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TextIO

from judge import Did, Entry, write
from judge.record import Action

STANDSTILL = 0.1  # seconds


class Scribe:
    """Takes entries; those of `did` are made here."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file: TextIO | None = None if path is None else path.open("w", encoding="utf-8")

    @staticmethod
    def now() -> float:
        """Return the time of the record."""
        return time.time()

    def note(self, entry: Entry) -> None:
        """Take an entry."""
        self.entries.append(entry)
        if self._file is not None:
            write(entry, self._file)

    def did(self, action: Action, node: str | None = None, *, at: float | None = None, **detail: Any) -> None:
        """Note what an operator or a fault did, now unless told otherwise."""
        self.note(Did(at=self.now() if at is None else at, action=action, node=node, detail=detail))

    def late(self, seconds: float) -> None:
        """Note that this process stood still, if it was for so long that what it passes on may have come too late."""
        if seconds >= STANDSTILL:
            self.did("standstill", at=self.now() - seconds, until=self.now())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
