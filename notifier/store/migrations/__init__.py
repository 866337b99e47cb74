"""The migrations. Alembic runs them; it is slow to load, and loaded only where a database of an older version is met.

An empty database gets the tables of the schema at once. A test holds them to those that the migrations make.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect

from notifier.core.errors import StoreTooNew
from notifier.store.schema import COUNTERS, counters, described, metadata

HEAD = "0008"  # the newest revision in versions/

_version = Table(  # as Alembic makes it
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def upgrade(connection: Connection) -> None:
    """Create the tables, or run the migrations that are missing. Raises StoreTooNew with the unknown revision."""
    if {_version.name, *metadata.tables}.isdisjoint(inspect(connection).get_table_names()):
        _create(connection)
    else:
        _migrate(connection)


def _create(connection: Connection) -> None:
    described(connection.dialect.name).create_all(connection, checkfirst=False)
    connection.execute(insert(counters), [{"name": name, "value": 1} for name in COUNTERS])
    _version.create(connection)
    connection.execute(insert(_version), {"version_num": HEAD})


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "notifier.store:migrations")
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreTooNew(f"schema {current}")
    command.upgrade(config, "head")
