"""PostgreSQL servers of a test's own, which it may stop, freeze, fill and promote.

They run the system's programs in directories of their own, and end with the test or the run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg
from helper_programs import find, real_clock
from ports import free_port
from waits import PATIENCE

NAME = "notifier"  # of the database that tests make there
NEEDED = ("postgres", "initdb", "pg_basebackup")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # the machine itself does not fail in a test
    "max_connections": "30",
    "shared_buffers": "8MB",
    "max_wal_senders": "4",
    "log_min_messages": "warning",
}


@functools.cache
def programs() -> Path | None:
    """Return the directory of the server's programs, or None: there is none, or no account to run it as."""
    path = find("postgres")
    if path is None or (os.geteuid() == 0 and _account() is None):
        return None
    place = Path(path).resolve().parent
    return place if all((place / name).exists() for name in NEEDED) else None


def _account() -> pwd.struct_passwd | None:
    """Return the account for servers where tests run as root: PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _as_whom() -> dict[str, Any]:
    account = _account() if os.geteuid() == 0 else None
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


class Server:
    """A server; its directory exists from the beginning."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        copy_of: Server | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Create its files in `directory`, or in a temporary one: empty, or a replica of `copy_of`."""
        self._settings = SETTINGS | dict(settings or {})
        self._directory = directory or Path(tempfile.mkdtemp(prefix="notifier-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if os.geteuid() == 0:
            os.chown(self._directory, _as_whom()["user"], _as_whom()["group"])
        if copy_of is None:
            self._program("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N", "-D", self.data)
        else:
            self._program("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-d", copy_of.url(), "-D", self.data)

    @property
    def data(self) -> str:
        """Return its data directory."""
        return str(self._directory / "data")

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def _program(self, name: str, *args: str) -> None:
        place = programs()
        assert place is not None
        done = subprocess.run(
            [place / name, *args], cwd="/", env=real_clock(), capture_output=True, text=True, **_as_whom()
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it; return once it answers."""
        place = programs()
        assert place is not None
        settings = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        with open(f"{self._directory}/log", "ab") as log:
            self._process = subprocess.Popen(
                [place / "postgres", "-D", self.data, "-p", str(self.port), "-k", self._directory, *settings],
                cwd="/", env=real_clock(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_as_whom(),
            )  # fmt: skip
        self.wait(lambda: self.query("SELECT 1") == [(1,)])

    def wait(self, holds: Callable[[], bool]) -> None:
        """Return once `holds()`, which may query the server, is true."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            try:
                if holds():
                    return
            except psycopg.OperationalError:
                pass
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def log(self) -> str:
        """Return the end of its log."""
        return (self._directory / "log").read_text(errors="replace")[-2000:]

    def query(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement outside of a transaction; return its rows."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends its connections in order, SIGQUIT as a crash does."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        self._process = None

    def settle(self) -> None:
        """Return once it answers; start it again if it has ended, as a service manager does."""
        assert self._process is not None
        try:
            self.wait(lambda: self.query("SELECT 1") == [(1,)])
        except AssertionError:
            if self._process.poll() is None:
                raise
            self.start()

    def freeze(self) -> None:
        """Suspend its processes; its sockets stay open."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        """Resume its processes."""
        for process in reversed(self._processes()):
            with contextlib.suppress(psutil.NoSuchProcess):  # one that served a client which has just left
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._directory, ignore_errors=True)
