"""Plain SQL on both databases: a connection in one thread, and an engine that opens connections.

A statement is one text for both, with parameters `:name`, and `IN (:names...)` for the values of a list. Their words
differ in little. SQLite has one writer and no booleans: there `FOR UPDATE` is left out, and `true` and `false` are 1
and 0, as in the conditions of its indexes. Statements of the hot path have a wording for each instead, see `hot`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from typing import Any, ClassVar, Self

from notifier.store.several import Several

Params = Mapping[str, Any]

KEPT_WORDINGS = 256  # texts; a list of one has many, by the filters that are set

_NONE: Params = {}
_LIST = re.compile(r"IN \(:(\w+)\.\.\.\)")
_PARAMETER = re.compile(r"(?<!:):(\w+)")
_SQLITE = (
    (re.compile(r" FOR UPDATE( SKIP LOCKED)?"), ""),
    (re.compile(r"\btrue\b"), "1"),
    (re.compile(r"\bfalse\b"), "0"),
)


class RowExists(Exception):
    """Another transaction has added a row with the same key."""


class Result:
    """The rows of a statement, as named tuples, each read when it is asked for."""

    __slots__ = ("_count", "_cursor", "_row")

    def __init__(self, cursor: Any, count: int | None = None) -> None:
        self._cursor = cursor
        self._count = count
        described = cursor.description
        self._row = None if described is None else _row(tuple(column[0] for column in described))

    @property
    def count(self) -> int:
        """Return the number of rows that were changed."""
        return int(self._cursor.rowcount) if self._count is None else self._count

    def __iter__(self) -> Iterator[Any]:
        return iter(()) if self._row is None else map(self._row._make, self._cursor)

    def all(self) -> list[Any]:
        """Return the rows."""
        return list(self)

    def first(self) -> Any | None:
        """Return the first row, or None; the others are not read."""
        with closing(self._cursor):
            return next(iter(self), None)

    def scalars(self) -> list[Any]:
        """Return the first value of each row."""
        return [row[0] for row in self._cursor]

    def scalar(self) -> Any | None:
        """Return the first value of the first row; None where there is no row."""
        row = self.first()
        return None if row is None else row[0]


class Connection:
    """A connection to a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.raw = engine.open()
        self.shared = engine.shared

    def execute(self, text: str, params: Params | Sequence[Params] = _NONE) -> Result:
        """Run a statement; once for each mapping of a sequence. Raises the driver's errors, and RowExists."""
        cursor = self.raw.cursor()
        try:
            if isinstance(params, Mapping):
                cursor.execute(*worded(text, params, shared=self.shared))
            else:
                return Result(cursor, self._each(cursor, text, params))
        except self._engine.errors.IntegrityError as exc:
            raise RowExists from exc
        return Result(cursor)

    def _each(self, cursor: Any, text: str, rows: Sequence[Params]) -> int:
        if not self.shared:
            return _several(text).run(cursor, rows)
        cursor.executemany(worded(text, _NONE, shared=True)[0], rows)
        return int(cursor.rowcount)

    @contextmanager
    def begin(self) -> Iterator[Self]:
        """Commit the transaction of the block, or roll it back if the block raises."""
        self._engine.start(self.raw)
        try:
            yield self
            self.raw.commit()
        except BaseException:
            with suppress(self._engine.errors.Error):  # what was raised came first
                self.raw.rollback()
            raise

    def prove_room(self) -> None:
        """Raise one of the driver's errors if the database cannot grow. Call this in a transaction."""
        self._engine.prove_room(self.raw)

    def close(self) -> None:
        """Close the connection, and roll an open transaction back."""
        with suppress(self._engine.errors.Error):
            self.raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Engine(ABC):
    """The way to a database."""

    shared: ClassVar[bool]  # PostgreSQL, not SQLite
    errors: Any  # the driver's module, with the exceptions of PEP 249

    @abstractmethod
    def open(self) -> Any:
        """Return a new connection of the driver."""

    @abstractmethod
    def start(self, raw: Any) -> None:
        """Begin a transaction that writes."""

    @abstractmethod
    def check(self, raw: Any) -> None:
        """Raise one of the driver's errors if a connection cannot be used again."""

    @abstractmethod
    def prove_room(self, raw: Any) -> None:
        """Raise one of the driver's errors if the database cannot grow, as far as that can be known."""

    def connect(self) -> Connection:
        """Open a connection."""
        return Connection(self)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Run one transaction on a connection of its own."""
        with self.connect() as connection, connection.begin():
            yield connection


def worded(text: str, params: Params, *, shared: bool) -> tuple[str, Params]:
    """Return a statement in the words of a database, with its parameters."""
    words, lists = _wording(text, shared)
    if shared or not lists:
        return words, params
    given = dict(params)
    for name in lists:
        values = given.pop(name)
        names = [f"{name}_{number}" for number in range(len(values))]
        given.update(zip(names, values, strict=True))
        words = words.replace(f"(:{name}...)", f"({', '.join(f':{each}' for each in names)})")
    return words, given


@lru_cache(KEPT_WORDINGS)
def _wording(text: str, shared: bool) -> tuple[str, tuple[str, ...]]:
    text = " ".join(text.split())
    lists = tuple(_LIST.findall(text))
    if shared:
        words = _LIST.sub(r"= ANY (:\1)", text.replace("%", "%%"))
        return _PARAMETER.sub(r"%(\1)s", words), lists
    for pattern, words in _SQLITE:
        text = pattern.sub(words, text)
    return text, lists


@lru_cache(KEPT_WORDINGS)
def _several(text: str) -> Several:
    return Several(_wording(text, False)[0])


@lru_cache(KEPT_WORDINGS)
def _row(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", columns, rename=True)  # its columns are known at run time
