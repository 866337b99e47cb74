"""The statements that a store runs, in the words of its database, and the connections that it opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from notifier.store.connection import Connection, Engine, Params, Result, worded

NONE: Params = {}


@contextmanager
def noted() -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements of the block, but for those of the hot path, each with its parameters."""
    found: list[tuple[str, Any]] = []
    execute = Connection.execute

    def note(self: Connection, text: str, params: Params | Sequence[Params] = NONE) -> Result:
        found.append(worded(text, params, shared=self.shared) if isinstance(params, Mapping) else (text, params))
        return execute(self, text, params)

    Connection.execute = note  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Connection.execute = execute  # type: ignore[method-assign]


@contextmanager
def each_connection(call: Callable[[Any], object]) -> Iterator[None]:
    """Call a function with each connection of the driver that is opened in the block."""
    connect = Engine.connect

    def opened(self: Engine) -> Connection:
        connection = connect(self)
        call(connection.raw)
        return connection

    Engine.connect = opened  # type: ignore[method-assign]
    try:
        yield
    finally:
        Engine.connect = connect  # type: ignore[method-assign]


@contextmanager
def before_transactions(engine: Engine, call: Callable[[], object]) -> Iterator[None]:
    """Call a function before each transaction that an engine begins for writing in the block."""
    start = engine.start

    def started(raw: Any) -> None:
        call()
        start(raw)

    engine.start = started  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.start = start  # type: ignore[method-assign]
