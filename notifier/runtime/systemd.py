"""Reports the daemon's state to systemd. Without systemd it does nothing; a missing socket never harms the daemon.

The protocol is that of sd_notify(3): newline-separated assignments in one datagram to $NOTIFY_SOCKET.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)

SEND_TIMEOUT = 0.5  # seconds; a stuck manager must not block the event loop for longer


class SystemdNotifier:
    """Sends service states to the manager that started the process."""

    def __init__(self, *, address: str | None, watchdog_interval: float | None = None) -> None:
        self._address = address
        self._failed = False  # the last report failed, and that was logged
        self.watchdog_interval = watchdog_interval  # seconds between calls of `watchdog`; None: no watchdog

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> SystemdNotifier:
        """Read the manager's variables (sd_notify(3), sd_watchdog_enabled(3)); the environment stays as it is."""
        path = env.get("NOTIFY_SOCKET", "")
        if not path.startswith(("/", "@")):  # empty, or another address family
            return cls(address=None)
        address = "\0" + path[1:] if path[0] == "@" else path
        return cls(address=address, watchdog_interval=_watchdog_interval(env))

    @property
    def enabled(self) -> bool:
        """Return whether a manager listens."""
        return self._address is not None

    def ready(self) -> None:
        """Report that start-up, or a reload, is complete."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show one line of text in `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def watchdog(self) -> None:
        """Report that the daemon is alive; due every `watchdog_interval` seconds."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that a reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the shutdown began."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            # Each datagram gets its own socket: there are few, and the manager may be re-executed in between.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(SEND_TIMEOUT)
                sock.sendto(message.encode(), self._address)
        except OSError as exc:
            if not self._failed:
                log.warning("systemd.notify_failed", error=str(exc))
            self._failed = True
        else:
            self._failed = False


def _watchdog_interval(env: Mapping[str, str]) -> float | None:
    """Return half the manager's patience, in seconds (sd_watchdog_enabled(3) recommends half)."""
    try:
        patience = int(env.get("WATCHDOG_USEC", "0"))
        addressee = int(env.get("WATCHDOG_PID") or os.getpid())  # a child inherits the variable of its parent
    except ValueError:
        log.warning("systemd.watchdog_unreadable", usec=env.get("WATCHDOG_USEC"), pid=env.get("WATCHDOG_PID"))
        return None
    if patience <= 0 or addressee != os.getpid():
        return None
    return patience / 2 / 1_000_000
