"""Nodes of the version before and of this one share a database while it is migrated under them, and lose nothing.

The version before is checked out from the history: the last commit before the newest migration. A shallow clone has no
such commit; there this version plays both parts, from the schema of today, and the log of the test says so.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import databases
import pytest
from cluster import cluster, finish
from daemon_process import Log, Start
from freeze import COMMITS, ROOT, check_out
from frozen import make_tables
from test_nodes_faults import dice_of_the_day
from waits import measured_lag

from notifier.store import migrate, migrations, postgres
from notifier.store.migrations import HEAD

BEFORE = max(COMMITS)
TASKS = 10


@pytest.fixture
def program(tmp_path: Path) -> tuple[Path, str]:
    """Return the folder of the version before, and its revision."""
    folder = tmp_path / "before"
    folder.mkdir()
    try:
        check_out(COMMITS[BEFORE], folder)
    except (OSError, subprocess.CalledProcessError):
        print("the history has no version before: this one plays both parts")
        return ROOT, HEAD
    return folder, BEFORE


@pytest.fixture
def url(program: tuple[Path, str]) -> Iterator[str]:
    """Make a database as the version before has it."""
    with databases.empty_database() as made:
        with migrations.sqlalchemy_connection(postgres.PostgresEngine(made, writable=True)) as connection:
            make_tables(connection, program[1])
        yield made


@pytest.mark.unmeasured
async def test_nodes_of_two_versions_share_the_work(daemons: Start, url: str, program: tuple[Path, str]) -> None:
    """Migrate first, then replace node after node; an old one that starts after it is refused."""
    folder, revision = program
    old = {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    async with cluster(daemons, url) as (nodes, ledger), measured_lag() as lag:
        scribe, gone = nodes.upstream.scribe, list[tuple[str, Log]]()

        async def stop(name: str) -> None:
            assert await nodes.nodes[name].stop() == 0
            scribe.did("stop", name, clean=not nodes.nodes[name].log.events("daemon.undelivered"))
            gone.append((name, nodes.nodes[name].log))

        for name in ("a", "b"):
            nodes.make(name, env=old)
            scribe.did("start", name)
        await nodes.start("a", "b")
        tasks = await nodes.add("a", TASKS)
        await nodes.balanced(TASKS)
        for task in tasks:
            nodes.upstream.push(task, "queueing")
        await ledger.more(TASKS, what="the old nodes tell")
        assert await asyncio.to_thread(migrate, url) == (revision, HEAD)
        for task in tasks:
            nodes.upstream.push(task, "processing")
        await ledger.more(TASKS, what="they go on after the migration")
        await stop("b")
        nodes.make("c")
        scribe.did("start", "c")
        await nodes.start("c")
        await nodes.balanced(TASKS)
        assert len(nodes.upstream.held()) == 2
        for task in tasks:
            nodes.upstream.push(task, "preparation")
        await ledger.more(TASKS, what="old and new share the work")
        if revision != HEAD:
            refused = await nodes.nodes["b"].run("run", "-c", "config.yaml")
            assert refused.code == 1
            assert "newer notifier" in refused.err
        await stop("a")
        await finish(nodes.upstream, ledger, tasks, dice_of_the_day())
        await nodes.settled()
        await asyncio.to_thread(nodes.judged, ledger, lag=lag(), logs=[*gone, ("c", nodes.nodes["c"].log)])
        assert not ledger.repeats, "nobody was killed"
        assert not nodes.clean()
