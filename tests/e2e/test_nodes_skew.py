"""Nodes whose clocks are apart: all dates are the database's, and none are of a node's own clock."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from clocks import clock_of, shift
from cluster import Cluster, Upstream
from daemon_process import SECRET, Start
from helper_programs import require
from waits import until

from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener

SKEW = 60  # seconds
HOUR = 3600  # seconds, longer than anything that is told here
WATCHES = 60


def skewed(seconds: int) -> dict[str, str]:
    """Return the environment in which a process finds the wall clock wrong, and only that one."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        require("faketime")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": f"{shift() + seconds:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else Python's threads take the interpreter from each other without end
    }


@pytest.mark.slow
async def test_clocks_a_minute_apart_do_no_harm(daemons: Start, shared_url: str) -> None:
    """Retries come when they are due, order holds, nobody seems dead, no time limit passes early, signatures hold."""
    arrived: dict[tuple[str, int], list[ReceivedCallback]] = defaultdict(list)

    def enter(callback: ReceivedCallback) -> None:
        assert callback.watch is not None
        assert callback.sequence is not None
        arrived[callback.watch, callback.sequence].append(callback)

    async with (
        Upstream() as upstream,
        Listener(
            secrets=[SECRET],
            respond="200*14|500",
            seed=SKEW,
            tolerance=SKEW / 2,
            keep=0,
            on_callback=enter,
            clock=clock_of(shared_url),
        ) as ears,
    ):
        nodes = Cluster(
            daemons,
            shared_url,
            upstream,
            ears.url,
            timeout="4s",
            app={"retry_schedule": ["0s", *["3s"] * 9]},
            vidu={"deadline": f"{SKEW - 5}s", "stall_after": f"{SKEW - 10}s"},
        )
        for name, seconds in (("exact", 0), ("ahead", SKEW), ("behind", -SKEW)):
            nodes.make(name, env=skewed(seconds) if seconds else {})
        await nodes.start("exact", "ahead", "behind")
        ahead = nodes.nodes["ahead"].log.events("daemon.ready")[0]["timestamp"]
        assert datetime.fromisoformat(ahead).timestamp() > time.time() + SKEW / 2, "its clock is wrong"
        tasks = await nodes.add("ahead", WATCHES)
        await nodes.balanced(WATCHES)
        for state in ("queueing", "processing", "success"):
            for task in tasks:
                upstream.push(task, state)
        await until(lambda: len(arrived) == 3 * WATCHES, what="all has come")
        await nodes.settled()
        assert ears.counts["rejected"] == 0, "timestamps are those of the database's clock"
        assert ears.counts["out_of_order"] == 0
        assert arrived.keys() == nodes.stored().keys()
        for callbacks in arrived.values():
            told = datetime.fromisoformat(str(callbacks[0].timestamp)).timestamp()
            assert abs(told - callbacks[0].at) < SKEW / 2
            assert json.loads(callbacks[0].body)["data"]["watched_seconds"] < SKEW / 2
        waits = [later.at - first.at for each in arrived.values() for first, later in pairwise(each)]
        print(f"{len(waits)} retries, {min(waits):.3f} to {max(waits):.3f} s after the attempt before")
        assert min(waits) > 2.5
        assert max(waits) < SKEW / 2
        types = {callback.type for callbacks in arrived.values() for callback in callbacks}
        assert types == {"task.state_changed", "task.succeeded"}, "nothing was given up or stalled"
        assert not nodes.said("node.dead")
        assert not nodes.said("node.lost")
        assert not nodes.clean()


@pytest.mark.slow
async def test_what_nodes_tell_of_time_is_by_the_databases_clock(daemons: Start, shared_url: str) -> None:
    """Whichever is asked: since when nodes run, when they were heard of, and for how long a delivery has waited."""
    async with Upstream() as upstream:
        nodes = Cluster(daemons, shared_url, upstream, "http://127.0.0.1:9", timeout="10s")
        asked = [nodes.make(name, env=skewed(seconds)) for name, seconds in (("ahead", HOUR), ("behind", -HOUR))]
        await nodes.start("ahead", "behind")
        upstream.push((await nodes.add("ahead", 1))[0], "processing")

        async def waiting() -> list[float]:
            told = [json.loads((await node.get("/v1/endpoints"))[1])["items"] for node in asked]
            return [endpoint["oldest_seconds"] for [endpoint] in told]

        async def known() -> bool:
            return all(seconds > 0 for seconds in await waiting())

        await until(known, "all know what waits")
        assert max(await waiting()) < HOUR / 2
        for node in asked:
            assert await node.metric('notifier_delivery_oldest_seconds{endpoint="app"}') < HOUR / 2
        lists = [json.loads((await node.get("/v1/nodes"))[1])["items"] for node in asked]
        one, other = ({item["name"]: item["started_at"] for item in items} for items in lists)
        assert one.keys() == {"ahead", "behind"}
        assert one == other
        for node, name in zip(asked, ("behind", "ahead"), strict=True):
            listed = await node.run("node", "list", "-c", "config.yaml", env={"COLUMNS": "200"})
            assert re.search(rf"^{name} .* [\d.]+(ms|s|m) +[\d.]+(ms|s|m) ago ", listed.out, re.MULTILINE), listed.out
