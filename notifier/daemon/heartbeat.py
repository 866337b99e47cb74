"""Sends a heartbeat to a monitor while the daemon is well, so that the monitor raises an alarm when it stops.

Monitors such as healthchecks.io and Uptime Kuma (push) expect a GET now and then. A daemon that is stuck, has no store,
or has ended sends none: a loop that dies ends the process, and this loop runs beside the others.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import structlog

from notifier.cluster import STOPPING, ThisNode
from notifier.config import ConfigInForce, HeartbeatConfig
from notifier.runtime.tls import tls_context
from notifier.senders.target import USER_AGENT, request_url

log = structlog.get_logger(__name__)

TURN = 1.0  # seconds between looks at the configuration
TIMEOUT = 10.0  # seconds for one heartbeat
MAX_REPLY = 64 << 10  # bytes of a reply's header, most of which monitors need not send


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
        async with AsyncExitStack() as stack:
            session: aiohttp.ClientSession | None = None
            while True:
                config, now = self._in_force.config.heartbeat, loop.time()
                due = sent is None or sent[0] != config or now >= sent[1] + config.every
                if config.url is not None and due and self._well():
                    if session is None:
                        session = await stack.enter_async_context(_session())
                    sent = (config, now)
                    await self._send(session, config.url.reveal())
                await asyncio.sleep(min(TURN, config.every))

    def _well(self) -> bool:
        problem = self._this.problem()
        if problem not in (None, STOPPING) and not self._paused:
            log.warning("heartbeat.paused", reason=problem, hint="the monitor gets no heartbeat until this is over")
        self._paused = problem is not None
        return problem is None

    async def _send(self, session: aiohttp.ClientSession, url: str) -> None:
        """Send one heartbeat; log a fault once, without the URL, which may be secret."""
        try:
            async with session.get(request_url(url), allow_redirects=False) as response:
                fault = None if response.status < 300 else f"the monitor answered {response.status}"
        except TimeoutError:
            fault = f"the monitor did not answer within {TIMEOUT:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            fault = f"the monitor cannot be reached: {type(exc).__name__}"
        if fault is not None and fault != self._fault:
            log.warning("heartbeat.failed", error=fault, hint="check heartbeat.url; the next one is sent in time")
        elif fault is None and self._fault is not None:
            log.info("heartbeat.recovered")
        self._fault = fault


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls_context(), force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        max_field_size=MAX_REPLY,
    )
