"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "watches",
        sa.Column("pk", _big_id, primary_key=True, autoincrement=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("endpoints", sa.Text),
        sa.Column("state", sa.Text),
        sa.Column("phase", sa.Text),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("stalled", sa.Boolean, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("lost", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
        sa.Column("owner", sa.BigInteger),
        sa.UniqueConstraint("source", "id", name="watches_source_id"),
    )
    claimable = "ended = {false} AND removed_at IS NULL AND owner IS NULL"
    _partial_index("watches_open", "watches", ["created_at", "pk"], claimable)
    op.create_index("watches_updated", "watches", ["updated_at"])
    _partial_index("watches_of_source", "watches", ["source", "pk"], "removed_at IS NULL")
    _partial_index("watches_in_phase", "watches", ["phase", "pk", "source", "lost"], "removed_at IS NULL")
    _partial_index("watches_going_on", "watches", ["pk"], "removed_at IS NULL AND NOT ended")
    op.create_table(
        "events",
        sa.Column("pk", _big_id, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("watch", sa.BigInteger),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("events_watch", "events", ["watch", "sequence"])
    op.create_index("events_at", "events", ["at"])
    op.create_index("events_of_type", "events", ["type", "pk"])
    op.create_table(
        "deliveries",
        sa.Column("id", _big_id, primary_key=True, autoincrement=False),
        sa.Column("event", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.BigInteger),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("manual", sa.Boolean, nullable=False),
        sa.Column("owner", sa.BigInteger),
    )
    _partial_index("deliveries_due", "deliveries", ["endpoint", "due", "id"], "status = 'ready' AND owner IS NULL")
    _partial_index("deliveries_lane", "deliveries", ["endpoint", "lane", "sequence"], "status IN ('ready', 'waiting')")
    op.create_index("deliveries_event", "deliveries", ["event"])
    _partial_index("deliveries_dead", "deliveries", ["endpoint", "id"], "status = 'dead'")
    op.create_table(
        "attempts",
        sa.Column("delivery", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("phases", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("reply", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "endpoints",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("disabled_at", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("failing_since", sa.BigInteger),
    )
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": name, "value": 1} for name in ("node", "watch", "event", "delivery")])


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where.format(false="0" if op.get_bind().dialect.name == "sqlite" else "false"))
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
