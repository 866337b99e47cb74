"""Several nodes, callbacks of watches, and what an endpoint asked for beside each attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add tables and columns; nothing that is there is written anew."""
    op.add_column("attempts", sa.Column("retry_after", sa.Float))
    _callbacks()
    for name, kind, start in (
        ("held", sa.Text, "closed"),
        ("not_before", sa.BigInteger, "0"),
        ("rounds", sa.Integer, "0"),
        ("version", sa.BigInteger, "0"),
    ):
        op.add_column("endpoints", sa.Column(name, kind, nullable=False, server_default=start))
    op.add_column("endpoints", sa.Column("leader", sa.BigInteger))
    op.create_table(
        "file_sets",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("applied_at", sa.BigInteger, nullable=False),
        sa.Column("superseded_at", sa.BigInteger),
    )
    op.create_table(
        "nodes",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("timeout", sa.BigInteger, nullable=False),
        sa.Column("groups", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("leaving", sa.Boolean, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("files", sa.Text),
    )


def _callbacks() -> None:
    op.add_column("watches", sa.Column("callback", sa.Text))
    _partial_index("watches_callback", "watches", ["callback"], "callback IS NOT NULL")
    op.create_table(
        "callbacks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.Column("due", sa.BigInteger),
        sa.Column("held_until", sa.BigInteger),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("owner", sa.BigInteger),
    )
    _partial_index("callbacks_due", "callbacks", ["due", "name"], "due IS NOT NULL")
    _partial_index("callbacks_in_hand", "callbacks", ["owner"], "owner IS NOT NULL")


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
