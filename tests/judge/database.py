"""The rows that a run has left, read by plain SQL: an SQLite file by the standard library, PostgreSQL by psycopg."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MICROS = 1e6  # in a second: times of rows


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRow:
    """A task that is or was followed."""

    pk: int
    source: str
    id: str
    endpoints: str | None  # a JSON list; None: all that match
    state: str | None
    phase: str | None
    sequence: int
    ended: bool
    lost: str | None
    removed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Something that happened, with the bytes to send."""

    pk: int
    id: str
    watch: int | None  # None: an operators' event
    sequence: int
    type: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """An event on its way to an endpoint."""

    id: int
    event: int
    endpoint: str
    status: str
    attempt: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """All of them."""

    watches: Sequence[WatchRow] = ()
    events: Sequence[EventRow] = ()
    deliveries: Sequence[DeliveryRow] = ()


_WATCHES = "SELECT pk, source, id, endpoints, state, phase, sequence, ended, lost, removed_at FROM watches ORDER BY pk"
_EVENTS = "SELECT pk, id, watch, sequence, type, body FROM events ORDER BY watch, sequence, pk"
_DELIVERIES = "SELECT id, event, endpoint, status, attempt, reason FROM deliveries ORDER BY id"


def read(database: str | Path) -> Rows:
    """Read the rows of an SQLite file, or of a `postgresql://` URL."""
    with _connected(str(database)) as connection:

        def query(statement: str) -> Iterator[tuple[Any, ...]]:
            cursor = connection.cursor()
            cursor.execute(statement)
            yield from cursor.fetchall()

        return Rows(
            watches=[_watch(*row) for row in query(_WATCHES)],
            events=[_event(*row) for row in query(_EVENTS)],
            deliveries=[_delivery(*row) for row in query(_DELIVERIES)],
        )


@contextmanager
def _connected(database: str) -> Iterator[Any]:
    if "://" not in database:
        if not Path(database).is_file():
            raise FileNotFoundError(database)
        with closing(sqlite3.connect(database)) as connection:  # not read-only: a log that a crash left is read as well
            yield connection
        return
    import psycopg  # here, as few runs need it

    with psycopg.connect(database, autocommit=True) as connected:
        yield connected


def _watch(
    pk: int,
    source: str,
    id: str,
    endpoints: str | None,
    state: str | None,
    phase: str | None,
    sequence: int,
    ended: int,
    lost: str | None,
    removed_at: int | None,
) -> WatchRow:
    return WatchRow(
        pk=pk,
        source=source,
        id=id,
        endpoints=endpoints,
        state=state,
        phase=phase,
        sequence=sequence,
        ended=bool(ended),
        lost=lost,
        removed=removed_at is not None,
    )


def _event(pk: int, id: str, watch: int | None, sequence: int, type: str, body: bytes) -> EventRow:
    return EventRow(pk=pk, id=id, watch=watch, sequence=sequence, type=type, body=bytes(body).decode())


def _delivery(id: int, event: int, endpoint: str, status: str, attempt: int, reason: str | None) -> DeliveryRow:
    return DeliveryRow(id=id, event=event, endpoint=endpoint, status=status, attempt=attempt, reason=reason)
