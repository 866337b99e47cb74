"""The daemon on a PostgreSQL that comes and goes: streams stay open, nothing is lost, nothing is sent twice."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import Iterator

import pytest
from clocks import clock_of
from daemon_process import SECRET, Daemon, Start, config, webhook
from databases import require_programs
from servers import NAME, Server
from waits import until

from notifier.store import postgres
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

WATCHES = 60
OUTAGES = (signal.SIGINT, signal.SIGQUIT, None)  # None: every connection is ended


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server with a database."""
    require_programs()
    made = Server()
    try:
        made.start()
        made.query(f"CREATE DATABASE {NAME}")
        postgres.migrate(made.url(NAME))
        yield made
    finally:
        made.remove()


async def strike(server: Server, daemon: Daemon, how: signal.Signals | None) -> None:
    """Take the database away until the daemon has noticed, and give it back."""
    if how is None:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'notifier'"
        await asyncio.to_thread(server.query, ended)
        return
    away = len(daemon.log.events("store.unavailable"))
    await asyncio.to_thread(server.stop, how)
    await daemon.log.wait("store.unavailable", away + 1)
    assert (await daemon.get("/readyz"))[0] == 503
    status, _ = await daemon.post("/v1/watches", {"id": "new"})
    assert status == 503
    await asyncio.to_thread(server.start)
    await daemon.log.wait("store.recovered", away + 1)


@pytest.mark.slow
async def test_nothing_is_lost_or_repeated_by_outages(daemons: Start, server: Server) -> None:
    """Each state arrives once, in order; no stream is opened a second time for it."""
    dice = random.Random(5)
    arrived: dict[str, list[int]] = defaultdict(list)
    repeats: list[str] = []

    def enter(callback: ReceivedCallback) -> None:
        assert callback.watch is not None
        assert callback.sequence is not None
        arrived[callback.watch].append(callback.sequence)
        if callback.accepted_before:
            repeats.append(f"{callback.watch} {callback.sequence}")

    states = ",".join(dice.choice(("queueing", "processing", f"step-{n}")) for n in range(200))
    tasks = {f"task-{number}": parse_spec(f"{states},success") for number in range(WATCHES)}
    async with (
        Simulator(transcripts=tasks, interval=0.3, jitter=0.9, seed=5) as sim,
        Listener(secrets=[SECRET], keep=10, on_callback=enter, clock=clock_of(server.url())) as ears,
    ):
        store = {"url": server.url(NAME)}
        daemon = daemons(
            config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=list(tasks), store=store)
        )
        await daemon.start()
        for how in OUTAGES * 3:
            await ears.wait(ears.counts["received"] + dice.randint(20, 200))
            await strike(server, daemon, how)
        for task in tasks:
            sim.push(task, "success")
        settled = (
            "SELECT count(*) FROM watches WHERE ended",
            "SELECT count(*) FROM deliveries WHERE status <> 'delivered'",
        )
        await until(
            lambda: [server.query(query, NAME) for query in settled] == [[(WATCHES,)], [(0,)]], what="all is settled"
        )
        connects = sim.connects
        assert await daemon.stop() == 0
    assert connects == WATCHES
    stored = server.query("SELECT w.id, e.sequence FROM events e JOIN watches w ON w.pk = e.watch", NAME)
    assert sorted(stored) == sorted((task, n) for task, sequences in arrived.items() for n in sequences)
    for task in tasks:
        assert arrived[task] == list(range(1, len(arrived[task]) + 1)), task
    assert repeats == []
    assert "Traceback" not in "\n".join(daemon.log.lines)
    assert "postgres@" not in "\n".join(daemon.log.lines)
