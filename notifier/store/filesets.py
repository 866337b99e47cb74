"""Which state of the files' watches is in force, where several nodes share a database and each has the files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from sqlalchemy import BigInteger, Connection, Delete, bindparam, delete, select, text, update
from sqlalchemy.dialects import postgresql

from notifier.core import files as core
from notifier.core.files import Copy
from notifier.core.model import Micros, NewWatch
from notifier.store.node import ALIVE, Member
from notifier.store.rows import described
from notifier.store.schema import file_sets, nodes

KEPT = 10_000  # states that are remembered: years of deployments, or weeks of a list that changes every minute

_ALONE = text("SELECT pg_advisory_xact_lock(hashtext('notifier files'))")  # one at a time decides
_CURRENT = select(file_sets.c.digest).where(file_sets.c.superseded_at.is_(None))
_MINE = select(nodes.c.files).where(nodes.c.number == bindparam("_me", type_=BigInteger))
_OTHERS = (
    select(nodes.c.name, nodes.c.files)
    # One of this name is this node before it was killed, and not buried yet.
    .where(nodes.c.name != bindparam("_name"), ALIVE)
    .order_by(nodes.c.number)
)
_HAVE = update(nodes).where(nodes.c.number == bindparam("_me", type_=BigInteger)).values(files=bindparam("_files"))
_SUPERSEDE = (
    update(file_sets)
    .where(file_sets.c.digest != bindparam("_digest"), file_sets.c.superseded_at.is_(None))
    .values(superseded_at=bindparam("_now"))
)


def forgetting(kept: int) -> Delete:
    """Return the statement that forgets all but so many states."""
    newest_first = file_sets.c.superseded_at.desc().nulls_first()
    oldest = select(file_sets.c.superseded_at).order_by(newest_first).offset(kept).limit(1).scalar_subquery()
    return delete(file_sets).where(file_sets.c.superseded_at <= oldest)


_FORGET = forgetting(KEPT)


def put_in_force(connection: Connection, node: Member, digest: str, now: Micros, *, insist: bool) -> str | None:
    """Note what the files list, by its `digest_of`; None: it is to be applied, else: the node that has newer ones."""
    connection.execute(_ALONE)
    before = connection.execute(_MINE, {"_me": node.number}).scalar()
    current = connection.execute(_CURRENT).scalar()
    others = [Copy(node=row.name, digest=row.files) for row in connection.execute(_OTHERS, {"_name": node.name})]
    known = connection.execute(select(file_sets.c.digest).where(file_sets.c.digest == digest)).scalar() is not None
    node.files = digest
    connection.execute(_HAVE, {"_me": node.number, "_files": digest})
    holds = core.newer(digest, before=before, current=current, superseded=known and digest != current, others=others)
    if holds is not None and not insist:
        return holds.node
    if digest != current:
        connection.execute(_SUPERSEDE, {"_digest": digest, "_now": now})
        row = {"digest": digest, "applied_at": now, "superseded_at": None}
        add = postgresql.insert(file_sets).values(row)
        connection.execute(add.on_conflict_do_update(index_elements=["digest"], set_=row))
        connection.execute(_FORGET)
    return None


def digest_of(wanted: Sequence[NewWatch]) -> str:
    """Return what two nodes have in common that want the same, in whatever order their files list it."""
    rows = sorted(json.dumps([watch.source, watch.id, described(watch)], sort_keys=True) for watch in wanted)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
