"""What systemd is told, read from a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from notifier.runtime.systemd import SystemdNotifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Stand where systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(str(tmp_path / "notify"))
        yield sock


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), **more}


def test_every_state_is_one_datagram(manager: socket.socket, tmp_path: Path) -> None:
    notifier = SystemdNotifier.from_environment(environment(tmp_path))
    assert notifier.enabled
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()
    assert [manager.recv(4096) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_status_is_one_line_whatever_it_says(manager: socket.socket, tmp_path: Path) -> None:
    """A line break would begin another assignment."""
    SystemdNotifier.from_environment(environment(tmp_path)).status("7 streams,\nREADY=1 2 größer")
    assert manager.recv(4096) == "STATUS=7 streams, READY=1 2 größer".encode()


def test_a_reload_carries_the_monotonic_clock(manager: socket.socket, tmp_path: Path) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    SystemdNotifier.from_environment(environment(tmp_path)).reloading()
    reloading, clock = manager.recv(4096).decode().splitlines()
    assert reloading == "RELOADING=1"
    name, _, microseconds = clock.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_an_abstract_socket_is_reached() -> None:
    name = f"notifier-test-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind("\0" + name)
        SystemdNotifier.from_environment({"NOTIFY_SOCKET": "@" + name}).ready()
        assert sock.recv(4096) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative/path"])
def test_nothing_happens_where_nobody_listens(address: str | None) -> None:
    notifier = SystemdNotifier.from_environment({"NOTIFY_SOCKET": address} if address is not None else {})
    with capture_logs() as logged:
        notifier.ready()
        notifier.watchdog()
    assert not notifier.enabled
    assert notifier.watchdog_interval is None
    assert logged == []


def test_a_vanished_socket_is_logged_once_and_again_after_it_came_back(manager: socket.socket, tmp_path: Path) -> None:
    notifier = SystemdNotifier.from_environment(environment(tmp_path))
    (tmp_path / "notify").rename(tmp_path / "gone")
    with capture_logs() as logged:
        notifier.watchdog()
        notifier.watchdog()
        assert [entry["event"] for entry in logged] == ["systemd.notify_failed"]
        (tmp_path / "gone").rename(tmp_path / "notify")
        notifier.watchdog()
        assert manager.recv(4096) == b"WATCHDOG=1"
        (tmp_path / "notify").unlink()
        notifier.watchdog()
    assert [entry["event"] for entry in logged] == ["systemd.notify_failed"] * 2


def test_a_manager_that_does_not_read_holds_nothing_up(manager: socket.socket, tmp_path: Path) -> None:
    """The kernel queues a few datagrams (net.unix.max_dgram_qlen), then a sender would wait for ever."""
    notifier = SystemdNotifier.from_environment(environment(tmp_path))
    sent = 0
    with capture_logs() as logged:
        while not logged and sent < 100_000:
            notifier.status("x" * 1000)
            sent += 1
    assert [entry["event"] for entry in logged] == ["systemd.notify_failed"]


def test_the_watchdog_is_due_twice_as_often_as_is_waited_for(tmp_path: Path) -> None:
    env = environment(tmp_path, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    assert SystemdNotifier.from_environment(env).watchdog_interval == 15.0
    del env["WATCHDOG_PID"]
    assert SystemdNotifier.from_environment(env).watchdog_interval == 15.0


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}],
)
def test_no_watchdog_where_none_was_asked_of_this_process(tmp_path: Path, watchdog: dict[str, str]) -> None:
    assert SystemdNotifier.from_environment(environment(tmp_path, **watchdog)).watchdog_interval is None


def test_the_environment_is_left_as_it_is(manager: socket.socket, tmp_path: Path) -> None:
    """`notifier reload` and other children of the service may need it."""
    env = environment(tmp_path, WATCHDOG_USEC="1000000")
    before = dict(env)
    SystemdNotifier.from_environment(env).ready()
    assert env == before
