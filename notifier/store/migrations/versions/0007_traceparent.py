"""A watch may come with the trace in which its task was submitted; events carry it on."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; what is there belongs to no trace."""
    op.add_column("watches", sa.Column("traceparent", sa.Text))
    op.add_column("events", sa.Column("traceparent", sa.Text))
