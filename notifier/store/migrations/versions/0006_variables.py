"""A watch may have values of its own for what its source's URL names beside the id."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; watches that are there have none, and use their source's values."""
    op.add_column("watches", sa.Column("variables", sa.Text))
