"""A database is made ready by a command or at a start, and a start says what is missing; exit codes tell which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import databases
import psycopg
import pytest
from daemon_process import Fields, Finished, Start, command, config

import notifier

HEAD = max(path.name[:4] for path in (Path(notifier.__file__).parent / "store/migrations/versions").glob("[0-9]*.py"))
FAILED, CONFIG = 1, 78


def settings(url: str) -> Fields:
    return config(upstream="http://127.0.0.1:9", endpoints={}, store={"url": url}, watches=["1"])


@pytest.fixture
def empty() -> Iterator[str]:
    """Name a PostgreSQL database without tables."""
    with databases.empty_database() as url:
        yield url


def shown(url: str) -> str:
    return url.replace("postgres@", "")


def refused(done: Finished, *told: str) -> None:
    assert done.code == FAILED, done.err
    [line] = done.lines
    assert line.startswith("notifier: ")
    for part in told:
        assert part in line


async def test_postgresql_is_made_ready_by_a_command(daemons: Start, empty: str) -> None:
    """Before, a start is refused with what to do; after, it is well; once more, nothing is done."""
    daemon = daemons(settings(empty))
    refused(await daemon.run("run", "-c", "config.yaml"), "has no tables yet", "notifier migrate", "run --migrate")
    done = await daemon.run("migrate", "-c", "config.yaml")
    assert (done.code, done.out, done.err) == (0, f"{shown(empty)}: tables made, schema {HEAD}\n", "")
    done = await daemon.run("migrate", "-c", "config.yaml")
    assert done.out == f"{shown(empty)}: up to date, schema {HEAD}; nothing to do\n"
    done = await daemon.run("migrate", "--json", "-c", "config.yaml")
    assert json.loads(done.out) == {"database": shown(empty), "before": HEAD, "schema": HEAD}
    await daemon.start()
    [ready] = daemon.log.events("daemon.ready")
    assert ready["store"] == shown(empty)
    assert (await daemon.get("/readyz"))[0] == 200
    assert await daemon.stop() == 0
    assert "postgres@" not in "\n".join(daemon.log.lines)


async def test_postgresql_is_made_ready_by_a_start_that_is_told_to(daemons: Start, empty: str) -> None:
    """`run --migrate` is for one node, or a container that has no other moment."""
    daemon = daemons(settings(empty))
    await daemon.start("--migrate")
    assert (await daemon.get("/readyz"))[0] == 200
    assert await daemon.stop() == 0
    await daemon.start()
    assert await daemon.stop() == 0


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("0001", ["of an older notifier (schema 0001)", "notifier migrate"]),
        ("9999", ["by a newer notifier (schema 9999)", "upgrade this one"]),
    ],
)
async def test_tables_of_another_version_are_refused(daemons: Start, empty: str, schema: str, told: list[str]) -> None:
    """Neither is guessed at: an older schema lacks something, a newer one promised what this program does not know."""
    daemon = daemons(settings(empty))
    await daemon.run("migrate", "-c", "config.yaml")
    with psycopg.connect(empty) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", (schema,))
    refused(await daemon.run("run", "-c", "config.yaml"), *told)
    if schema > HEAD:
        refused(await daemon.run("run", "--migrate", "-c", "config.yaml"), *told)
        refused(await daemon.run("migrate", "-c", "config.yaml"), *told)


async def test_sqlite_needs_no_command_but_takes_it(daemons: Start) -> None:
    """It makes the file; a start finds it as it would have made it, and while it runs nobody else does anything."""
    daemon = daemons(settings("sqlite:///./notifier.db"))
    done = await daemon.run("migrate", "-c", "config.yaml")
    assert (done.code, done.out) == (0, f"sqlite:///./notifier.db: tables made, schema {HEAD}\n"), done.err
    done = await daemon.run("migrate", "-c", "config.yaml")
    assert done.out == f"sqlite:///./notifier.db: up to date, schema {HEAD}; nothing to do\n"
    await daemon.start("--migrate")
    refused(await daemon.run("migrate", "-c", "config.yaml"), "in use by another notifier")
    assert await daemon.stop() == 0


async def test_a_server_that_cannot_be_used(daemons: Start, empty: str) -> None:
    """Nobody there, no such database, nobody of that name: one line says so, without user and password."""
    for url, told in {
        "postgresql://anna:hidden@127.0.0.1:9/x": "Connection refused",
        empty + "x": "does not exist",
        empty.replace("postgres@", "nobody-like-that:hidden@"): "role <secret> does not exist",
    }.items():
        daemon = daemons(settings(url))
        for words in (["run"], ["run", "--migrate"], ["migrate"]):
            done = await daemon.run(*words, "-c", "config.yaml")
            refused(done, "cannot use the database of store.url", told)
            assert "hidden" not in done.err
            assert "anna" not in done.err
            assert "nobody-like" not in done.err


async def test_a_url_that_cannot_be_read_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    """Exit code 78, and its place: systemd does not try again."""
    (tmp_path / "c.yaml").write_text("store:\n  url: postgresql://u:hidden@h:99999/x\n")
    for words in (["check"], ["run"], ["migrate"]):
        done = await command(*words, "-c", "c.yaml", cwd=tmp_path)
        assert done.code == CONFIG
        assert done.lines[0].startswith("c.yaml:2:8: store.url: expected postgresql://USER:PASSWORD@HOST:PORT/NAME")
        assert "hidden" not in done.err


async def test_a_missing_client_library_is_named(daemons: Start, tmp_path: Path) -> None:
    """It is an extra, which nobody on SQLite needs."""
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError('as if it were not installed')")
    env = {"PYTHONPATH": str(tmp_path)}
    daemon = daemons(settings("postgresql://127.0.0.1/x"), env=env)
    for words in (["run"], ["migrate"]):
        refused(await daemon.run(*words, "-c", "config.yaml"), "install notifier's extra 'postgresql'")
    assert (await daemon.run("check", "-c", "config.yaml")).code == 0
    daemon = daemons(settings("sqlite:///./notifier.db"), name="other", env=env)
    await daemon.start()
    assert await daemon.stop() == 0
