"""The messages that the service manager gets over its socket, from start to end (sd_notify(3))."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from daemon_process import SECRET, Start, config, webhook
from waits import PATIENCE

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript
from notifier.tools.waiting import Waiters

WATCHDOG = 1.0  # seconds of the manager's patience


class Manager(asyncio.DatagramProtocol):
    """Hears what a service says."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str]] = []
        self._waiters = Waiters()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.append((time.monotonic(), data.decode()))
        self._waiters.changed()

    def count(self, start: str) -> int:
        """Count the messages that begin so."""
        return sum(text.startswith(start) for _, text in self.heard)

    async def hear(self, start: str, n: int = 1) -> str:
        """Return the `n`th message that begins so."""
        await self._waiters.wait(lambda: self.count(start) >= n, timeout=PATIENCE)
        return [text for _, text in self.heard if text.startswith(start)][n - 1]

    @property
    def said(self) -> list[str]:
        """Return what was said, by its first word, without the ticking of watchdog and status."""
        words = [text.partition("=")[0] for _, text in self.heard]
        return [word for word in words if word not in ("WATCHDOG", "STATUS")]


@asynccontextmanager
async def manager(path: Path) -> AsyncIterator[Manager]:
    """Listen as the service manager does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(str(path))
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Manager, sock=sock)
    try:
        yield protocol
    finally:
        transport.close()


async def test_the_manager_is_told_everything(daemons: Start, tmp_path: Path) -> None:
    """READY after the start, RELOADING with a time and READY around each reload, STOPPING; alive all the while."""
    path = tmp_path / "notify"
    async with (
        manager(path) as heard,
        Simulator(transcript=Transcript(snapshots=())) as sim,
        Listener(secrets=[SECRET]) as ears,
    ):
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1", "2"])
        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(round(WATCHDOG * 1e6))}
        daemon = daemons(settings, env=env)
        await daemon.start()
        await heard.hear("READY=1")
        assert (await daemon.get("/readyz"))[0] == 200
        await sim.wait_open(2)
        await heard.hear("STATUS=2 watches, 2 streams open, 0 deliveries under way")
        assert (await heard.hear("STATUS=")).startswith("STATUS=2 watches, "), "the first one is true"

        before = time.monotonic_ns() // 1000
        daemon.signal(signal.SIGHUP)
        reloading = await heard.hear("RELOADING=1")
        _, _, stamp = reloading.partition("\nMONOTONIC_USEC=")
        assert before <= int(stamp) <= time.monotonic_ns() // 1000
        await heard.hear("READY=1", 2)

        daemon.write("sources: 7\n")
        assert (await daemon.post("/v1/reload"))[0] == 422
        await heard.hear("RELOADING=1", 2)
        await heard.hear("READY=1", 3)

        await heard.hear("WATCHDOG=1", heard.count("WATCHDOG=1") + 3)
        assert await daemon.stop() == 0
        await heard.hear("STOPPING=1")
        assert heard.said == ["READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING"]
        signs = [at for at, text in heard.heard if text == "WATCHDOG=1"]
        assert max(b - a for a, b in pairwise(signs)) < WATCHDOG


async def test_signs_of_life_during_a_drain(daemons: Start, tmp_path: Path) -> None:
    """A long drain is no reason for the manager to think that the daemon hangs."""
    path = tmp_path / "notify"
    async with (
        manager(path) as heard,
        Simulator(transcript=Transcript(snapshots=())) as sim,
        Listener(secrets=[SECRET], respond="blackhole") as ears,
    ):
        settings = config(
            upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"], shutdown_timeout="3s"
        )
        daemon = daemons(settings, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "500000"})
        await daemon.start()
        await sim.wait_open(1)
        sim.push("1", "success")
        await ears.wait(1)
        assert await daemon.stop() == 0
        stopping = next(at for at, text in heard.heard if text == "STOPPING=1")
        assert sum(at > stopping for at, text in heard.heard if text == "WATCHDOG=1") >= 6


async def test_a_daemon_nobody_listens_to(daemons: Start, tmp_path: Path) -> None:
    """A socket that is not there is said once, and does no harm."""
    daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}), env={"NOTIFY_SOCKET": str(tmp_path / "none")})
    await daemon.start()
    assert await daemon.stop() == 0
    assert len(daemon.log.events("systemd.notify_failed")) == 1
