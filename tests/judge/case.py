"""The evidence of a run, ordered for the rules: the record, the rows, and what each callback says of itself."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from judge.database import DeliveryRow, EventRow, Rows, WatchRow
from judge.record import Asked, Did, Entry, Received, Said
from judge.terms import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A promise that was not kept."""

    rule: str
    watch: str | None  # source/id
    endpoint: str | None
    evidence: str  # for people: what was seen, what was promised

    def __str__(self) -> str:
        """Return one line."""
        about = " at ".join(each for each in (self.watch, self.endpoint) if each)
        return f"{self.rule}: {about + ': ' if about else ''}{self.evidence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A callback that was received, and what its body says."""

    received: Received
    watch: str | None  # source/id; None: an operators' event, or no such body
    sequence: int | None
    payload: Any

    @classmethod
    def of(cls, received: Received) -> Callback:
        """Read a callback; a body that is none says nothing."""
        try:
            payload = json.loads(received.body)
            about = payload["data"].get("watch")
            watch = None if about is None else f"{about['source']}/{about['id']}"
            sequence = None if watch is None else int(payload["data"]["sequence"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(received=received, watch=None, sequence=None, payload=None)
        return cls(received=received, watch=watch, sequence=sequence, payload=payload)


@dataclass(frozen=True)
class Case:
    """The evidence."""

    entries: Sequence[Entry]
    rows: Rows
    terms: Terms = field(default_factory=Terms)

    @cached_property
    def said(self) -> dict[str, list[Said]]:
        """Return what was said of each task, by source/id, in order."""
        found: dict[str, list[Said]] = defaultdict(list)
        for entry in self._sorted:
            if isinstance(entry, Said):
                found[f"{entry.source}/{entry.task}"].append(entry)
        return dict(found)

    @cached_property
    def asked(self) -> dict[str, list[Asked]]:
        """Return when the upstream was asked about each task, by source/id, in order."""
        found: dict[str, list[Asked]] = defaultdict(list)
        for entry in self._sorted:
            if isinstance(entry, Asked):
                found[f"{entry.source}/{entry.task}"].append(entry)
        return dict(found)

    @cached_property
    def added(self) -> dict[str, list[Did]]:
        """Return when each task was added, by source/id, in order."""
        found: dict[str, list[Did]] = defaultdict(list)
        for did in self.did:
            if did.action == "add" and "source" in did.detail:
                found[f"{did.detail['source']}/{did.detail['task']}"].append(did)
        return dict(found)

    @cached_property
    def did(self) -> list[Did]:
        """Return what was done, in order."""
        return [entry for entry in self._sorted if isinstance(entry, Did)]

    @cached_property
    def callbacks(self) -> list[Callback]:
        """Return all that was received, in order."""
        return [Callback.of(entry) for entry in self._sorted if isinstance(entry, Received)]

    @cached_property
    def lanes(self) -> dict[tuple[str, str], list[Callback]]:
        """Return the callbacks of each watch at each endpoint, in order."""
        found: dict[tuple[str, str], list[Callback]] = defaultdict(list)
        for callback in self.callbacks:
            if callback.watch is not None:
                found[callback.watch, callback.received.endpoint].append(callback)
        return dict(found)

    @cached_property
    def arrivals(self) -> dict[tuple[str, str], list[Callback]]:
        """Return the arrivals of each message at each endpoint, by webhook id and endpoint, in order."""
        found: dict[tuple[str, str], list[Callback]] = defaultdict(list)
        for callback in self.callbacks:
            found[callback.received.webhook_id, callback.received.endpoint].append(callback)
        return dict(found)

    @cached_property
    def names(self) -> dict[int, str]:
        """Return source/id by the number of a watch."""
        return {row.pk: f"{row.source}/{row.id}" for row in self.rows.watches}

    @cached_property
    def watches(self) -> dict[str, WatchRow]:
        """Return the rows of watches by source/id."""
        return {f"{row.source}/{row.id}": row for row in self.rows.watches}

    @cached_property
    def events(self) -> dict[str, EventRow]:
        """Return the rows of events by webhook id."""
        return {row.id: row for row in self.rows.events}

    @cached_property
    def history(self) -> dict[str, list[EventRow]]:
        """Return the rows of events of each watch, by source/id, in order of their sequence."""
        found: dict[str, list[EventRow]] = defaultdict(list)
        for row in self.rows.events:
            if row.watch in self.names:
                found[self.names[row.watch]].append(row)
        return {name: sorted(rows, key=lambda row: (row.sequence, row.pk)) for name, rows in found.items()}

    @cached_property
    def deliveries(self) -> dict[tuple[str, str], DeliveryRow]:
        """Return the rows of deliveries by webhook id and endpoint."""
        ids = {row.pk: row.id for row in self.rows.events}
        return {(ids[row.event], row.endpoint): row for row in self.rows.deliveries if row.event in ids}

    def between(self, after: float, before: float, actions: Iterable[str]) -> Iterator[Did]:
        """Yield what of some actions was done, or was going on, between two moments."""
        wanted = frozenset(actions)
        for did in self.did:
            if did.at > before:
                return
            if did.action in wanted and max(did.at, did.detail.get("until", did.at)) >= after:
                yield did

    @cached_property
    def _sorted(self) -> list[Entry]:
        return sorted(self.entries, key=lambda entry: entry.at)


Rule = Callable[[Case], Iterable[Finding]]
