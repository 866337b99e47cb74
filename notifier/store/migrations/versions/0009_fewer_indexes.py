"""A watch that goes on is in no index any more whose columns its steps change."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Replace the two that held such watches: of the phase, and of the last change."""
    op.drop_index("watches_in_phase", "watches")
    op.drop_index("watches_updated", "watches")
    _partial_index("watches_ended", ["phase", "pk", "source", "lost"], "removed_at IS NULL AND ended")
    _partial_index("watches_over", ["updated_at", "pk"], "ended OR removed_at IS NOT NULL")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "watches", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
