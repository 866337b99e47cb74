"""Finding a PostgreSQL fit for use, or saying in one line why it is not."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from notifier.core.errors import StoreError, StoreTooNew, StoreTooOld
from notifier.store.opening import HEAD

try:
    import psycopg
    from psycopg import conninfo
except ImportError:  # the extra `postgresql` is not installed
    psycopg = None  # type: ignore[assignment]

APPLICATION = "notifier"
LOCK_TIMEOUT = 5000  # milliseconds that a transaction waits for another's lock before it counts as an outage
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


def driver() -> Any:
    """Return the client library. Raises StoreError when it is not installed."""
    if psycopg is None:
        raise StoreError("store.url needs a client library: pip install 'notifier[postgresql]'")
    return psycopg


def parameters(url: str) -> dict[str, Any]:
    """Read a URL as libpq does, with what it leaves open. Raises StoreError."""
    driver()
    try:
        given = conninfo.conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    except psycopg.Error as exc:
        raise StoreError("store.url is not a PostgreSQL URL") from exc
    return PATIENCE | given


def engine(url: str, *, writable: bool, timeout: float = 10.0) -> Engine:
    """Make an engine; a writing transaction whose node falls silent is ended by the server after `timeout` seconds."""
    given = parameters(url)

    def connect() -> Any:
        raw = psycopg.connect(**given)
        settings = {"timezone": "UTC"}
        if writable:
            settings |= {
                "lock_timeout": str(LOCK_TIMEOUT),
                "idle_in_transaction_session_timeout": str(round(timeout * 1000)),
            }
        else:
            settings |= {"default_transaction_read_only": "on"}
        with raw.cursor() as cursor:
            # What is committed is on disk, whatever the server's default is; stronger settings stay as they are.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            )
            for name, value in settings.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        raw.commit()
        return raw

    pool: dict[str, Any] = {"poolclass": NullPool} if writable else {"poolclass": QueuePool, "pool_size": 1}
    return create_engine("postgresql+psycopg://", creator=connect, pool_pre_ping=not writable, **pool)


def check(url: str) -> None:
    """See that the tables are as this version wants them. Raises StoreError, StoreTooOld, StoreTooNew."""
    made = engine(url, writable=True)
    try:
        with made.connect() as connection:
            found = revision(connection)
    except DBAPIError as exc:
        raise refusal(exc) from exc
    finally:
        made.dispose()
    if found is None:
        raise StoreTooOld("the database of store.url has no tables yet; run: notifier migrate")
    if found > HEAD:
        raise StoreTooNew(
            f"the database of store.url was migrated by a newer notifier (schema {found}); upgrade this one"
        )
    if found < HEAD:
        raise StoreTooOld(f"the database of store.url is of an older notifier (schema {found}); run: notifier migrate")


def revision(connection: Connection) -> str | None:
    """Return the schema's revision; None: there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def migrate(url: str) -> str | None:
    """Bring the tables up to date; return the revision that they had. Raises StoreError, StoreTooNew."""
    from notifier.store.migrating import migrate as run  # Alembic is slow to load

    made = engine(url, writable=True)
    try:
        with made.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('notifier migrate'))"))
            before = revision(connection)
            run(connection)
            return before
    except DBAPIError as exc:
        raise refusal(exc) from exc
    finally:
        made.dispose()


def refusal(exc: DBAPIError) -> StoreError:
    """Say why the database cannot be used."""
    reason = " ".join(str(exc.orig).split())
    return StoreError(f"cannot use the database of store.url: {reason}")
