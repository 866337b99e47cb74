"""Faults of nodes and their database: no committed event is lost, order holds, and repeats have the same bytes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import pytest
from cluster import NODE_HEADER, Cluster, Ledger, cluster, finish, lively
from daemon_process import Daemon, Start
from servers import Server
from waits import until

from notifier.store import postgres

Record = Callable[[str, object], None]
Incidents = list[tuple[float, str, str]]  # when (Unix seconds), at which node or `*`, what


def dice_of_the_day() -> random.Random:
    """Return randomness that can be had again."""
    seed = int(os.environ.get("NOTIFIER_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"NOTIFIER_TEST_SEED={seed}")  # shown if the test fails
    return random.Random(seed)


def causes(ledger: Ledger, incidents: Incidents) -> Counter[str]:
    """Count what arrived again by what befell the node that had sent it before, or its database."""
    found: Counter[str] = Counter()
    for again, before in ledger.repeats:
        node = before.headers[NODE_HEADER]
        befell = [what for at, whom, what in incidents if whom in (node, "*") and at <= again.at]
        found[befell[-1] if befell else "nothing"] += 1
    return found


async def accounted(nodes: Cluster, ledger: Ledger, incidents: Incidents) -> str:
    """Wait until all is settled; hold what arrived against what was committed, and repeats against what befell."""
    await nodes.settled()
    found = causes(ledger, incidents)
    told = f"{len(ledger.first)} events, {len(ledger.repeats)} repeats: {dict(found)}"
    print(told)
    ledger.check(nodes.stored())
    assert not found["nothing"], "what arrives again has a cause"
    assert not nodes.clean()
    return told


def awoke(node: Daemon) -> float:
    """Return when a node learned that it had been taken for dead, in Unix seconds."""
    lost = node.log.events("node.lost")[0]
    return datetime.fromisoformat(lost["timestamp"]).timestamp()


async def recovered(node: Daemon, times: int) -> None:
    """Wait until a node could write again, so many times."""
    await node.log.wait("store.recovered", times)


@pytest.mark.slow
async def test_nothing_is_lost_whatever_befalls(daemons: Start, server: Server, record_property: Record) -> None:
    """One is killed, one sleeps past its lease, the database restarts, one's connections are cut: all under way."""
    dice, incidents, count = dice_of_the_day(), Incidents(), 3000
    server.query("CREATE DATABASE nodes")
    postgres.migrate(server.url("nodes"))

    def befalls(node: str, what: str) -> None:
        incidents.append((time.time(), node, what))

    async with cluster(daemons, server.url("nodes"), "a", "b", "c", timeout="4s") as (nodes, ledger):
        tasks = await nodes.add("a", count)
        await nodes.balanced(count)
        load = asyncio.create_task(lively(nodes.upstream, tasks, dice, rate=250), name="load")
        await ledger.more(500, what="it is under way")

        befalls("b", "killed")
        await nodes.nodes["b"].kill()
        await nodes.balanced(count)

        befalls("c", "slept")
        nodes.nodes["c"].signal(signal.SIGSTOP)
        await nodes.nodes["a"].log.wait("node.gone", 2)
        await ledger.more(300, what="others send what it held")
        woken = time.time()
        nodes.nodes["c"].signal(signal.SIGCONT)
        await nodes.nodes["c"].log.wait("node.lost")
        await nodes.balanced(count)

        befalls("*", "database restarted")
        server.stop()
        server.start()
        await asyncio.gather(recovered(nodes.nodes["a"], 1), recovered(nodes.nodes["c"], 1))
        await ledger.more(300, what="it goes on")

        await nodes.nodes["a"].log.wait("node.listening")  # later than it writes
        befalls("a", "cut off from the database")
        cut = server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'a'")
        assert len(cut) >= 2
        await recovered(nodes.nodes["a"], 2)
        await ledger.more(300, what="it goes on")

        load.cancel()
        await finish(nodes.upstream, ledger, tasks, dice)
        record_property("nodes", await accounted(nodes, ledger, incidents))
        awake = [arrival for arrival in ledger.arrivals if arrival.headers[NODE_HEADER] == "c" and arrival.at > woken]
        assert not [arrival for arrival in awake if arrival.at < awoke(nodes.nodes["c"])], "it sent what it had lost"
        assert awake, "but it does its part again"


@pytest.mark.slow
async def test_nothing_is_lost_when_nodes_are_killed_again_and_again(
    daemons: Start, shared_url: str, record_property: Record
) -> None:
    """Ten times, any of them, at any moment; each is started again."""
    dice, incidents, count = dice_of_the_day(), Incidents(), 600
    async with cluster(daemons, shared_url, "a", "b", "c", timeout="3s") as (nodes, ledger):
        tasks = await nodes.add("a", count)
        await nodes.balanced(count)
        load = asyncio.create_task(lively(nodes.upstream, tasks, dice, rate=200), name="load")
        for _ in range(10):
            await ledger.more(dice.randint(10, 200), what="news")
            name = dice.choice("abc")
            incidents.append((time.time(), name, "killed"))
            await nodes.nodes[name].kill()
            await nodes.nodes[name].launch()
        load.cancel()
        await asyncio.gather(*(node.log.wait("daemon.ready") for node in nodes.nodes.values()))
        await nodes.balanced(count)
        await finish(nodes.upstream, ledger, tasks, dice)
        record_property("kills", await accounted(nodes, ledger, incidents))


NUMBERS = "SELECT number FROM nodes ORDER BY number"


async def unmoved(nodes: Cluster, numbers: list[tuple[int]], *, timeout: float) -> None:
    """Hold the nodes to it, long enough for a burial: nobody was taken for dead, and no stream was touched."""
    [(now,)] = nodes.query("SELECT extract(epoch FROM clock_timestamp())::float8")
    later = f"SELECT min(seen_at) > {(now + timeout * 1.5) * 1e6:.0f} FROM nodes"
    await until(lambda: nodes.query(later) == [(True,)], what="everyone had the time to bury another")
    assert nodes.upstream.connects == len(nodes.upstream.tasks), "no stream was touched"
    assert not nodes.said("node.dead")
    assert not nodes.said("node.lost")
    assert nodes.query(NUMBERS) == numbers


@pytest.mark.slow
async def test_nobody_is_buried_by_those_who_were_away_themselves(daemons: Start, shared_url: str) -> None:
    """All nodes sleep for longer than node.timeout, as on a machine that was suspended, and wake together."""
    timeout = 2.0
    async with cluster(daemons, shared_url, "a", "b", "c", timeout=f"{timeout:g}s") as (nodes, ledger):
        tasks = await nodes.add("a", 90)
        await nodes.balanced(90)
        seen = "SELECT max(seen_at) < extract(epoch FROM clock_timestamp() - interval '%s') * 1e6 FROM nodes"
        await until(
            lambda: nodes.query("SELECT min(seen_at) - max(started_at) > 3e6 FROM nodes") == [(True,)], what="contact"
        )
        numbers = nodes.query(NUMBERS)
        for node in nodes.nodes.values():
            node.signal(signal.SIGSTOP)
        await until(lambda: nodes.query(seen % "3 s") == [(True,)], what="everyone's lease ran out")
        for task in tasks:
            nodes.upstream.push(task, "processing")
        for node in nodes.nodes.values():
            node.signal(signal.SIGCONT)
        await until(lambda: len(ledger.first) == len(tasks), what="what happened meanwhile arrives")
        await unmoved(nodes, numbers, timeout=timeout)
        ledger.check(nodes.stored())
        assert not nodes.clean()


@pytest.mark.slow
async def test_streams_stay_open_while_the_database_is_away(daemons: Start, server: Server) -> None:
    """For longer than node.timeout; what happens meanwhile is told afterwards, and nobody is buried."""
    timeout = 2.0
    server.query("CREATE DATABASE nodes")
    postgres.migrate(server.url("nodes"))
    async with cluster(daemons, server.url("nodes"), "a", "b", "c", timeout=f"{timeout:g}s") as (nodes, ledger):
        tasks = await nodes.add("a", 90)
        await nodes.balanced(90)
        numbers = nodes.query(NUMBERS)
        server.stop()
        gone = time.monotonic()
        for task in tasks:
            nodes.upstream.push(task, "processing")
        await asyncio.gather(*(node.log.wait("store.unavailable") for node in nodes.nodes.values()))
        await until(lambda: time.monotonic() - gone > timeout * 2, what="it is away for longer than node.timeout")
        assert not ledger.first, "nothing is sent that is not saved"
        server.start()
        await until(lambda: len(ledger.first) == len(tasks), what="what happened meanwhile arrives")
        await unmoved(nodes, numbers, timeout=timeout)
        ledger.check(nodes.stored())
        assert not nodes.clean()
