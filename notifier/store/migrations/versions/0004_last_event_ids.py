"""A watch keeps the ID of the event that brought its last change, to go on behind it after a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; open watches have no ID until their next change."""
    op.add_column("watches", sa.Column("last_event_id", sa.Text))
