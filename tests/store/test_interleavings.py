"""Several nodes of one PostgreSQL work at random, with connections cut and nodes declared dead; the store's rules hold.

In every snapshot, and at rest: nothing is owned that nobody has, and whatever was acknowledged arrives once its turn
has come.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import databases
import psycopg
import pytest
from players import Kept, Player, broken
from waits import PATIENCE

from notifier.store import writer

Observer = psycopg.AsyncConnection[Any]

SECONDS = 4.0  # of play
TASKS = 6  # of each node
FAULT = 0.06  # seconds between faults, on average


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a database; try again sooner than a daemon should."""
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.01)
    with databases.database() as made:
        yield made


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_must_hold_holds_whatever_happens_between(url: str, seed: int) -> None:
    """Three nodes; a lane is never stuck, never doubled, never out of order; no claim and no event is lost."""
    chance, kept = random.Random(seed), Kept()
    async with AsyncExitStack() as stack:
        observer = await psycopg.AsyncConnection.connect(url, autocommit=True, application_name="observer")
        stack.push_async_callback(observer.close)
        players = [Player(f"node {number}", url, kept, random.Random(f"{seed} {number}")) for number in range(3)]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for player in players:
                tasks.create_task(player.store.run(lost=player.lose), name=f"store of {player.name}")
            await players[0].want()
            async with asyncio.TaskGroup() as play:
                for player in players:
                    for number in range(TASKS):
                        play.create_task(player.play(stop), name=f"{player.name} {number}")
                play.create_task(disturb(observer, players, stop, chance), name="disturb")
                await asyncio.sleep(SECONDS)
                stop.set()
            assert not await broken(observer)
            await at_rest(observer, players)
            await finish(observer, players)
            assert not await broken(observer)
            await all_arrived(observer, kept)
            assert len(kept.events) > 20
            assert any(player.lost for player in players)
            for player in players:
                await player.store.close()
        for player in players:
            player.store.shutdown()


async def disturb(
    observer: Observer,
    players: list[Player],
    stop: asyncio.Event,
    chance: random.Random,
) -> None:
    """Cut connections, declare nodes dead, and look whether everything holds all the same."""
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'notifier' AND random() < 0.5"
    )
    while not stop.is_set():
        await asyncio.sleep(chance.expovariate(1 / FAULT))
        if chance.random() < 0.6:
            await observer.execute(cut)
        elif chance.random() < 0.6:
            one, other = chance.sample(players, 2)
            await one.bury(other)
        found = await broken(observer)
        assert not found


async def at_rest(observer: Observer, players: list[Player]) -> None:
    """With nothing under way, what the database says is a node's is in that node's memory."""
    for player in players:
        await player.learn()
    assert len({player.number for player in players}) == len(players)
    for player in players:
        for table, key, open_, held in (
            ("deliveries", "id", "status = 'ready'", player.hand.keys()),
            ("watches", "pk", "NOT ended AND removed_at IS NULL", player.watches.keys()),
            ("callbacks", "name", "TRUE", player.destinations),
        ):
            rows = await observer.execute(f"SELECT {key} FROM {table} WHERE owner = %s AND {open_}", (player.number,))
            leaked = {row[0] for row in await rows.fetchall()} - set(held)
            assert not leaked, f"{table} of {player.name}, in nobody's hand"


async def finish(observer: Observer, players: list[Player]) -> None:
    """Have everything accepted."""
    async with asyncio.timeout(PATIENCE):
        left = 1
        while left:
            for player in players:
                await player.take(limit=10)
                await player.claim(room=100)
                await player.finish()
            rows = await observer.execute("SELECT count(*) FROM deliveries WHERE status IN ('ready', 'waiting')")
            left = (await rows.fetchall())[0][0]


async def all_arrived(observer: Observer, kept: Kept) -> None:
    """Each event that was acknowledged is stored once, with all its deliveries; what was accepted stays so."""
    rows = await observer.execute(
        "SELECT e.id, array_agg(d.endpoint), count(DISTINCT e.pk) FROM events e JOIN deliveries d ON d.event = e.pk"
        " GROUP BY e.id"
    )
    stored = {row[0]: (sorted(row[1]), row[2]) for row in await rows.fetchall()}
    assert {name: stored.get(name) for name in kept.events} == {
        name: (sorted(to), 1) for name, to in kept.events.items()
    }
    assert all(count == 1 for _, count in stored.values())
    rows = await observer.execute("SELECT id FROM deliveries WHERE status = 'delivered'")
    assert kept.accepted <= {row[0] for row in await rows.fetchall()}
