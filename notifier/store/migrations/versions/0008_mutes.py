"""A table of mutes: endpoints that people read, silenced for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "mutes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("endpoint", sa.Text),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("comment", sa.Text),
    )
