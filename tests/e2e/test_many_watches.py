"""Ten thousand watches asked for at once are all followed, and nobody waits for them."""

from __future__ import annotations

import asyncio
import time

import psutil
import pytest
from daemon_process import SECRET, Start, config, webhook
from waits import PATIENCE

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

WATCHES = 10_000
FLOWING = 100
RATE = 1000  # connections a second
MEMORY = 600 << 20  # bytes of the daemon with every stream open; about 180 MiB are usual


@pytest.mark.slow
async def test_ten_thousand_added_at_once_are_each_subscribed_once(daemons: Start) -> None:
    """No faster than the ramp allows; streams that were open flow on, and lists are answered meanwhile."""
    async with Simulator(transcript=Transcript(snapshots=())) as sim, Listener(secrets=[SECRET]) as ears:
        ids = [f"flow {number}" for number in range(FLOWING)]
        # Where the machine is busy, a reply's head may take longer than is usual: that is no reason to connect again.
        patient = {"connect_timeout": "5m", "idle_timeout": "10m"}
        source = {"connect_rate": RATE, "max_streams": WATCHES + FLOWING} | patient
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=ids, vidu=source)
        daemon = daemons(settings)
        await daemon.start()
        await sim.wait_open(FLOWING, timeout=PATIENCE)

        began = time.monotonic()
        status, told = await daemon.post("/v1/watches", [str(number) for number in range(WATCHES)])
        assert (status, told["created"]) == (201, WATCHES)
        following = asyncio.create_task(sim.wait_open(WATCHES + FLOWING, timeout=PATIENCE), name="all are open")
        told = 0
        while not following.done():
            for id_ in ids:
                sim.push(id_, ("queueing", "processing")[told // FLOWING % 2])
            told += FLOWING
            await ears.wait(told, timeout=PATIENCE)
            for path in ("/v1/watches", "/v1/watches?limit=1000", "/"):
                assert (await daemon.get(path))[0] == 200
        await following
        assert time.monotonic() - began > WATCHES / RATE * 0.8, "the ramp holds"
        assert sim.connects == WATCHES + FLOWING
        assert all(task.connections == 1 for task in sim.tasks.values())
        assert len({callback.id for callback in ears.callbacks}) == told
        assert psutil.Process(daemon.pid).memory_info().rss < MEMORY
        assert await daemon.stop() == 0
