"""What the endpoint asked for, beside each attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; of attempts made before nothing is known."""
    op.add_column("attempts", sa.Column("retry_after", sa.Float))
