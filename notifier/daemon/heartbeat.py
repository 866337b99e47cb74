"""Sends a heartbeat to a monitor while the daemon is well, so that the monitor raises an alarm when it stops.

Monitors such as healthchecks.io and Uptime Kuma (push) expect a GET now and then. A daemon that is stuck, has no store,
or has ended sends none: a loop that dies ends the process, and this loop runs beside the others.
"""

from __future__ import annotations

import asyncio

import structlog
from yarl import URL

from notifier.cluster import STOPPING, ThisNode
from notifier.config import ConfigInForce, HeartbeatConfig
from notifier.runtime.http1 import HttpFault, Pool, Route, basic
from notifier.senders.target import USER_AGENT, request_url

log = structlog.get_logger(__name__)

TURN = 1.0  # seconds between looks at the configuration
TIMEOUT = 10.0  # seconds for one heartbeat


class Heartbeat:
    """Sends GETs as the configuration in force says."""

    def __init__(self, *, in_force: ConfigInForce, this: ThisNode) -> None:
        """Send while this node has no problem."""
        self._in_force = in_force
        self._this = this
        self._fault: str | None = None  # of the last heartbeat, which was logged
        self._paused = False  # no heartbeat is sent because of a problem, which was logged

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        sent: tuple[HeartbeatConfig, float] | None = None  # the configuration and the time of the last heartbeat
        while True:
            config, now = self._in_force.config.heartbeat, loop.time()
            due = sent is None or sent[0] != config or now >= sent[1] + config.every
            if config.url is not None and due and self._well():
                sent = (config, now)
                await self._send(config.url.reveal())
            await asyncio.sleep(min(TURN, config.every))

    def _well(self) -> bool:
        problem = self._this.problem()
        if problem not in (None, STOPPING) and not self._paused:
            log.warning("heartbeat.paused", reason=problem, hint="the monitor gets no heartbeat until this is over")
        self._paused = problem is not None
        return problem is None

    async def _send(self, url: str) -> None:
        """Send one heartbeat; log a fault once, without the URL, which may be secret."""
        try:
            status = await _ask(url)
            fault = None if status < 300 else f"the monitor answered {status}"
        except TimeoutError:
            fault = f"the monitor did not answer within {TIMEOUT:g} s"
        except (HttpFault, OSError, ValueError) as exc:
            fault = f"the monitor cannot be reached: {type(exc).__name__}"
        if fault is not None and fault != self._fault:
            log.warning("heartbeat.failed", error=fault, hint="check heartbeat.url; the next one is sent in time")
        elif fault is None and self._fault is not None:
            log.info("heartbeat.recovered")
        self._fault = fault


async def _ask(text: str) -> int:
    """GET a URL and return the status. Raises HttpFault, OSError, TimeoutError, ValueError."""
    url, pool = request_url(text), Pool(keep=0)
    head = f"GET {url.raw_path} HTTP/1.1\r\nhost: {url.host_port_subcomponent}\r\nuser-agent: {USER_AGENT}\r\n"
    known = URL(text)  # `request_url` leaves the user out
    if known.user or known.password:
        head += f"authorization: {basic(known.user, known.password)}\r\n"
    try:
        async with asyncio.timeout(TIMEOUT):
            connection = await pool.dial(Route.to(url, tls=True))
            connection.ask(f"{head}accept: */*\r\nconnection: close\r\n\r\n".encode())
            await connection.wait(0)
            return connection.reply.status
    finally:
        pool.close()
