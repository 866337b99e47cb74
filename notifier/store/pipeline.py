"""Sends statements to PostgreSQL without waiting for each, by psycopg's wrapper of libpq (`psycopg.pq`).

A cursor of psycopg examines statement, parameters and result each time, which costs a node more than everything else
that it does for a change. Here a statement is prepared once for a connection, its parameters are packed by their
declared types, and a block of statements takes one round trip.

A block that begins without a transaction begins one. psycopg reads the state of the transaction from libpq, so its own
`commit` and `rollback` end it.
"""

from __future__ import annotations

import re
import select
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from notifier.store.arrays import pack, packer

Row = Mapping[str, Any]

IDLE = 0  # libpq's PQTRANS_IDLE: no transaction has begun
LOST = 1  # CONNECTION_BAD
COMMAND_OK, FATAL_ERROR, PIPELINE_SYNC = 1, 7, 10  # ExecStatusType
MESSAGE, CODE = 77, 67  # PG_DIAG_MESSAGE_PRIMARY, PG_DIAG_SQLSTATE
BINARY = 1

_PARAMETER = re.compile(r"(?<!:):(\w+)::(\w+)(\[\])?")
_READ: dict[int, Callable[[bytes], Any]] = {  # by the number of a type in pg_type
    20: lambda data: struct.unpack("!q", data)[0],
    23: lambda data: struct.unpack("!i", data)[0],
    25: bytes.decode,
    17: bytes,
}
_prepared: WeakKeyDictionary[Any, set[bytes]] = WeakKeyDictionary()  # names by connection


class Sendable:
    """A statement with named parameters `:name::type`, or `:name::type[]` for the values of all rows."""

    def __init__(self, name: str, text: str) -> None:
        self.name = f"notifier_{name.lower()}".encode()
        self.order: list[tuple[str, Callable[[Any], bytes | None], bool]] = []  # name, how it is packed, of all rows
        numbers: dict[str, int] = {}

        def number(found: re.Match[str]) -> str:
            name, kind, array = found[1], found[2], found[3] is not None
            if name not in numbers:
                numbers[name] = len(numbers) + 1
                self.order.append((name, packer(kind) if array else pack(kind), array))
            return f"${numbers[name]}::{kind}{found[3] or ''}"

        self.text = _PARAMETER.sub(number, " ".join(text.split())).encode()
        self.formats = [BINARY] * len(self.order)
        self.takes_all = any(array for _, _, array in self.order)


class Sent:
    """The result of a statement, once its block has ended."""

    __slots__ = ("results",)

    def __init__(self) -> None:
        self.results: list[Any] = []  # PGresult

    @property
    def count(self) -> int:
        """Return the number of rows that were changed."""
        return sum(result.command_tuples or 0 for result in self.results)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows that it found."""
        found: list[tuple[Any, ...]] = []
        for result in self.results:
            reads = [_READ[result.ftype(column)] for column in range(result.nfields)]
            for row in range(result.ntuples):
                values = [result.get_value(row, column) for column in range(len(reads))]
                found.append(
                    tuple(None if value is None else read(value) for read, value in zip(reads, values, strict=True))
                )
        return found


class Pipeline:
    """One block of statements on a connection of psycopg."""

    def __init__(self, raw: Any) -> None:
        self._pgconn = raw.pgconn
        self._silence: float | None = getattr(raw, "silence", None)
        self._known = _prepared.setdefault(raw, set())
        self._preparing: set[bytes] = set()  # in this block
        self._expected: list[Sent | bytes | None] = []  # by message: a result, a name that is prepared, nobody's
        self._poll = select.poll()

    def __enter__(self) -> Pipeline:
        pgconn = self._pgconn
        unbegun = pgconn.transaction_status == IDLE
        pgconn.enter_pipeline_mode()
        self._poll.register(pgconn.socket, select.POLLIN)
        if unbegun:
            pgconn.send_query_params(b"BEGIN", None)
            self._expected.append(None)
        return self

    def send(self, statement: Sendable, rows: Sequence[Row]) -> Sent:
        """Send a statement for these rows: once if it takes all, otherwise for each."""
        pgconn, name = self._pgconn, statement.name
        if name not in self._known and name not in self._preparing:
            pgconn.send_prepare(name, statement.text)
            self._preparing.add(name)
            self._expected.append(name)
        sent = Sent()
        first = rows[0]
        for row in rows[:1] if statement.takes_all else rows:
            values = [
                pack_([each[key] for each in rows]) if array else pack_(first[key] if statement.takes_all else row[key])
                for key, pack_, array in statement.order
            ]
            pgconn.send_query_prepared(name, values, statement.formats, BINARY)
            self._expected.append(sent)
        return sent

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            with suppress(Exception):  # `exc` came first
                self._finish()
            return
        self._finish()

    def _finish(self) -> None:
        """Wait for all results. Raises the first error, and leaves the pipeline."""
        pgconn = self._pgconn
        error: Exception | None = None
        pgconn.pipeline_sync()
        self._flush()
        waiting = iter(self._expected)
        while True:
            result = self._result()
            if result is None:
                continue
            status = result.status
            if status == PIPELINE_SYNC:
                break
            what = next(waiting, None)
            if status == FATAL_ERROR:
                error = error or _error(result)
            elif isinstance(what, Sent):
                what.results.append(result)
            elif what is not None and status == COMMAND_OK:
                self._known.add(what)
        pgconn.exit_pipeline_mode()
        if error is not None:
            raise error

    def _flush(self) -> None:
        while self._pgconn.flush() == 1:
            self._wait(select.POLLIN | select.POLLOUT)

    def _result(self) -> Any:
        pgconn = self._pgconn
        while pgconn.is_busy():
            self._wait(select.POLLIN)
        result = pgconn.get_result()
        if result is None and pgconn.status == LOST:
            raise _operational(pgconn.get_error_message())
        return result

    def _wait(self, events: int) -> None:
        """Wait until the server has answered, or takes more."""
        pgconn = self._pgconn
        self._poll.modify(pgconn.socket, events)
        began = time.monotonic()
        ready = self._poll.poll(None if self._silence is None else self._silence * 1000)
        if not ready and self._silence is not None and time.monotonic() - began >= self._silence:
            pgconn.finish()  # a later answer would be of no use
            raise _operational(f"the server did not answer for {self._silence:g} seconds")
        if any(happened & ~select.POLLOUT for _, happened in ready):
            pgconn.consume_input()


def _operational(message: str) -> Exception:
    from psycopg import OperationalError  # loaded only where PostgreSQL is used

    return OperationalError(message)


def _error(result: Any) -> Exception:
    """Return the exception of psycopg for a result that is an error."""
    from psycopg import errors

    code = (result.error_field(CODE) or b"").decode()
    message = (result.error_field(MESSAGE) or result.error_message or b"").decode("utf-8", "replace")
    try:
        return errors.lookup(code)(message)
    except KeyError:
        return errors.DatabaseError(message)
