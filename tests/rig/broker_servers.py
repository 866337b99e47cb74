"""The brokers that tests share: those of this machine, or else one of each kind that is started for the run.

NOTIFIER_TEST_REDIS, NOTIFIER_TEST_NATS and NOTIFIER_TEST_AMQP name others. A server is started when the first test of
a process asks for it, keeps its data in a directory of its own, and ends with that process.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from helper_programs import real_clock, require
from ports import free_port
from waits import PATIENCE

USUAL = {
    "redis": "redis://127.0.0.1:6379",
    "nats": "nats://127.0.0.1:4222",
    "amqp": "amqp://guest:guest@127.0.0.1:5672/",
}


@functools.cache
def broker_url(scheme: str) -> str:
    """Return the URL of the shared broker: `redis`, `nats` or `amqp`. Skips the test where there can be none."""
    named = os.environ.get(f"NOTIFIER_TEST_{scheme.upper()}")
    if named:
        return named
    usual = urlsplit(USUAL[scheme])
    if _listens(usual.port or 0):
        return USUAL[scheme]
    directory = Path(tempfile.mkdtemp(prefix=f"notifier-{scheme}-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    port = free_port()
    for part in _RECIPES[scheme](directory, port):
        _start(part, directory)
    return USUAL[scheme].replace(f":{usual.port}", f":{port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """A program that listens on a port of 127.0.0.1."""

    command: list[str]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)


def _redis(directory: Path, port: int) -> list[_Program]:
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory), "--save", ""]
    return [_Program(command=[require("redis-server"), *options], port=port)]


def _nats(directory: Path, port: int) -> list[_Program]:
    options = ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(directory)]
    return [_Program(command=[require("nats-server"), *options], port=port)]


def _rabbitmq(directory: Path, port: int) -> list[_Program]:
    """Use a name service (epmd) of its own, so that the system's is not touched and none stays behind."""
    names = free_port()
    environment = {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "notifier-test@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(directory / "config"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
    }
    server = require("rabbitmq-server")
    epmd = [require("epmd"), "-port", str(names), "-address", "127.0.0.1"]
    return [
        _Program(command=epmd, port=names),
        _Program(command=[server], port=port, environment=environment),
    ]


_RECIPES: dict[str, Callable[[Path, int], list[_Program]]] = {"redis": _redis, "nats": _nats, "amqp": _rabbitmq}


def _start(program: _Program, directory: Path) -> None:
    """Start a program; return once it listens."""
    log = directory / f"{Path(program.command[0]).name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            program.command,
            env={**real_clock(), **program.environment},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that it ends together with the processes that it starts
        )
    atexit.register(_end, process)
    deadline = time.monotonic() + PATIENCE
    while not _listens(program.port):
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program with the processes that it started: its data is thrown away."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
