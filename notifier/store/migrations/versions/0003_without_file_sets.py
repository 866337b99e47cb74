"""File lists have no versions any more: a start adds and describes, a reload removes."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Drop the lists' digests, and those in the nodes' rows."""
    op.drop_table("file_sets")
    with op.batch_alter_table("nodes") as nodes:  # SQLite before 3.35 cannot drop a column
        nodes.drop_column("files")
