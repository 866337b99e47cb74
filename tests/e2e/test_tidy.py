"""At its end the daemon leaves no task, connection or file behind that Python would warn of."""

from __future__ import annotations

import json
import signal
import sys

import psutil
import pytest
from daemon_process import SECRET, Start, config, webhook
from waits import PATIENCE, until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

pytestmark = pytest.mark.unmeasured

STRICT = (sys.executable, "-W", "error", "-X", "dev", "-m", "notifier")
COMPLAINTS = ("Unclosed", "never awaited", "never retrieved", "was destroyed", "Exception ignored", "Warning")


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
async def test_no_complaint_to_the_end(daemons: Start, loop: str) -> None:
    """With every warning an error and asyncio's debugging on, through faults, reloads and a drain: not one line."""
    ids = [str(n) for n in range(40)]
    async with Simulator(transcript=Transcript(snapshots=()), seed=1) as sim, Listener(secrets=[SECRET]) as ears:
        for glob, fault in (("1*", "reset@1"), ("2*", "503"), ("3*", "html"), ("4", "hangup"), ("5", "slowhead:60")):
            sim.fault(glob, fault)
        endpoints = {"app": webhook(ears.url), "gone": webhook("http://127.0.0.1:9"), "chat": webhook(ears.url + "/2")}
        settings = config(
            upstream=sim.base_url, endpoints=endpoints, watches=ids, loop=loop, vidu={"idle_timeout": "500ms"}
        )
        settings["sources"]["other"] = dict(settings["sources"]["vidu"])
        settings["sources"]["vidu"] |= {"default": True}
        settings["watches"] += [{"id": f"other-{n}", "source": "other"} for n in range(10)]
        daemon = daemons(settings, python=STRICT, env={"PYTHONASYNCIODEBUG": "1"})
        await daemon.start()
        for task in ("0", "6", "7", "10", "other-1"):
            sim.push(task, "queueing")
        await ears.wait(10)
        fewer = settings | {"endpoints": {"app": webhook(ears.url)}, "watches": ids[5:]}
        fewer["sources"] = {"vidu": settings["sources"]["vidu"]}
        daemon.write(fewer)
        daemon.signal(signal.SIGHUP)
        await daemon.log.wait("reload.done")
        sim.push("7", "success")
        await ears.wait_for(lambda _: any(c.state == "success" for c in ears.callbacks))
        for _ in range(3):
            assert (await daemon.get("/metrics"))[0] == 200
            assert (await daemon.get("/v1/status"))[0] == 200
        assert await daemon.stop() == 0
    for line in daemon.log.lines:
        told = json.loads(line)
        assert not any(word in line for word in COMPLAINTS), line
        assert told["level"] in ("debug", "info", "warning"), line
        assert told.get("logger") != "asyncio" or told["event"].startswith("Executing "), line


async def test_nothing_grows_over_reconnects(daemons: Start) -> None:
    """A thousand connections that were cut leave no descriptor and no thread behind."""
    ids = [str(n) for n in range(50)]
    async with Simulator(transcript=Transcript(snapshots=())) as sim, Listener(secrets=[SECRET]) as ears:
        settings = config(
            upstream=sim.base_url,
            endpoints={"app": webhook(ears.url)},
            watches=ids,
            vidu={"backoff": {"initial": "20ms", "max": "20ms"}},
        )
        daemon = daemons(settings)
        await daemon.start()
        await sim.wait_open(50)
        process = psutil.Process(daemon.pid)
        before = process.num_fds(), process.num_threads()
        for n in range(1, 21):
            sim.cut()
            await sim.wait_connects(50 * (n + 1), timeout=PATIENCE)
            await sim.wait_open(50)
        await until(lambda: process.num_fds() <= before[0] + 3, what="descriptors are closed")
        assert process.num_threads() <= before[1] + 2
        daemon.write(settings | {"watches": []})
        assert (await daemon.post("/v1/reload"))[0] == 200
        await sim.wait_for(lambda s: s.open_connections == 0)
        await until(lambda: process.num_fds() <= before[0] - 45, what="no connection is kept")
        assert await daemon.stop() == 0
