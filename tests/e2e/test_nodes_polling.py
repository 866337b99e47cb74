"""Polled watches on several nodes of one PostgreSQL: one node asks for each, and another takes over where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from cluster import Cluster, Ledger, Upstream
from daemon_process import Start
from polled_upstream import PolledUpstream, state
from receiver import Receiver
from waits import until

TASKS = [f"task-{number}" for number in range(20)]
SERVICE: dict[str, Any] = {
    "url": "{base_url}/{kind}/{id}",
    "transport": "poll",
    "paths": {"state": "status"},
    "states": {"running": ["busy", "busier"], "succeeded": ["ok"]},
    "variables": {"kind": None},
}


class Polled(PolledUpstream):
    """An upstream that is polled; each node has a token of its own."""

    @property
    def base_url(self) -> str:
        """Return the address, by the name that a simulator has for it."""
        return self.url

    def asking(self, since: int) -> dict[str, set[str]]:
        """Return which nodes asked for each task, of the requests from number `since` on."""
        found: dict[str, set[str]] = {}
        for asked in self.requests[since:]:
            found.setdefault(asked.task, set()).add(asked.headers["Authorization"].removeprefix("Bearer "))
        return found


@asynccontextmanager
async def polled_cluster(daemons: Start, url: str, *names: str) -> AsyncIterator[tuple[Cluster, Polled, Ledger]]:
    """Start nodes that poll, with a receiver."""
    ledger = Ledger()
    poll = {"interval": "200ms", "max_interval": "200ms", "growth": 1}
    async with Polled() as upstream, Receiver(ledger.enter) as receiver:
        made = Cluster(
            daemons,
            url,
            cast(Upstream, upstream),
            receiver.url,
            timeout="3s",
            presets={"my-service": SERVICE},
            vidu={"preset": "my-service", "poll": poll},
        )
        await made.start(*names)
        yield made, upstream, ledger


async def shared(upstream: Polled, *names: str) -> None:
    """Wait until each of these nodes, and none else, asks for some tasks, and one node for each task."""
    while True:
        since = len(upstream.requests)
        await until(lambda since=since: len(upstream.requests) >= since + 5 * len(TASKS))  # type: ignore[misc]  # it infers no default
        asking = upstream.asking(since)
        if set().union(*asking.values()) == set(names) and all(len(nodes) == 1 for nodes in asking.values()):
            return


@pytest.mark.parametrize("end", ["killed", "stopped"])
async def test_a_polled_watch_is_handed_over(daemons: Start, shared_url: str, end: str) -> None:
    """No change is told twice, none is lost, and the variables of a watch go with it."""
    async with polled_cluster(daemons, shared_url, "a", "b") as (nodes, upstream, ledger):
        wanted = [{"id": task, "variables": {"kind": f"of-{task}"}} for task in TASKS]
        status, _ = await nodes.nodes["a"].post("/v1/watches", wanted)
        assert status == 201
        await shared(upstream, "a", "b")
        await until(lambda: len(ledger.first) == len(TASKS))
        for task in TASKS[:10]:
            upstream.script(task, state("busier"))
        await until(lambda: len(ledger.first) == len(TASKS) + 10)
        if end == "killed":
            await nodes.nodes["b"].kill()
        else:
            assert await nodes.nodes["b"].stop() == 0
        await shared(upstream, "a")
        for task in TASKS:
            upstream.script(task, state("ok"))
        await until(lambda: ledger.ended.issuperset(TASKS))
        assert {asked.path for asked in upstream.requests} == {f"/of-{task}/{task}" for task in TASKS}
        await nodes.settled()
        ledger.check(nodes.stored())
        assert sorted(map(len, ledger.order.values())) == [2] * 10 + [3] * 10
        assert not nodes.clean()
