"""SIGTERM lets attempts under way end, within `shutdown_timeout`; the rest is sent after the next start."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import ExitStack

import pytest
from daemon_process import EXECUTED, SECRET, Daemon, Start, config, webhook
from receiver import Receiver
from waits import PATIENCE, until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

BY_HAND = Transcript(snapshots=())
QUICK = "queueing,success"


async def under_way(daemons: Start, sim: Simulator, url: str, tasks: list[str], **more: object) -> Daemon:
    """Start a daemon, and have the first state of each task."""
    daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(url)}, watches=tasks, **more))
    await daemon.start()
    await sim.wait_open(len(tasks))
    for task in tasks:
        sim.push(task, "queueing")
    return daemon


async def test_deliveries_under_way_end_before_the_daemon(daemons: Start) -> None:
    """A slow receiver gets its time; what it took is settled, so that nothing comes twice; streams are closed."""
    tasks = [str(n) for n in range(8)]
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        ears.gate.clear()
        daemon = await under_way(daemons, sim, ears.url, tasks)
        await ears.wait(8)
        daemon.signal(signal.SIGTERM)
        await daemon.log.wait("daemon.stopping")
        assert daemon.process is not None
        assert daemon.process.returncode is None
        assert (await daemon.get("/readyz")) == (503, "stopping\n")
        assert (await daemon.get("/healthz"))[0] == 200
        ears.gate.set()
        assert await daemon.ended() == 0
        await sim.wait_open(0)
        assert not daemon.log.events("daemon.undelivered")
        assert daemon.rows("SELECT count(*) FROM deliveries WHERE status = 'delivered'") == [(8,)]
        await daemon.start()
        for task in tasks:
            sim.push(task, "success")
        await ears.wait(16)
        assert await daemon.stop() == 0
        assert len({arrival.id for arrival in ears.arrivals}) == len(ears.arrivals) == 16


async def test_what_never_ends_waits_for_the_next_start(daemons: Start) -> None:
    """A black hole holds the end up for `shutdown_timeout` and no longer; its delivery comes again under its id."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        ears.gate.clear()
        daemon = await under_way(daemons, sim, ears.url, ["1", "2"], shutdown_timeout="1500ms")
        await ears.wait(2)
        before = {arrival.id for arrival in ears.arrivals}
        began = time.monotonic()
        assert await daemon.stop() == 0
        assert 1.4 < time.monotonic() - began < 8
        assert daemon.log.events("daemon.undelivered")[0]["deliveries"] == 2
        assert daemon.log.events("daemon.stopped")
        ears.gate.set()
        await daemon.start()
        await ears.wait(4)
        assert {arrival.id for arrival in ears.arrivals[2:]} == before
        assert await daemon.stop() == 0


async def test_states_during_the_drain_are_kept(daemons: Start) -> None:
    """States that are observed while the daemon drains are committed, and sent after the next start."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        ears.gate.clear()
        daemon = await under_way(daemons, sim, ears.url, ["1", "2"])
        await ears.wait(2)
        daemon.signal(signal.SIGTERM)
        await daemon.log.wait("daemon.stopping")
        sim.push("2", "success")
        await until(lambda: daemon.rows("SELECT count(*) FROM events") == [(3,)], what="the third event is committed")
        ears.gate.set()
        assert await daemon.ended() == 0
        assert len(ears.arrivals) == 2
        await daemon.start()
        await ears.wait(3)
        assert await daemon.stop() == 0
        assert len(ears.arrivals) == 3


async def test_no_end_of_signals_does_harm(daemons: Start) -> None:
    """Further signals during the drain change nothing, not even the exit code."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        ears.gate.clear()
        daemon = await under_way(daemons, sim, ears.url, ["1"])
        await ears.wait(1)
        daemon.signal(signal.SIGTERM)
        await daemon.log.wait("daemon.stopping")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            daemon.signal(number)
        assert (await daemon.get("/healthz"))[0] == 200
        ears.gate.set()
        assert await daemon.ended() == 0
        assert len(daemon.log.events("daemon.stopping")) == 1
        assert not daemon.log.events("reload.done")
        assert daemon.rows("SELECT status FROM deliveries") == [("delivered",)]


async def test_signals_until_the_last_moment(daemons: Start) -> None:
    """SIGTERM without pause, to the very end: exit code 0."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        daemon = await under_way(daemons, sim, ears.url, ["1"])
        await ears.wait(1)
        ending = asyncio.create_task(daemon.ended())
        assert daemon.process is not None
        while daemon.process.returncode is None and not ending.done():
            daemon.signal(signal.SIGTERM)
            await asyncio.sleep(0.002)
        assert await ending == 0


@pytest.mark.parametrize("good", [True, False])
async def test_stop_during_a_reload(daemons: Start, good: bool) -> None:
    """A reload that is under way when the daemon is told to stop ends before it; the exit code is 0."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        endpoints = {"app": webhook(ears.url, events=["task.*", "notifier.reload_failed"])}
        settings = config(upstream=sim.base_url, endpoints=endpoints, watches=[str(n) for n in range(50)])
        daemon = daemons(settings)
        for wait in (0.0, 0.004, 0.02):
            daemon.write(settings)
            await daemon.start()
            more = {"new": webhook(ears.url + "/new")} if good else {"new": {"type": "webhock"}}
            daemon.write(settings | {"endpoints": endpoints | more, "watches": ["1", "2", "3"]})
            daemon.signal(signal.SIGHUP)
            await asyncio.sleep(wait)
            daemon.signal(signal.SIGTERM)
            assert await daemon.ended() == 0, daemon.log.lines


@pytest.mark.parametrize("followed", [False, True])
async def test_a_reload_that_reads_for_ever_holds_nothing_up(daemons: Start, followed: bool) -> None:
    """A file that never comes to its end, as on a server that is gone: all goes on, and a stop is at once."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        daemon = await under_way(
            daemons, sim, ears.url, ["1"], reload_on_change=followed, shutdown_timeout=f"{PATIENCE * 2:g}s"
        )
        await ears.wait(1)
        daemon.file.unlink()
        os.mkfifo(daemon.file)  # nobody writes to it
        if followed:
            await daemon.log.wait("files.changed")
        for _ in range(3):
            daemon.signal(signal.SIGHUP)
        with ExitStack() as held:

            def read() -> bool:
                try:
                    held.callback(os.close, os.open(daemon.file, os.O_WRONLY | os.O_NONBLOCK))
                except OSError:  # ENXIO: nobody reads (fifo(7))
                    return False
                return True

            await until(read, what="it waits for the file")
            sim.push("1", "success")
            await ears.wait(2)
            assert await daemon.stop() == 0, daemon.log.lines
        assert daemon.log.events("daemon.stopped")
        assert not daemon.log.events("reload.refused")
        assert not daemon.log.events("reload.unfinished")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stop_before_ready(daemons: Start, number: signal.Signals) -> None:
    """A signal at any time of the start ends the daemon at once, or as orderly as one after it; never with a trace."""
    async with Simulator(transcript=BY_HAND) as sim, Listener(secrets=[SECRET]) as ears:
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"])
        daemon = daemons(settings, python=EXECUTED)
        codes = set()
        for wait in (0.0, 0.1, 0.2, 0.3, 0.4):
            await daemon.launch()
            await daemon.loading()
            await asyncio.sleep(wait)
            daemon.signal(number)
            codes.add(await daemon.ended())
            assert not any("Traceback" in line for line in daemon.log.lines), daemon.log.lines
        assert codes <= {0, -number, 130 if number is signal.SIGINT else 0}  # 130, -SIGINT: as Python sees Ctrl-C


async def test_hangup_before_ready(daemons: Start) -> None:
    """A reload asked for while the daemon starts does not end it, and takes place once it is up."""
    async with Simulator(transcript=BY_HAND) as sim, Listener(secrets=[SECRET]) as ears:
        daemon = daemons(
            config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"]), python=EXECUTED
        )
        await daemon.launch()
        await daemon.loading()
        while not daemon.log.lines:
            daemon.signal(signal.SIGHUP)
            await asyncio.sleep(0.01)
        await daemon.log.wait("daemon.ready")
        await daemon.log.wait("reload.done")
        assert await daemon.stop() == 0
