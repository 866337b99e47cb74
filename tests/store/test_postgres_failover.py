"""A PostgreSQL that is not the same afterwards: its replica took over, its disk was full and was cleared."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import require_programs
from servers import NAME, Server
from store_rig import T0, wanted
from waits import until
from workload import working

from notifier.core.errors import StoreUnavailable
from notifier.store import postgres

pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """Start a server with a database, and its replica, whose word a commit waits for."""
    require_programs()
    primary = Server()
    made = [primary]
    try:
        primary.start()
        primary.query(f"CREATE DATABASE {NAME}")
        replica = Server(copy_of=primary)
        made.append(replica)
        replica.start()
        primary.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.query("SELECT pg_reload_conf()")
        primary.wait(lambda: primary.query("SELECT sync_state FROM pg_stat_replication") == [("sync",)])
        postgres.migrate(primary.url(NAME))
        yield primary, replica
    finally:
        for each in made:
            each.remove()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_a_replica_takes_over(pair: tuple[Server, Server], how: signal.Signals) -> None:
    """With both hosts in the URL the store finds the one that can be written; nothing is lost, as commits waited."""
    primary, replica = pair
    url = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{replica.port}/{NAME}"
    async with working(url) as work:
        assert work.store.available
        await asyncio.to_thread(primary.stop, how)
        await until(lambda: not work.store.available)
        with pytest.raises(StoreUnavailable):
            await work.store.watches.apply([wanted("new")], origin="api", now=T0)
        # Nobody can wait for rows that never were on the replica: it follows no server now.
        replica.query("ALTER SYSTEM RESET synchronous_standby_names")
        await asyncio.to_thread(replica.query, "SELECT pg_promote()")
        await until(lambda: work.store.available)
        assert len((await work.store.watches.apply([wanted("new")], origin="api", now=T0)).added) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system that is soon full."""
    place = Path(f"/tmp/notifier-disk-{os.getpid()}")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128m", "none", place], capture_output=True, text=True
    ).returncode
    try:
        if mounted != 0:
            pytest.xfail("file systems cannot be mounted here")  # not a skip: nothing that can be installed helps
        yield place
    finally:
        if mounted == 0:
            subprocess.run(["umount", place], check=True)
        place.rmdir()


async def test_a_disk_that_is_full_is_waited_for(small_disk: Path) -> None:
    """The server goes on with what needs no room; whatever was taken up is done when there is room again."""
    require_programs()
    server = Server(small_disk)
    try:
        server.start()
        server.query(f"CREATE DATABASE {NAME}")
        postgres.migrate(server.url(NAME))
        async with working(server.url(NAME)) as work:
            ballast = small_disk / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # up to the last byte
                while file.write(bytes(1 << 16)):
                    pass
            await until(lambda: not work.store.available)
            ballast.unlink()
            await asyncio.to_thread(server.settle)
            await until(lambda: work.store.available)
    finally:
        server.remove()
