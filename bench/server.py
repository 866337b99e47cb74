"""A database of the measurement's own on a PostgreSQL, and the resources that the server's processes used for it.

Whatever else the server does meanwhile is in the figures of WAL, and of the processes that all databases share.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql

from bench.child import BenchError
from notifier.store import postgres

APPLICATION = "notifier bench"  # our own connections, that are not counted
SHARED = ("checkpointer", "background writer", "walwriter", "autovacuum worker")  # backend_type of pg_stat_activity


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The resources that were used so far."""

    backends: dict[int, float]  # by process: CPU seconds of those that serve this database
    shared: dict[int, float]  # the same of the server's own processes
    wal: int  # bytes, of the whole server
    commits: int
    changed: int  # rows inserted, updated, deleted
    hot: int  # of the updates, those that touched no index
    updated: int
    dead: int  # row versions that wait for vacuum
    connections: int  # of others than us
    groups: int  # transactions of the nodes that there are now

    def since(self, before: Reading) -> Used:
        """Return the use since then."""

        def spent(now: dict[int, float], then: dict[int, float]) -> float:
            return sum(cpu - then.get(pid, 0.0) for pid, cpu in now.items())

        return Used(
            backend_cpu=spent(self.backends, before.backends),
            shared_cpu=spent(self.shared, before.shared),
            wal=self.wal - before.wal,
            commits=self.commits - before.commits,
            changed=self.changed - before.changed,
            hot=self.hot - before.hot,
            updated=self.updated - before.updated,
            dead=self.dead - before.dead,
            connections=self.connections,
            groups=self.groups - before.groups,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """The resources that were used between two readings; see `Reading`."""

    backend_cpu: float
    shared_cpu: float
    wal: int
    commits: int
    changed: int
    hot: int
    updated: int
    dead: int
    connections: int
    groups: int


class Database:
    """A database with the program's tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True, application_name=APPLICATION)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def all(self, query: str, *given: Any) -> list[Any]:
        """Run a statement and return its rows."""
        cursor = self._connection.execute(query, given or None)
        return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *given: Any) -> Any:
        """Return the one row of a query."""
        return self.all(query, *given)[0]

    def read(self) -> Reading:
        """Take stock. Raises BenchError where the server's processes are not on this machine."""
        mine, shared = {}, {}
        for pid, kind, ours in self.all(
            "SELECT pid, backend_type, datname = current_database() FROM pg_stat_activity "
            "WHERE application_name <> %s OR datname IS DISTINCT FROM current_database()",
            APPLICATION,
        ):
            if ours and kind == "client backend":
                mine[pid] = _cpu(pid)
            elif (ours and kind != "client backend") or kind in SHARED:
                shared[pid] = _cpu(pid)
        # Counters reach the statistics a second after their transaction at the latest; the load's tail is as long.
        commits, wal = self.one(
            "SELECT xact_commit, pg_current_wal_lsn() - '0/0' FROM pg_stat_database WHERE datname = current_database()"
        )
        changed, hot, updated, dead = self.one(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del), sum(n_tup_hot_upd), sum(n_tup_upd), sum(n_dead_tup) "
            "FROM pg_stat_user_tables"
        )
        (groups,) = self.one("SELECT coalesce(sum(groups), 0) FROM nodes")
        return Reading(
            backends=mine,
            shared=shared,
            wal=int(wal),
            commits=commits,
            changed=int(changed),
            hot=int(hot),
            updated=int(updated),
            dead=int(dead),
            connections=len(mine),
            groups=int(groups),
        )


@contextmanager
def database(server: str) -> Iterator[Database]:
    """Make a database on that server, with tables; drop it in the end. Raises BenchError."""
    name = f"notifier_bench_{secrets.token_hex(4)}"
    try:
        with psycopg.connect(server, autocommit=True, connect_timeout=3) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(_name(name)))
    except psycopg.Error as exc:
        raise BenchError(f"no PostgreSQL to measure with (--postgres): {' '.join(str(exc).split())}") from exc
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    try:
        postgres.migrate(url)
        with Database(url) as made:
            yield made
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(_name(name)))


def _name(name: str) -> sql.Identifier:
    return sql.Identifier(name)


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process; 0 of one that has just ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
