"""Tasks that come, move and end, so many a second, and the ways in which nodes are told of them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import aiohttp
from broker_servers import broker_url
from redis.asyncio import Redis
from waits import PATIENCE

from chaos.site import Site
from chaos.upstream import ENDS, MOVING

TICK = 0.02  # seconds between looks at what is due
POLLED = 0.15  # of the tasks
FORGETFUL = 0.3  # of the streamed tasks: their streams begin with snapshots that were sent before
ENDING = 0.06  # of the moves


class Workload:
    """Moves the tasks of a site until told to stop."""

    def __init__(self, site: Site, dice: random.Random, *, rate: float, tasks: int) -> None:
        self._site = site
        self._dice = dice
        self._rate = rate
        self._wanted = tasks
        self._made = 0
        self._adding: set[asyncio.Task[None]] = set()
        self.moves = 0

    async def run(self) -> None:
        """Move until cancelled; those tasks that are being added are added all the same."""
        began = time.monotonic()
        while True:
            while self.moves < (time.monotonic() - began) * self._rate:
                self._move()
            await asyncio.sleep(TICK)

    async def finish(self) -> None:
        """Let every task end, and wait until all are known to somebody, or until nobody answers any more."""
        for task in self._site.upstream.tasks.values():
            if not task.ended:
                self._site.upstream.move(task.id, self._dice.choice(ENDS))
        if self._adding:
            _, unknown = await asyncio.wait(self._adding, timeout=PATIENCE)
            for adding in unknown:
                adding.cancel()  # the run is not settled then, and says so

    def _move(self) -> None:
        upstream, dice = self._site.upstream, self._dice
        going = [task for task in upstream.tasks.values() if not task.ended]
        if len(going) < self._wanted:
            self._begin()
        if going:
            ends = len(going) >= self._wanted and dice.random() < ENDING
            task = dice.choice(going)
            present = task.latest[-1]["state"] if task.latest else None
            others = [state for state in MOVING if state != present or dice.random() < 0.2]  # some repeat themselves
            upstream.move(task.id, dice.choice(ENDS if ends else others))
        self.moves += 1

    def _begin(self) -> None:
        dice, self._made = self._dice, self._made + 1
        id_ = f"t{self._made}"
        source = "jobs" if dice.random() < POLLED else "vidu"
        self._site.upstream.task(id_, source=source, repeats=dice.random() < FORGETFUL)
        self._site.upstream.move(id_, "queueing")
        way = self._add_by_queue if dice.random() < 0.4 else self._add_by_api
        watch = {"id": id_, "source": source, "metadata": {"order": self._made}}
        task = asyncio.create_task(way(watch), name=f"add {id_}")
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)

    async def _add_by_api(self, watch: dict[str, Any]) -> None:
        """Ask one node after the other, until one has saved it."""
        while True:
            node = self._dice.choice(list(self._site.nodes.values()))
            if node.runs and not node.paused:
                try:
                    async with asyncio.timeout(5):
                        status, _ = await node.daemon.post("/v1/watches", watch)
                    if status in (200, 201):
                        self._added(watch, node.name)
                        return
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                    pass  # it may have been killed in the middle: the same watch again changes nothing
            await asyncio.sleep(0.1)

    def _added(self, watch: dict[str, Any], node: str | None) -> None:
        about = {"source": watch["source"], "task": watch["id"], "metadata": watch["metadata"]}
        self._site.scribe.did("add", node, **about)

    async def _add_by_queue(self, watch: dict[str, Any]) -> None:
        redis = Redis.from_url(broker_url("redis"), socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE)
        try:
            await redis.xadd(self._site.stream, {"data": json.dumps(watch)})
            self._added(watch, None)
        finally:
            await redis.aclose()
