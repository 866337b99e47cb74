"""The turn of one program, and the facts about the machine that runs it."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from bench.child import BenchError

LOG_TAIL = 4_000  # characters of a failed program's output to show


@contextmanager
def turn(what: str, directory: Path, console: Console, failures: dict[str, str]) -> Iterator[None]:
    """Give one program its turn. If it fails, tell so, keep its output, and go on to the next one."""
    console.print(f"{what} ...", style="dim")
    try:
        yield
    except BenchError as exc:
        logs = [log.read_text(encoding="utf-8", errors="replace") for log in sorted(directory.rglob("output.log"))]
        failures[what] = "\n".join([str(exc), *(log[-LOG_TAIL:] for log in logs if log)])
        console.print(f"{what}: {failures[what]}", style="red", markup=False)


def answers(url: str, port: int) -> bool:
    """Return whether somebody listens there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or port), timeout=1).close()
    except OSError:
        return False
    return True


def machine() -> dict[str, Any]:
    """Say what the figures are measured on."""
    return {
        "cores": os.cpu_count(),
        "load_before": list(os.getloadavg()),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
