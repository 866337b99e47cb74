"""Freezes a database as a version leaves it: `python tests/rig/freeze.py [REVISION ...]`, in a clone with its history.

The version's own daemon is checked out, follows tasks into every phase, sends to an endpoint that accepts, one that
refuses, one that buries and one that is gone, and is killed by SIGKILL. Its SQLite database is written as SQL to
tests/data/upgrades/REVISION.sql. Without arguments it freezes the newest revision, from the files as they are: a
migration is added with its frozen database.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from operator import ge
from pathlib import Path
from typing import Any

import yaml
from ports import free_port

from notifier.store.migrations import HEAD
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "tests" / "data" / "upgrades"
# The last commit with each revision of the schema, before the next; the newest is made from the files as they are.
COMMITS = {
    "0001": "d9e2562",
    "0002": "255cf7a",
    "0003": "48a1998",
    "0004": "3f7bb59",
    "0005": "cd309e8",
    "0006": "fdfa13c",
    "0007": "27f8ddd",
    "0008": "db3622e",
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PHASES = {
    "queued": ["queueing"],
    "running": ["queueing", "processing"],
    "succeeded": ["processing", "success"],
    "failed": ["processing", "failed"],
    "canceled": ["canceled"],
    "new": [],  # nothing observed
    "unknown-1": [],  # given up: the upstream does not know it
}
ENOUGH = """
SELECT (SELECT count(*) FROM watches WHERE sequence = 0), (SELECT count(*) FROM watches WHERE ended),
    (SELECT count(*) FROM events WHERE watch IS NOT NULL),
    (SELECT count(*) FROM deliveries WHERE endpoint = 'app' AND status = 'delivered'),
    (SELECT count(*) FROM deliveries WHERE endpoint = 'strict' AND status = 'dead'),
    (SELECT count(*) FROM deliveries WHERE endpoint = 'slow' AND status = 'ready' AND attempt = 1),
    (SELECT count(*) FROM endpoints WHERE disabled_at IS NOT NULL)
"""
LEAST = (1, 4, 9, 3, 3, 3, 1)  # of each


def settings(upstream: str, receiver: str) -> dict[str, object]:
    """Return a configuration that every version can read."""

    def hook(name: str, *schedule: str) -> dict[str, object]:
        return {"type": "webhook", "url": f"{receiver}/{name}", "secrets": [SECRET], "retry_schedule": list(schedule)}

    source = {
        "preset": "vidu",
        "base_url": upstream,
        "token": "t",
        "not_found_grace": "500ms",
        "backoff": {"max": "1s"},
    }
    return {
        "sources": {"vidu": source},
        "endpoints": {
            "app": hook("app", "0s"),
            "slow": hook("slow", "0s", "100h"),
            "strict": hook("strict", "0s"),
            "gone": hook("gone", "0s", "100h"),
        },
        "watches": [
            {"id": "running", "labels": {"team": "a"}, "metadata": {"order": 7}},
            *(task for task in PHASES if task != "running"),
        ],
        "store": {"url": "sqlite:///./notifier.db"},
        "http": {"listen": f"127.0.0.1:{free_port()}"},
    }


async def run(program: Path, directory: Path) -> None:
    """Run a version until its database has everything, and kill it."""
    respond = ["/app=200", "/slow=500", "/strict=500", "/gone=410"]
    async with Simulator(transcript=Transcript(snapshots=()), keep_open=True) as sim, Listener(respond=respond) as ears:
        (directory / "config.yaml").write_text(yaml.safe_dump(settings(sim.base_url, ears.base_url)))
        env = os.environ | {"PYTHONPATH": str(program)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "run", "-c", "config.yaml"), cwd=directory, env=env
        )
        try:
            await _until(lambda: bool(_query(directory, "SELECT count(*) = 7 FROM watches", 0)), process)
            for number in range(2):
                for task, states in PHASES.items():
                    for state in states[number : number + 1]:
                        sim.push(task, state)
                moved = sum(min(len(states), number + 1) for states in PHASES.values())
                told = "SELECT count(*) FROM events WHERE type LIKE 'task.%'"
                # mypy infers no types for a lambda's defaults, which keep this turn's values.
                await _until(lambda told=told, moved=moved: _query(directory, told, 0) >= moved, process)  # type: ignore[misc]
            await _until(lambda: all(map(ge, _query(directory, ENOUGH, LEAST), LEAST)), process)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()


async def _until(holds: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while not holds():  # it changes in another process
            assert process.returncode is None
            await asyncio.sleep(0.05)


def _query(directory: Path, query: str, otherwise: Any) -> Any:
    """Return the first row of a query, or its only value; `otherwise` while there are no tables."""
    try:
        with sqlite3.connect(directory / "notifier.db") as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:
        return otherwise
    return row if len(row) > 1 else row[0]


def check_out(commit: str, program: Path) -> None:
    """Put the program of a commit into a folder. Raises CalledProcessError where the history has it not."""
    archive = subprocess.run(["git", "archive", commit, "notifier"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "x", "-C", str(program)], input=archive.stdout, check=True)


def freeze(revision: str) -> None:
    """Write the database of a revision."""
    with tempfile.TemporaryDirectory() as made:
        directory, program = Path(made), ROOT
        if revision in COMMITS:
            program = directory / "program"
            program.mkdir()
            check_out(COMMITS[revision], program)
        asyncio.run(run(program, directory))
        with sqlite3.connect(directory / "notifier.db") as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            assert found == revision, found
            (PLACE / f"{revision}.sql").write_text("\n".join(connection.iterdump()) + "\n")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [HEAD]:
        freeze(wanted)
