"""The migrations. Alembic runs them; it is slow to load, and loaded only where there is one to run."""

from __future__ import annotations

from sqlalchemy import Connection

from notifier.core.errors import StoreTooNew

HEAD = "0006"  # the newest revision in versions/


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing. Raises StoreTooNew with the unknown revision."""
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
