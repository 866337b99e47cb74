"""A daemon goes on with the database of every version that there was.

Each frozen database was left by that version's own daemon, killed by SIGKILL: with tasks in every phase, deliveries
that wait for their next attempt, dead ones, and a disabled endpoint.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import frozen
import psycopg
import pytest
from chaos.scribe import Scribe
from clocks import ahead, clock_of
from crash_points import KILL_AT
from daemon_process import SECRET, Daemon, Fields, Start, command, config, webhook
from judge import Case, Did, Entry, Received, Rows, Said, Terms, verdict
from judge.database import read
from recorded import QUICK, RecordedSimulator, heard
from waits import measured_lag, until

import notifier
from notifier.core.errors import StoreTooNew
from notifier.store import migrate
from notifier.store.migrations import HEAD
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.transcript import Transcript

pytestmark = pytest.mark.unmeasured

KINDS = ("sqlite", "postgresql")
OPEN = ("new", "queued", "running")
ENDED = ("succeeded", "failed", "canceled", "unknown-1")
MIGRATIONS = Path(notifier.__file__).parent / "store" / "migrations" / "versions"
LAST_DAY = 1000.0  # seconds of the record at which the version before was killed
EVER = "3650d"  # the frozen dates may be long ago
ROWS = """
SELECT d.endpoint, e.id, w.id, e.sequence, d.status
FROM deliveries d JOIN events e ON e.pk = d.event LEFT JOIN watches w ON w.pk = e.watch
"""
STEPS = [
    "migrate: before",
    *(
        f"migrate to {revision}: {moment}"
        for revision in frozen.REVISIONS[1:]
        for moment in ("before it is noted", "noted")
    ),
    "migrate: committed",
]


def rows(url: str, query: str = ROWS) -> list[tuple[Any, ...]]:
    """Read a database."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(url) as database:
        return database.execute(query.encode()).fetchall()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Keep databases until the end of the test."""
    with ExitStack() as made:
        yield made


def thawed(revision: str, kind: str, directory: Path, stack: ExitStack) -> str:
    """Return the URL of a frozen database."""
    path = directory / "frozen.db"
    if kind == "postgresql":
        return stack.enter_context(frozen.thawed_on_postgresql(revision, path))
    frozen.thaw(revision, path)
    return f"sqlite:///{path}"


def settings(url: str, upstream: str, receiver: str) -> Fields:
    """Return a configuration as that of the frozen daemon, whose endpoints accept everything now."""
    endpoints: Mapping[str, Fields] = {
        name: webhook(f"{receiver}/{name}", events=["task.*", "watch.lost"])
        for name in ("app", "slow", "strict", "gone")
    }
    return config(
        upstream=upstream,
        endpoints=endpoints,
        watches=[*OPEN, *ENDED],
        store={"url": url, "retention": EVER},
        vidu={"deadline": EVER, "not_found_grace": "500ms"},
        node={"timeout": "2s"},
    )


def past(before: list[tuple[Any, ...]], now: Rows) -> list[Entry]:
    """Return a record of what the version before did, by what its database knew; the judge takes that for true."""
    names = {row.pk: (row.source, row.id) for row in now.watches}
    bodies = {row.id: row.body for row in now.events}
    made: list[Entry] = []
    for number, event in enumerate(now.events):
        data = json.loads(event.body)["data"]
        if event.id in {row[1] for row in before} and event.watch is not None and event.type.startswith("task."):
            source, task = names[event.watch]
            made.append(
                Said(
                    at=float(number), source=source, task=task, connection=-event.watch, state=data["state"],
                    phase=data["phase"], body=data["task"],
                )
            )  # fmt: skip
    for endpoint, id_, *_, status in before:
        if status == "delivered":
            made += [
                Received(
                    at=LAST_DAY,
                    endpoint=endpoint,
                    webhook_id=id_,
                    timestamp=0,
                    body=bodies[id_],
                    verified=True,
                    answer=200,
                ),
                Did(at=LAST_DAY, action="settled", detail={"webhook_id": id_, "endpoint": endpoint}),
            ]
    return [*made, Did(at=LAST_DAY, action="kill")]


@asynccontextmanager
async def continued(daemon: Daemon, url: str) -> AsyncIterator[Scribe]:
    """Run a daemon on a database until all that was open has ended and everything is delivered; yield the record."""
    scribe, ends, seconds = Scribe(), set[str](), ahead(url)

    def enter(callback: ReceivedCallback) -> None:
        scribe.note(heard(callback, callback.path[1:], ahead=seconds))
        if callback.path == "/app" and callback.type == "task.succeeded" and callback.watch is not None:
            ends.add(callback.watch)

    async with (
        RecordedSimulator(scribe, transcript=Transcript(snapshots=()), keep_open=True) as sim,
        Listener(secrets=[SECRET], on_callback=enter, clock=clock_of(url)) as ears,
    ):
        daemon.write(settings(url, sim.base_url, ears.base_url))
        scribe.did("start")
        await daemon.start()
        await sim.wait_open(len(OPEN))
        for task in OPEN:
            sim.push(task, "success")
        assert (await daemon.post("/v1/endpoints/gone/enable"))[0] == 200
        scribe.did("retry", endpoint="strict")
        status, answer = await daemon.post("/v1/deliveries/retry", {"endpoint": "strict"})
        assert status == 200, answer

        async def settled() -> bool:
            found = await asyncio.to_thread(rows, url)
            return ends == set(OPEN) and all(status == "delivered" for *_, status in found)

        await until(settled, "everything is delivered")
        assert sim.tasks.keys() == set(OPEN), "what has ended is followed no more"
        assert await daemon.stop() == 0
        scribe.did("stop", clean=True)
        yield scribe


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("revision", frozen.REVISIONS)
async def test_a_daemon_goes_on_where_a_version_was_killed(
    daemons: Start, tmp_path: Path, stack: ExitStack, revision: str, kind: str
) -> None:
    """What was pending or dead is sent, what was open is followed to its end, in order; what was settled stays so."""
    url = thawed(revision, kind, tmp_path, stack)
    before = await asyncio.to_thread(rows, url)
    assert {row[4] for row in before} >= {"delivered", "dead", "ready", "waiting"}
    if kind == "postgresql" and revision != HEAD:
        daemon = daemons(settings(url, "http://127.0.0.1:9", "http://127.0.0.1:9"))
        refused = await daemon.run("run", "-c", "config.yaml")
        assert "notifier migrate" in refused.err
        done = await daemon.run("migrate", "-c", "config.yaml")
        assert done.code == 0, done.err
    daemon = daemons(settings(url, "http://127.0.0.1:9", "http://127.0.0.1:9"))
    async with measured_lag() as lag, continued(daemon, url) as scribe:
        now = await asyncio.to_thread(read, url.removeprefix("sqlite:///"))
    assert {row[1] for row in before} <= {row.id for row in now.events}
    terms = Terms(
        endpoints=dict.fromkeys(("app", "slow", "strict", "gone"), QUICK),
        lost=frozenset({"vidu/unknown-1"}),
        slack=0.02 + lag(),
    )
    case = Case([*past(before, now), *scribe.entries], now, terms)
    assert [str(finding) for finding in verdict(case)] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_migration_that_is_killed_at_any_step_is_done_by_the_next(
    tmp_path: Path, stack: ExitStack, kind: str
) -> None:
    """It is one transaction: before its COMMIT the database is as it was, for the version before to go on with."""
    url = thawed(frozen.REVISIONS[0], kind, tmp_path, stack)
    (tmp_path / "config.yaml").write_text(f"store: {{url: '{url}'}}\n")
    before = await asyncio.to_thread(rows, url)

    async def tried(point: str | None) -> tuple[int, str]:
        env = dict(os.environ) | ({KILL_AT: point} if point else {})
        done = await command("migrate", "-c", "config.yaml", cwd=tmp_path, env=env)
        [(version,)] = await asyncio.to_thread(rows, url, "SELECT version_num FROM alembic_version")
        return done.code, version

    for step in STEPS:
        version = HEAD if step.endswith("committed") else frozen.REVISIONS[0]
        assert await tried(step) == (-signal.SIGKILL, version), step
    assert await tried(None) == (0, HEAD)
    assert await asyncio.to_thread(rows, url) == before


async def test_tables_whose_making_is_killed_are_made_by_the_next(tmp_path: Path) -> None:
    """A first start may be killed as well."""
    (tmp_path / "config.yaml").write_text("store: {url: 'sqlite:///./n.db'}\n")
    for point, code in (("make tables: saved", -signal.SIGKILL), ("migrate: committed", -signal.SIGKILL), (None, 0)):
        env = dict(os.environ) | ({KILL_AT: point} if point else {})
        assert (await command("migrate", "-c", "config.yaml", cwd=tmp_path, env=env)).code == code
    assert rows(f"sqlite:///{tmp_path / 'n.db'}", "SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_a_newer_database_is_refused_with_what_to_do(tmp_path: Path, stack: ExitStack) -> None:
    """And is left as it is."""
    for kind in KINDS:
        directory = tmp_path / kind
        directory.mkdir()
        url = thawed(HEAD, kind, directory, stack)
        _execute(url, "UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StoreTooNew, match=r"newer notifier .*9999.*upgrade"):
            migrate(url)
        assert rows(url, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_every_migration_has_a_frozen_database() -> None:
    """Whoever adds one freezes what it makes: `python tests/rig/freeze.py`."""
    files = {path.name[:4] for path in MIGRATIONS.glob("[0-9]*.py")}
    assert set(frozen.REVISIONS) == files
    assert max(files) == HEAD


def _execute(url: str, statement: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(statement)
    else:
        with psycopg.connect(url) as database:
            database.execute(statement.encode())
