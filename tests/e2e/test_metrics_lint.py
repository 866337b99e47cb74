"""The metrics of a daemon at work keep Prometheus's rules."""

from __future__ import annotations

import asyncio
import subprocess

from daemon_process import SECRET, Start, config, webhook
from helper_programs import require

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

ENDS = parse_spec("queueing,success")


async def test_promtool_has_nothing_to_say_about_the_metrics(daemons: Start) -> None:
    """Names, units and help texts are as Prometheus asks for, of every metric that a busy daemon shows."""
    promtool = require("promtool")
    async with Simulator(transcript=ENDS) as sim, Listener(secrets=[SECRET]) as ears:
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"]))
        await daemon.start()
        await ears.wait(2)
        _, text = await daemon.get("/metrics")
        assert "notifier_delivery_latency_seconds_bucket" in text
        done = await asyncio.to_thread(
            subprocess.run, [promtool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=60
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
        assert await daemon.stop() == 0
