"""The faults: each takes a node and the dice, strikes, waits, and heals what it can. A run deals them from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from chaos.disk import Disk
from chaos.proxy import Proxy
from chaos.site import IDLE, PATIENT, TIMEOUT, Node, Site

LATE = 1.0  # seconds by which a time-out may be noticed late
Where = Literal["upstream", "receiver", "database", "broker"]
Fault = Callable[["Struck"], Awaitable[None]]


class Struck:
    """Where a fault strikes."""

    def __init__(self, site: Site, node: Node, dice: random.Random, disk: Disk | None) -> None:
        self.site = site
        self.node = node
        self.dice = dice
        self.disk = disk

    def proxy(self, where: Where) -> Proxy:
        """Return a proxy of the node."""
        found = {
            "upstream": self.node.upstream,
            "receiver": self.node.receiver,
            "database": self.node.database,
            "broker": self.node.broker,
        }[where]
        assert found is not None
        return found

    async def wait(self, least: float, most: float) -> None:
        """Let a random time pass."""
        await asyncio.sleep(self.dice.uniform(least, most))


async def kill(struck: Struck) -> None:
    """End a process wherever it is, and start it again; sometimes once more in the middle of its start."""
    site, node = struck.site, struck.node
    await site.kill(node)
    await struck.wait(0.0, 1.0)
    if struck.dice.random() < 0.3:
        await site.launch(node)
        await struck.wait(0.0, 0.8)
        await site.kill(node)
    await site.start(node)


async def stop(struck: Struck) -> None:
    """End a process in order, and start it again."""
    code = await struck.site.stop(struck.node)
    assert code == 0, f"{struck.node.name} ended with {code}"
    await struck.site.start(struck.node)


async def pause(struck: Struck) -> None:
    """Let a process stand still; where there are others, for longer than they wait for it."""
    struck.site.pause(struck.node)
    longer = TIMEOUT * 2 if len(struck.site.nodes) > 1 else 0.5
    await struck.wait(longer, longer + 1.5)
    struck.site.resume(struck.node)


async def reload(struck: Struck) -> None:
    """Have a configuration read again."""
    await struck.site.reload(struck.node)


async def away(struck: Struck) -> None:
    """Let the receiver refuse everything for a while."""
    manners = struck.site.receiver.manners
    manners.away = True
    await struck.wait(0.5, 2.5)
    manners.away = False


async def cut_streams(struck: Struck) -> None:
    """Let the upstream end or forget some of its streams by itself."""
    upstream = struck.site.upstream
    tasks = [task.id for task in upstream.tasks.values() if task.streams]
    for id_ in struck.dice.sample(tasks, min(len(tasks), 8)):
        upstream.cut(id_, struck.dice.choice(("reset", "close", "hang")))


async def fill_disk(struck: Struck) -> None:
    """Leave no room on the disk for a while."""
    assert struck.disk is not None
    at = struck.site.scribe.now()
    struck.disk.fill()
    await struck.wait(0.5, 2.0)
    struck.disk.empty()
    # Attempts whose outcome could not be saved come again a second later.
    struck.site.scribe.did("disk_full", struck.node.name, at=at, until=struck.site.scribe.now() + 2)


async def set_clock(struck: Struck) -> None:
    """Set the clock of a process by up to two hours, and back."""
    by = struck.dice.choice((-1, 1)) * struck.dice.uniform(1, 7200)
    struck.site.set_clock(struck.node, by)
    await struck.wait(1.0, 3.0)
    struck.site.set_clock(struck.node, 0.0)


def network(where: Where, how: str) -> Fault:
    """Return a fault of the way to one of the others: `reset`, `stall`, `forsake` or `slow`."""

    async def strike(struck: Struck) -> None:
        proxy, scribe = struck.proxy(where), struck.site.scribe
        at = scribe.now()
        if how == "reset":
            proxy.reset()
        elif how == "forsake":
            proxy.forsake()
        elif how == "stall":
            proxy.stall()
            await struck.wait(0.5, 3.5)
            proxy.pass_on()
        else:
            proxy.latency = struck.dice.uniform(0.005, 0.1)
            await struck.wait(1.0, 3.0)
            proxy.latency = 0.0
        # What was under way when it ended may be found broken only by a time-out.
        noticed = 0.0 if how == "reset" else IDLE + LATE if where == "upstream" else PATIENT + LATE
        scribe.did("cut", struck.node.name, at=at, until=scribe.now() + noticed, where=where)

    strike.__doc__ = f"{how} of {where}"
    return strike


_ALWAYS: Mapping[str, Fault] = {
    "kill": kill,
    "stop": stop,
    "pause": pause,
    "reload": reload,
    "receiver away": away,
    "streams cut": cut_streams,
} | {
    f"{where} {how}": network(where, how)
    for where in ("upstream", "receiver", "broker")
    for how in ("reset", "stall", "forsake", "slow")
}


def faults(*, disk: bool, clock: bool, database: bool) -> dict[str, Fault]:
    """Return the faults that are possible here, by name."""
    found = dict(_ALWAYS)
    if disk:
        found["disk full"] = fill_disk
    if clock:
        found["clock set"] = set_clock
    if database:
        found |= {f"database {how}": network("database", how) for how in ("reset", "stall", "forsake", "slow")}
    return found
