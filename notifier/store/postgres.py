"""PostgreSQL: its engine, its sessions, and the checks of a server before it is used."""

from __future__ import annotations

import logging
from typing import Any

from notifier.core.errors import StoreError, StoreTooNew, StoreTooOld
from notifier.store import migrations
from notifier.store.connection import Connection, Engine
from notifier.store.errors import reason
from notifier.store.migrations import HEAD

APPLICATION = "notifier"
LEAST_SERVER = 13  # the first with pg_current_xact_id, from which the keys of events are built
LEAST_STALL = 2.0  # seconds: a busy machine may keep a process waiting for as long
UNHURRIED_STALL = 60.0  # seconds, for one that migrates: others wait, but a busy machine must not end it half-way
LOCK_TIMEOUT = 5000  # milliseconds that a transaction waits for another's lock before it counts as an outage
# Seconds that the server may take to answer. A hanging process or a network that drops everything is an outage too.
# Longer than LOCK_TIMEOUT. A page of a long list may take longer than a write.
WRITE_SILENCE = 10.0
READ_SILENCE = 30.0
# Used where the URL sets no value: how soon a silent server is given up, in seconds.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
    "target_session_attrs": "read-write",  # of several hosts, the writable one
    "application_name": APPLICATION,
}
SESSION = {
    # The formats that psycopg reads, whatever those of the role or database are.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    # A statement that waited for a row then sees the committed row, whatever the default of the role or database is.
    "default_transaction_isolation": "read committed",
    # The same from the server's side: a lost node's sessions must not occupy its connections for hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# Every statement that writes must find its rows by the index made for it, and in its order. The planner would choose by
# statistics, which are missing for new tables, and does not know the lengths of arrays and limits. Plans are kept while
# tables grow, so the choice is taken from it.
PLANS = dict.fromkeys(
    ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort", "jit"), "off"
) | {"plan_cache_mode": "force_generic_plan", "random_page_cost": "0.1", "cpu_index_tuple_cost": "0.1"}
MIGRATE = "run `notifier migrate` with this configuration, or `notifier run --migrate`"


def driver() -> Any:
    """Return the client library. Raises StoreError when it is not installed."""
    try:
        import psycopg  # 40 ms, which the users of SQLite do not pay
    except ImportError as exc:  # the extra is missing, or the C library of psycopg
        raise StoreError("store.url needs a client library: install notifier's extra 'postgresql'") from exc
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it also logs warnings about exceptions that it raises
    return psycopg


def parameters(url: str) -> dict[str, Any]:
    """Return the connection parameters of a URL, with PATIENCE for those that it does not set. Raises StoreError."""
    psycopg = driver()
    try:
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(
            url.replace("postgresql+psycopg://", "postgresql://", 1)
        )
    except psycopg.Error as exc:
        raise StoreError("store.url is not a PostgreSQL URL") from exc
    return PATIENCE | given | {"client_encoding": "UTF8"}


def stall_limit(timeout: float) -> float:
    """Return the seconds that a node may stay silent in a transaction, from the seconds after which it counts as dead.

    Much shorter than those: nodes that wait for its locks give no sign of life either.
    """
    return max(LEAST_STALL, timeout / 4)


class PostgresEngine(Engine):
    """Opens connections that write durably, and that a silent server or client does not hold up."""

    shared = True

    def __init__(
        self, url: str, *, writable: bool, stall: float = UNHURRIED_STALL, silence: float | None = None
    ) -> None:
        """Have the server end a writing transaction whose client is silent in it for `stall` seconds.

        A connection whose server has not answered for `silence` seconds is closed; the next one ends its session.
        Raises StoreError.
        """
        self.errors = driver()
        self._kind = _connection_class(silence)
        self._given = parameters(url)
        self._writable = writable
        self._settings = dict(SESSION)
        self._sessions = Sessions()
        if writable:
            # psycopg drops all prepared statements after a rollback if one is its own: those of `pipeline.py`, too.
            self._given["prepare_threshold"] = None
            self._settings |= PLANS | {
                "lock_timeout": str(LOCK_TIMEOUT),
                "idle_in_transaction_session_timeout": str(round(stall * 1000)),
            }
        else:
            self._settings |= {
                "default_transaction_read_only": "on",
                "statement_timeout": str(round(READ_SILENCE * 1000)),
            }

    def open(self) -> Any:
        """Return a new connection."""
        raw = self._kind.connect(**self._given, autocommit=True)
        try:
            with raw.cursor() as cursor:
                # A commit must be on disk, whatever the server's default is. Stronger settings stay as they are.
                cursor.execute(
                    "SELECT set_config('synchronous_commit', 'on', false) "
                    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
                )
                cursor.executemany("SELECT set_config(%s, %s, false)", list(self._settings.items()))
            if self._writable:
                self._sessions.opened(raw)
            raw.autocommit = False
        except BaseException:
            raw.close()
            raise
        return raw

    def start(self, raw: Any) -> None:
        """Leave it to the driver, which begins with the first statement."""

    def prove_room(self, raw: Any) -> None:
        """Do nothing: the server's disk is its own affair, and it answers for each change."""

    def check(self, raw: Any) -> None:
        """Ask the server."""
        raw.execute("SELECT 1")


def _connection_class(patience: float | None) -> Any:
    """Return a connection class that closes the connection after so many seconds without an answer.

    TCP's timeouts do not notice a server that hangs: its kernel still acknowledges packets.
    """
    psycopg = driver()
    if patience is None:
        return psycopg.Connection

    class Impatient(psycopg.Connection):  # type: ignore[name-defined,misc]  # of a module that is loaded late
        silence = patience  # `pipeline.py` waits by itself

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, patience if timeout is None else timeout)
            except psycopg.errors._WaitTimeout as exc:
                if timeout is not None:
                    raise
                self.pgconn.finish()  # a later answer would be of no use
                raise psycopg.OperationalError(f"the server did not answer for {patience:g} seconds") from exc

    return Impatient


def check(url: str) -> None:
    """Check the server and its tables' version. Raises StoreError, StoreTooOld, StoreTooNew."""
    made = PostgresEngine(url, writable=True, silence=WRITE_SILENCE)
    try:
        with made.connect() as connection:
            _admit(connection)
            current = migrations.revision(connection)
    except made.errors.Error as exc:
        raise refusal(exc) from exc
    if current is None:
        raise StoreTooOld(f"the database of store.url has no tables yet; {MIGRATE}")
    if current > HEAD:
        raise _too_new(f"schema {current}")
    if current < HEAD:
        raise StoreTooOld(f"the database of store.url is of an older notifier (schema {current}); {MIGRATE}")


def _admit(connection: Connection) -> None:
    """Refuse a server that is too old, or a database whose encoding cannot hold every text."""
    info = connection.raw.info
    if info.server_version < LEAST_SERVER * 10_000:
        raise StoreError(
            f"store.url leads to PostgreSQL {info.server_version // 10_000}; {LEAST_SERVER} or newer is needed"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"the database of store.url is encoded in {encoding}; make one with: createdb -E UTF8 -T template0 NAME"
        )


def _too_new(schema: str) -> StoreTooNew:
    return StoreTooNew(f"the database of store.url was migrated by a newer notifier ({schema}); upgrade this one")


def migrate(url: str) -> str | None:
    """Migrate the tables; return the revision that they had. Raises StoreError, StoreTooNew."""
    made = PostgresEngine(url, writable=True)  # rebuilding a table may take long
    try:
        with made.connect() as connection:
            _admit(connection)
        return migrations.bring_up_to_date(made)
    except StoreTooNew as exc:
        raise _too_new(str(exc)) from exc
    except made.errors.Error as exc:
        raise refusal(exc) from exc


def refusal(exc: BaseException) -> StoreError:
    """Return the error for a database that cannot be used."""
    return StoreError(f"cannot use the database of store.url: {reason(exc)}")


# -- Sessions that outlive their connection. They are ended, so that their locks end.
#
# A server notices a dead network only when it has something to send. Statements go out many at a time
# (`pipeline.py`), and a session that waits for the rest of them may wait for ever: PostgreSQL's limit for an idle
# transaction starts only when every statement has been answered.

_THIS_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
# A session at work may still commit. The statement that waits for it then sees the result.
_END_SESSIONS = """
SELECT pid, backend_start, wait_event_type = 'Client' AND pg_terminate_backend(pid)
FROM pg_stat_activity JOIN unnest(%s::int[], %s::timestamptz[]) AS given (pid, backend_start) USING (pid, backend_start)
"""


class Sessions:
    """The sessions of one client."""

    def __init__(self) -> None:
        self._opened: list[tuple[Any, tuple[int, Any]]] = []  # connection, number and start of the session

    def opened(self, connection: Any) -> None:
        """Remember a psycopg connection in autocommit mode, after ending the sessions of closed connections."""
        closed = [session for before, session in self._opened if before.closed]
        left: set[tuple[int, Any]] = set()
        if closed:
            numbers, starts = map(list, zip(*closed, strict=True))
            left = {(pid, start) for pid, start, _ in connection.execute(_END_SESSIONS, [numbers, starts])}
        self._opened = [(before, session) for before, session in self._opened if not before.closed or session in left]
        self._opened.append((connection, connection.execute(_THIS_SESSION).fetchone()))
