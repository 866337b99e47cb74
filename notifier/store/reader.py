"""Reading beside the writer: in threads and with connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from notifier.core.errors import StoreUnavailable
from notifier.runtime.threads import unstarved
from notifier.store.connection import Connection, Engine
from notifier.store.errors import reason

T = TypeVar("T")


class Reader:
    """Runs queries, each in a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[Connection] = []  # a new one reads SQLite's whole schema first, longer than most queries take
        self._pages = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._counts = ThreadPoolExecutor(1, thread_name_prefix="store-counter")

    async def page(self, query: Callable[[Connection], T]) -> T:
        """Run a query that takes milliseconds. Raises StoreUnavailable."""
        return await self._run(self._pages, query)

    async def count(self, query: Callable[[Connection], T]) -> T:
        """Run a query that may take seconds; pages do not wait for it. Raises StoreUnavailable."""
        return await self._run(self._counts, query)

    async def _run(self, thread: ThreadPoolExecutor, query: Callable[[Connection], T]) -> T:
        try:
            answer = unstarved(asyncio.get_running_loop().run_in_executor(thread, self._read, query))
        except RuntimeError as exc:  # the system refuses a thread, or the store is closed
            raise StoreUnavailable(str(exc)) from exc
        return await answer

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            connection = self._connected()
            try:
                answer = query(connection)
                connection.raw.rollback()
            except BaseException:  # the next query takes a new one
                connection.close()
                raise
        except self._engine.errors.Error as exc:
            raise StoreUnavailable(reason(exc)) from exc
        self._idle.append(connection)
        return answer

    def _connected(self) -> Connection:
        """Return a connection that can be used."""
        while self._idle:
            connection = self._idle.pop()
            try:
                self._engine.check(connection.raw)
            except self._engine.errors.Error:
                connection.close()
            else:
                return connection
        return self._engine.connect()

    def shutdown(self) -> None:
        """Wait for the queries that run, and close the connections. Blocks."""
        self._pages.shutdown(wait=True)
        self._counts.shutdown(wait=True)
        for connection in self._idle:
            connection.close()
