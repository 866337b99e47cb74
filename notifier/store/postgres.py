"""Finding a PostgreSQL fit for use, or saying in one line why it is not."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from notifier.core.errors import StoreError, StoreTooNew, StoreTooOld
from notifier.store import arrays
from notifier.store.errors import reason
from notifier.store.sessions import Sessions
from notifier.store.sqlite import HEAD

APPLICATION = "notifier"
LEAST_SERVER = 13  # the first with pg_current_xact_id, which keys of events are made of
LEAST_STALL = 2.0  # seconds: a busy machine may keep a process waiting for as long
LOCK_TIMEOUT = 5000  # milliseconds that a transaction waits for another's lock before it counts as an outage
# Seconds that the server may take to answer: a process that hangs, or a network that swallows what it is given and
# says nothing, is an outage too. Longer than locks are waited for. A page of a long list may take more than a write.
WRITE_SILENCE = 10.0
READ_SILENCE = 30.0
# Where the URL says nothing: how soon a server that fell silent is given up, in seconds.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
    "target_session_attrs": "read-write",  # of several hosts, the one that can be written
    "application_name": APPLICATION,
}
SESSION = {
    "timezone": "UTC",
    # A statement that waited for a row sees what was committed meanwhile, whatever the role's or database's default is.
    "default_transaction_isolation": "read committed",
    # As above, from the server's side, lest what a lost node left behind takes up its connections for hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# Every statement that writes finds its rows by an index that was made for it, and in its order, however little there is
# in a table when its plan is made: plans are kept, and tables that were empty a minute ago are not. The planner guesses
# from statistics, and of arrays and limits that it is not told; so it is not asked.
PLANS = dict.fromkeys(
    ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort", "jit"), "off"
) | {"plan_cache_mode": "force_generic_plan", "random_page_cost": "0.1", "cpu_index_tuple_cost": "0.1"}
MIGRATE = "run `notifier migrate` with this configuration, or `notifier run --migrate`"


def driver() -> Any:
    """Return the client library. Raises StoreError when it is not installed."""
    try:
        import psycopg  # 40 ms, which the users of SQLite need not pay
    except ImportError as exc:  # the extra, or the C library that it would do with
        raise StoreError("store.url needs a client library: install notifier's extra 'postgresql'") from exc
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of what follows an exception that it raises as well
    return psycopg


def parameters(url: str) -> dict[str, Any]:
    """Read a URL as libpq does, with what it leaves open. Raises StoreError."""
    psycopg = driver()
    try:
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(
            url.replace("postgresql+psycopg://", "postgresql://", 1)
        )
    except psycopg.Error as exc:
        raise StoreError("store.url is not a PostgreSQL URL") from exc
    return PATIENCE | given | {"client_encoding": "UTF8"}


def stall_limit(timeout: float) -> float:
    """Return how long a node may keep a transaction waiting, in seconds; `timeout` is after which it counts as dead.

    Much less than that: while others wait for its locks, they give no sign of life either.
    """
    return max(LEAST_STALL, timeout / 4)


def engine(url: str, *, writable: bool, timeout: float = 10.0, silence: float | None = None) -> Engine:
    """Make an engine; a writing transaction whose node falls silent is ended by the server: see `stall_limit`.

    A connection whose server has not answered for `silence` seconds is given up; its session is ended with the next.
    """
    given = parameters(url)
    kind = _connection_class(silence)
    settings = dict(SESSION)
    sessions = Sessions()
    if writable:
        settings |= PLANS | {
            "lock_timeout": str(LOCK_TIMEOUT),
            "idle_in_transaction_session_timeout": str(round(stall_limit(timeout) * 1000)),
        }
    else:
        settings |= {"default_transaction_read_only": "on", "statement_timeout": str(round(READ_SILENCE * 1000))}

    def connect() -> Any:
        raw = kind.connect(**given, autocommit=True)
        arrays.register(raw)
        try:
            with raw.cursor() as cursor:
                # What is committed is on disk, whatever the server's default is; stronger settings stay as they are.
                cursor.execute(
                    "SELECT set_config('synchronous_commit', 'on', false) "
                    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
                )
                cursor.executemany("SELECT set_config(%s, %s, false)", list(settings.items()))
            if writable:
                sessions.opened(raw)
            raw.autocommit = False
        except BaseException:
            raw.close()
            raise
        return raw

    pool: dict[str, Any] = {"poolclass": NullPool} if writable else {"poolclass": QueuePool, "pool_size": 1}
    made = create_engine("postgresql+psycopg://", creator=connect, pool_pre_ping=not writable, **pool)
    event.listen(made, "begin", _by_itself)
    return made


def _by_itself(connection: Connection) -> None:
    """Let psycopg begin the transaction with the first statement, unless `prepared.together` is there before."""
    connection.connection.dbapi_connection.autocommit = False  # type: ignore[union-attr]


def _connection_class(silence: float | None) -> Any:
    """Return a kind of connection that gives its server up after so many seconds without an answer.

    The system's timeouts do not see a server that hangs: its kernel goes on acknowledging what it is sent.
    """
    psycopg = driver()
    if silence is None:
        return psycopg.Connection

    class Impatient(psycopg.Connection):  # type: ignore[name-defined,misc]  # of a module that is loaded late
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, silence if timeout is None else timeout)
            except psycopg.errors._WaitTimeout as exc:
                if timeout is not None:
                    raise
                self.pgconn.finish()  # what else it may answer is of no use
                raise psycopg.OperationalError(f"the server did not answer for {silence:g} seconds") from exc

    return Impatient


def check(url: str) -> None:
    """See that server and tables are as this version wants them. Raises StoreError, StoreTooOld, StoreTooNew."""
    made = engine(url, writable=True, silence=WRITE_SILENCE)
    try:
        with made.connect() as connection:
            _admit(connection)
            found = revision(connection)
    except DBAPIError as exc:
        raise refusal(exc) from exc
    finally:
        made.dispose()
    if found is None:
        raise StoreTooOld(f"the database of store.url has no tables yet; {MIGRATE}")
    if found > HEAD:
        raise _too_new(found)
    if found < HEAD:
        raise StoreTooOld(f"the database of store.url is of an older notifier (schema {found}); {MIGRATE}")


def _admit(connection: Connection) -> None:
    """Refuse a server that cannot do what is asked of it, or a database that cannot hold what is written."""
    raw: Any = connection.connection.dbapi_connection
    info = raw.info
    if info.server_version < LEAST_SERVER * 10_000:
        raise StoreError(
            f"store.url leads to PostgreSQL {info.server_version // 10_000}; {LEAST_SERVER} or newer is needed"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"the database of store.url is encoded in {encoding}; make one with: createdb -E UTF8 -T template0 NAME"
        )


def _too_new(found: str) -> StoreTooNew:
    return StoreTooNew(f"the database of store.url was migrated by a newer notifier (schema {found}); upgrade this one")


def revision(connection: Connection) -> str | None:
    """Return the schema's revision; None: there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def migrate(url: str) -> str | None:
    """Bring the tables up to date; return the revision that they had. Raises StoreError, StoreTooNew."""
    made = engine(url, writable=True)  # a table that is made anew may take its time
    try:
        with made.connect() as connection, connection.begin():
            _admit(connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('notifier migrate'))"))
            before = revision(connection)
            if before is not None and before > HEAD:
                raise _too_new(before)
            if before != HEAD:
                from notifier.store.migrating import migrate as run  # Alembic is slow to load

                run(connection)
            return before
    except DBAPIError as exc:
        raise refusal(exc) from exc
    finally:
        made.dispose()


def refusal(exc: DBAPIError) -> StoreError:
    """Say why the database cannot be used."""
    return StoreError(f"cannot use the database of store.url: {reason(exc)}")
