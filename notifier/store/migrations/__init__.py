"""The migrations. Alembic runs them, with SQLAlchemy; both are slow to load, and loaded only for an older database.

An empty database gets the tables of the schema at once. A test holds them to those that the migrations make.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from notifier.core.errors import StoreTooNew
from notifier.store.connection import Connection, Engine

if TYPE_CHECKING:
    import sqlalchemy

HEAD = "0009"  # the newest revision in versions/

_VERSION = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""  # as Alembic makes it
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('notifier migrate'))"  # held until the transaction ends


def revision(connection: Connection) -> str | None:
    """Return the schema's revision; None: there is none yet."""
    if "alembic_version" not in _tables(connection):
        return None
    current = connection.execute("SELECT version_num FROM alembic_version").scalar()
    return None if current is None else str(current)


def bring_up_to_date(engine: Engine) -> str | None:
    """Create the tables, or run the migrations that are missing; return the revision that they had.

    Raises StoreTooNew with the unknown revision, and the driver's errors. What fails has changed nothing.
    """
    with engine.begin() as connection:
        if connection.shared:
            connection.execute(_LOCK)
        before = revision(connection)
        if before is None and not _is_ours(connection):
            _create(connection)
            return None
    if before != HEAD:
        _migrate(engine)
    return before


def _create(connection: Connection) -> None:
    from notifier.store.schema import COUNTERS, definitions

    for statement in definitions(shared=connection.shared):
        connection.execute(statement)
    connection.execute("INSERT INTO counters (name, value) VALUES (:name, 1)", [{"name": name} for name in COUNTERS])
    connection.execute(_VERSION)
    connection.execute("INSERT INTO alembic_version (version_num) VALUES (:head)", {"head": HEAD})


def _is_ours(connection: Connection) -> bool:
    """Return whether the database has any of our tables."""
    from notifier.store.schema import TABLES

    return not _tables(connection).isdisjoint({"alembic_version", *TABLES})


def _tables(connection: Connection) -> set[str]:
    if connection.shared:
        return set(connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").scalars())
    return set(connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "notifier.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    with sqlalchemy_connection(engine) as connection:
        if engine.shared:
            connection.exec_driver_sql(_LOCK)
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise StoreTooNew(f"schema {current}")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def sqlalchemy_connection(engine: Engine) -> Iterator[sqlalchemy.Connection]:
    """Run one transaction on a connection of SQLAlchemy, which Alembic needs. Raises the driver's errors."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    dialect = "postgresql+psycopg" if engine.shared else "sqlite"
    made = create_engine(f"{dialect}://", creator=engine.open, poolclass=NullPool)
    event.listen(made, "begin", lambda connection: engine.start(connection.connection.dbapi_connection))
    try:
        with made.begin() as connection:
            yield connection
    except DBAPIError as exc:
        raise exc.orig or exc from exc
