"""A Debian that is booted by systemd in a container, and the programs that are run in it.

It has a network of its own, with nothing but a loopback, and forgets at its end all that was written. Programs run in
it by nsenter(1): nothing has to be installed there, and this machine needs no service manager.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from debian_root import said

PATIENCE = 180.0  # seconds for what has to happen at all: only a failing test waits so long
ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TERM=dumb")
PLACE = "/mnt"  # where the files of the test are, in the machine


class Machine:
    """The booted system."""

    def __init__(self, leader: int) -> None:
        self.leader = leader  # its first process, by the id that this machine gives it

    def inside(self, *arguments: str | Path) -> list[str]:
        """Return the command that runs a program in it."""
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd=/")
        return ["nsenter", f"--target={self.leader}", *spaces, "--", *ENVIRONMENT, *map(str, arguments)]

    def run(self, *arguments: str | Path) -> str:
        """Run a program to its end; return what it printed. Raises AssertionError where it fails."""
        return said(*self.inside(*arguments))

    def tried(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, whatever that is."""
        return subprocess.run(self.inside(*arguments), capture_output=True, text=True, check=False)

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a program; whoever starts it sees to its end."""
        return subprocess.Popen(self.inside(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file."""
        done = subprocess.run(
            self.inside("install", "-D", "-m", mode, "/dev/stdin", path), input=text, text=True, check=False
        )
        assert done.returncode == 0, path

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str, *more: str) -> list[dict[str, Any]]:
        """Return the entries of a unit, with all of their fields."""
        printed = self.run("journalctl", "--output=json", "--no-pager", f"--unit={unit}", *more)
        return [json.loads(line) for line in printed.splitlines()]

    def events(self, unit: str, name: str) -> list[dict[str, Any]]:
        """Return the events of a name that a daemon has logged."""
        messages = [entry["MESSAGE"] for entry in self.journal(unit) if isinstance(entry["MESSAGE"], str)]
        told = [json.loads(message) for message in messages if message.startswith('{"')]
        return [event for event in told if event.get("event") == name]


def until(holds: Callable[[], object], what: str) -> None:
    """Return once `holds()` is true. Raises AssertionError after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"never came to be: {what}"
        time.sleep(0.1)


@contextlib.contextmanager
def booted(root: Path, files: Path, log: Path) -> Iterator[Machine]:
    """Boot a root, which stays as it is; `files` are at PLACE in it, and its console is written to `log`."""
    options: Mapping[str, str] = {"directory": str(root), "volatile": "overlay", "bind-ro": f"{files}:{PLACE}"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += ["--quiet", "--boot", "--private-network", "--register=no", "--keep-unit", "--console=pipe"]
    name = f"notifier-test-{os.getpid()}"
    arguments += [f"--machine={name}", "--kill-signal=SIGRTMIN+3"]
    with log.open("wb") as console:
        nspawn = subprocess.Popen(
            ["systemd-nspawn", *arguments], stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )
    try:
        machine = Machine(first_process(nspawn, log, "systemd"))
        until(lambda: machine.tried("systemctl", "is-system-running").stdout.strip() == "running", "a booted system")
        yield machine
    finally:
        nspawn.send_signal(signal.SIGTERM)  # it has the system shut down
        try:
            nspawn.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            raise
        forget(name)


def forget(name: str) -> None:
    """Remove what nspawn may leave of a machine where nobody clears /run."""
    with contextlib.suppress(FileNotFoundError):
        Path(f"/run/systemd/nspawn/propagate/{name}").rmdir()


def first_process(nspawn: subprocess.Popen[bytes], log: Path, name: str) -> int:
    """Return the first process of a container, of that name. Until it runs, nspawn has other children."""
    found: list[int] = []

    def begun() -> bool:
        assert nspawn.poll() is None, log.read_text(errors="replace")
        for child in Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split():
            with contextlib.suppress(OSError):  # it has just ended
                if Path(f"/proc/{child}/comm").read_text() == f"{name}\n":
                    found.append(int(child))
        return bool(found)

    until(begun, "a first process")
    return found[0]
