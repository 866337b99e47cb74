"""Faults with which the daemon cannot start: one line for each tells fault, place and remedy, without a traceback."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from daemon_process import SECRET, Finished, Start, command, config, webhook
from ports import free_port
from waits import PATIENCE

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator

CONFIG, FAILED = 78, 1
Change = Callable[[Path], str]  # makes what is wrong, and returns the configuration


def good(**more: Any) -> str:
    """Return a configuration that nothing is wrong with, but for `more`."""
    url = "http://127.0.0.1:9"
    return yaml.safe_dump(config(upstream=url, endpoints={"app": webhook(url)}, **more), sort_keys=False)


def misspelt(_: Path) -> str:
    return good(shutdown_timeuot="3s")


def impossible_pair(_: Path) -> str:
    return good(http={"listen": "0.0.0.0:8780"})


def unreadable_secret(directory: Path) -> str:
    (directory / "secret").mkdir()
    return good(vidu={"token": {"file": "secret"}})


def missing_secret(_: Path) -> str:
    return good(vidu={"token": {"file": "nowhere/secret"}})


def missing_variable(_: Path) -> str:
    return good(vidu={"token": "${NO_SUCH_VARIABLE}"})


def unknown_preset(_: Path) -> str:
    return good(vidu={"preset": "vido"})


def short_secret(_: Path) -> str:
    return good().replace(SECRET, "whsec_c2hvcnQ=")


def wrong_framing(_: Path) -> str:
    return good(vidu={"framing": "lines"})


def bad_expression(_: Path) -> str:
    return good(vidu={"paths": {"state": "foo["}})


def database_in_memory(_: Path) -> str:
    return good(store={"url": "sqlite:///:memory:"})


def empty(_: Path) -> str:
    return ""


def a_list(_: Path) -> str:
    return "- 1\n- 2\n"


def not_yaml(_: Path) -> str:
    return "sources: {vidu: [\n"


def comments_only(_: Path) -> str:
    return "# nothing yet\n"


REFUSED: dict[Change, str] = {
    misspelt: r':\d+:1: shutdown_timeuot: unknown key.*"shutdown_timeout"',
    impossible_pair: r":\d+:\d+: http\.listen: .*set http\.token, or listen on 127\.0\.0\.1",
    unreadable_secret: r":\d+:\d+: sources\.vidu\.token: secret file cannot be read: not a regular file",
    missing_secret: r":\d+:\d+: sources\.vidu\.token: secret file cannot be read: no such file",
    missing_variable: r":\d+:\d+: sources\.vidu\.token: environment variable NO_SUCH_VARIABLE is not set; set it",
    unknown_preset: r':\d+:\d+: sources\.vidu\.preset: unknown preset "vido"; there are .*; did you mean "vidu"\?',
    short_secret: r":\d+:\d+: endpoints\.app\.secrets\[0\]: .*24",
    wrong_framing: r':\d+:\d+: sources\.vidu\.framing: .*"line"',
    bad_expression: r":\d+:\d+: sources\.vidu\.paths\.state: .*JMESPath",
    database_in_memory: r":\d+:\d+: store\.url: .*loses everything.*name a file",
    empty: r":1:1: .*empty file",
    comments_only: r":1:1: .*empty file",
    a_list: r":1:1: expected keys such as sources.*got",
    not_yaml: r":2:1: not valid YAML: .*",
}


@pytest.mark.parametrize(("change", "told"), REFUSED.items(), ids=lambda part: getattr(part, "__name__", ""))
async def test_configuration_refused(tmp_path: Path, change: Change, told: str) -> None:
    """A fault of the configuration: exit code 78, one line for it, with its place, and one that counts."""
    (tmp_path / "c.yaml").write_text(change(tmp_path))
    done = await command("run", "-c", "c.yaml", cwd=tmp_path)
    check_refused(done, "c.yaml" + told)


@pytest.mark.parametrize("what", ["missing", "directory", "binary", "NUL bytes", "unreadable"])
async def test_configuration_file_refused(tmp_path: Path, what: str) -> None:
    """A file that is none: the same; one that cannot be read has no place in it."""
    path = tmp_path / "c.yaml"
    match what:
        case "directory":
            path.mkdir()
        case "binary":
            path.write_bytes(b"\x7fELF\x02\x01\x01\xff\xfe\x80" * 50)
        case "NUL bytes":
            path.write_bytes(b"sources: {}\n\0\0\0\n")
        case "unreadable":
            path.symlink_to(path)
    check_refused(await command("run", "-c", "c.yaml", cwd=tmp_path), r"c\.yaml(:\d+:\d+)?: .*\w")


def check_refused(done: Finished, told: str) -> None:
    """See that one problem of the configuration is told, and told well."""
    assert done.code == CONFIG, done.err
    first, *excerpt, last = done.lines  # a mistake of YAML is shown below
    assert re.match(told, first), first
    assert all(line.startswith("    ") for line in excerpt), done.err
    assert last == "notifier: 1 problem in the configuration"
    assert done.out == ""


def check_failed(done: Finished, *told: str) -> None:
    """See that one line tells it."""
    assert done.code == FAILED, done.err
    [line] = done.lines
    assert line.startswith("notifier: "), line
    for part in told:
        assert part in line, line
    assert done.out == ""


async def run(directory: Path, **more: Any) -> Finished:
    """Run a daemon that cannot start."""
    (directory / "c.yaml").write_text(good(**more))
    return await command("run", "-c", "c.yaml", cwd=directory)


async def test_port_in_use(tmp_path: Path) -> None:
    """The address is named, and the way out."""
    async with Listener() as other:
        address = f"127.0.0.1:{other.port}"
        check_failed(await run(tmp_path, http={"listen": address}), address, "in use", "choose another")


async def test_address_of_somebody_else(tmp_path: Path) -> None:
    """An address that this machine does not have (RFC 5737, TEST-NET-1)."""
    listen = {"listen": f"192.0.2.1:{free_port()}", "token": "secret"}
    check_failed(await run(tmp_path, http=listen), "192.0.2.1", "choose another")


async def test_unix_socket_where_none_can_be(tmp_path: Path) -> None:
    """A directory that is not there."""
    check_failed(await run(tmp_path, http={"listen": "unix:/nonexistent/n.sock"}), "http.listen", "/nonexistent/n.sock")


@pytest.mark.parametrize("path", ["/nonexistent/deep/n.db", "/proc/n.db", "/dev/null/n.db"])
async def test_database_path_not_writable(tmp_path: Path, path: str) -> None:
    """The directory is named, and the key."""
    check_failed(await run(tmp_path, store={"url": f"sqlite:///{path}"}), str(Path(path).parent), "store.url")


async def test_database_is_a_directory(tmp_path: Path) -> None:
    """The path is named, and the key."""
    (tmp_path / "n.db").mkdir()
    check_failed(await run(tmp_path, store={"url": "sqlite:///./n.db"}), "n.db", "store.url", "directory")


CORRUPT = {"text": b"not a database, " * 1000, "torn": b"SQLite format 3\0" + random.Random(1).randbytes(8192)}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
async def test_corrupt_database(tmp_path: Path, content: bytes) -> None:
    """It is left as it was, and the ways out are told."""
    path = tmp_path / "notifier.db"
    path.write_bytes(content)
    check_failed(await run(tmp_path), "notifier.db", "restore a copy, or move it away")
    assert path.read_bytes() == content


async def test_damaged_pages(daemons: Start) -> None:
    """A database whose inside was overwritten."""
    daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}, watches=[str(n) for n in range(300)]))
    await daemon.start()
    assert await daemon.stop() == 0
    path = daemon.directory / "notifier.db"
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = random.Random(1).randbytes(len(content) // 2 - 4096)
    path.write_bytes(content)
    check_failed(await daemon.run("run", "-c", str(daemon.file)), "notifier.db", "restore a copy, or move it away")


async def test_newer_database(daemons: Start) -> None:
    """A database of a later version is not touched."""
    daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}))
    await daemon.start()
    assert await daemon.stop() == 0
    with closing(sqlite3.connect(daemon.directory / "notifier.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    check_failed(await daemon.run("run", "-c", str(daemon.file)), "notifier.db", "newer notifier", "upgrade")
    assert daemon.rows("SELECT version_num FROM alembic_version") == [("9999",)]


async def test_second_daemon_on_the_same_database(daemons: Start, tmp_path: Path) -> None:
    """The second one ends, the first one goes on; also by another spelling of the path."""
    settings = config(upstream="http://127.0.0.1:9", endpoints={})
    daemon = daemons(settings)
    await daemon.start()
    (tmp_path / "link").symlink_to(daemon.directory)
    for path in (daemon.directory, tmp_path / "link"):
        done = await run(tmp_path, store={"url": f"sqlite:///{path}/notifier.db"})
        check_failed(done, "notifier.db", "in use by another notifier", "stop it first")
    assert (await daemon.get("/readyz"))[0] == 200
    assert await daemon.stop() == 0


async def test_certificate_file_gone_at_a_reload(daemons: Start, tmp_path: Path) -> None:
    """A file of authorities that is none is a fault of the configuration, at a start and at a reload."""
    (tmp_path / "ca.pem").write_text("no certificate\n")
    settings = config(upstream="http://127.0.0.1:9", endpoints={})
    daemon = daemons(settings)
    await daemon.start()
    settings["sources"]["vidu"]["ca_file"] = str(tmp_path / "ca.pem")
    daemon.write(settings)
    done = await daemon.run("reload", "-c", str(daemon.file))
    assert (done.code, len(done.lines)) == (CONFIG, 2), done.err
    assert "sources.vidu.ca_file" in done.lines[0]
    assert await daemon.stop() == 0


async def test_upstream_answers_a_web_page(daemons: Start) -> None:
    """HTML instead of events, for twenty tasks: one line for the source, not one for each; then all is well."""
    ids = [str(n) for n in range(20)]
    async with Simulator(faults=[]) as sim, Listener(secrets=[SECRET]) as ears:
        sim.fault("*", "html")
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=ids))
        await daemon.start()
        await sim.wait_for(lambda s: s.outcomes["html"] >= 60, timeout=PATIENCE)
        [line] = [line for line in daemon.log.lines if '"level":"warning"' in line or '"level":"error"' in line]
        [told] = daemon.log.events("source.unavailable")
        assert told["source"] == "vidu"
        assert "text/html" in told["error"], told
        assert '"unavailable"' in (await daemon.get("/metrics"))[1]
        assert not ears.callbacks
        sim.clear_faults()
        await ears.wait(60, timeout=PATIENCE)
        await daemon.log.wait("source.recovered")
        assert await daemon.stop() == 0
        assert line


async def test_upstream_answers_no_task_state_for_too_long(daemons: Start) -> None:
    """After `give_up_after` the watch is lost, for the reason `unreadable`."""
    async with Simulator() as sim, Listener(secrets=[SECRET]) as ears:
        sim.push("1", {"progress": 7})
        sim.fault("*", "drop@1")
        settings = config(
            upstream=sim.base_url, vidu={"give_up_after": "1s"}, endpoints={"app": webhook(ears.url)}, watches=["1"]
        )
        daemon = daemons(settings)
        await daemon.start()
        [lost] = await ears.wait(1)
        assert (lost.type, lost.payload["data"]["reason"]) == ("watch.lost", "unreadable")
        await asyncio.wait_for(daemon.log.wait("watch.lost"), PATIENCE)
        assert await daemon.stop() == 0


DIE = """
import sys
from notifier.follow.watcher import Watcher
async def run(self):
    raise RuntimeError("cannot read https://user:hunter2@example.com/")
Watcher.run = run
from notifier.cli import main
main()
"""


async def test_a_dead_loop_ends_the_process(daemons: Start) -> None:
    """A fault of the program ends it with exit code 1 and one line of its log, which hides what is secret."""
    python = (sys.executable, "-c", DIE)
    daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}), python=python)
    await daemon.launch()
    assert await daemon.ended() == FAILED
    [told] = daemon.log.events("daemon.failed")
    assert "RuntimeError: cannot read" in told["exception"]
    assert "hunter2" not in "".join(daemon.log.lines)
    assert all(line.startswith("{") for line in daemon.log.lines), daemon.log.lines
