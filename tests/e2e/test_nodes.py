"""Several nodes on one PostgreSQL share the watches, also when one dies, leaves or joins."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from itertools import count

import pytest
from cluster import NODE_HEADER, cluster, spread
from daemon_process import Start
from waits import PATIENCE

Record = Callable[[str, object], None]


@pytest.mark.slow
async def test_others_take_over_from_the_dead_and_from_who_leaves(
    daemons: Start, shared_url: str, record_property: Record
) -> None:
    """From the dead within node.timeout and a little; from one that stops at once."""
    timeout = 3.0
    async with cluster(daemons, shared_url, "a", "b", "c", timeout=f"{timeout:g}s") as (nodes, _):
        await nodes.add("a", 300)
        await nodes.balanced(300)
        theirs, began = nodes.upstream.following("b"), time.monotonic()
        await nodes.nodes["b"].kill()
        await nodes.balanced(300)
        killed = nodes.upstream.elsewhere(theirs, "b", began)

        theirs, began = nodes.upstream.following("c"), time.monotonic()
        nodes.nodes["c"].signal(signal.SIGTERM)
        await nodes.upstream.until(lambda: len(nodes.upstream.elsewhere(theirs, "c", began)) == len(theirs))
        left = nodes.upstream.elsewhere(theirs, "c", began)
        assert await nodes.nodes["c"].ended() == 0
        told = f"killed {spread([*killed.values()])}; left {spread([*left.values()])}"
        print(told)
        record_property("take-over", told)
        assert len(killed) == 100, "every one was taken over"
        assert max(killed.values()) < timeout + 10
        assert max(left.values()) < 10
        assert nodes.upstream.held() == {"a": 300}
        assert nodes.query("SELECT count(*) FROM nodes") == [(1,)]
        assert not nodes.clean()


@pytest.mark.slow
async def test_one_that_joins_is_given_its_share(daemons: Start, shared_url: str, record_property: Record) -> None:
    """Soon, and no stream is cut that nobody opens right after."""
    watches = 1500
    async with cluster(daemons, shared_url, "a", "b", timeout="5s", vidu={"connect_rate": 300}) as (nodes, _):
        await nodes.add("b", watches)
        await nodes.balanced(watches)
        before, began = nodes.upstream.connects, time.monotonic()
        await nodes.start("c")
        ready = time.monotonic()
        await nodes.balanced(watches)
        joined = time.monotonic()
        gaps = nodes.upstream.gaps(began)
        moved = nodes.upstream.connects - before
        told = f"{joined - ready:.1f} s after it was ready; moved {moved}; gaps {spread([*gaps.values()])}"
        print(told)
        record_property("join", told)
        assert moved < watches / 3 * 1.2, "no stream is cut without need"
        assert joined - ready < 15
        assert max(gaps.values()) < 10
        assert not nodes.clean()
        assert not nodes.said("node.dead")


async def test_any_node_takes_what_is_asked_and_all_act_on_it(
    daemons: Start, shared_url: str, record_property: Record
) -> None:
    """The node that follows a watch obeys an addition, a removal or a change that another node was asked for."""
    described = [
        {"id": "described-1", "labels": {"team": "before"}},
        {"id": "described-2", "labels": {"team": "before"}},
    ]
    async with cluster(daemons, shared_url, "a", "b", timeout="5s", watches=described) as (nodes, ledger):
        upstream, took = nodes.upstream, []
        for number in range(20):
            status, _ = await nodes.nodes["ab"[number % 2]].post("/v1/watches", f"task-{number}")
            assert status == 201
        await nodes.balanced(22)
        for number in range(20):
            task = f"task-{number}"
            began = time.monotonic()
            assert await nodes.remove("b" if upstream.who(task) == "a" else "a", task) == 204
            await upstream.left(task)
            took.append(time.monotonic() - began)
        print(f"let go of: {spread(took)}")
        record_property("delete", spread(took))
        assert max(took) < 3

        follower = upstream.who("described-1")
        other = "b" if follower == "a" else "a"
        after = [{**watch, "labels": {"team": "after"}} for watch in described]
        nodes.nodes[other].write(nodes.settings(other, watches=after) | {"http": nodes.nodes[other].settings["http"]})
        connects = upstream.connects
        assert (await nodes.nodes[other].post("/v1/reload"))[0] == 200
        async with asyncio.timeout(PATIENCE):  # nobody announces that a node has heard of it
            for number in count(1):
                upstream.push("described-1", ("queueing", "processing")[number % 2])
                await ledger.heard("described-1", number)
                told = ledger.first[ledger.ids["described-1", number]]
                if json.loads(told.body)["data"]["watch"]["labels"] == {"team": "after"}:
                    break
        assert told.headers[NODE_HEADER] == follower
        assert upstream.connects == connects, "no stream was touched"
        assert not nodes.clean()
