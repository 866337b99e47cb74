"""Nodes of one PostgreSQL that make a daemon's calls to its store at random, and the rules that must hold meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from store_rig import T0, for_operators, observed, record, recorded, settled, wanted

from notifier.core.callback import Callback
from notifier.core.errors import StaleWrite, StoreUnavailable
from notifier.core.model import Address, Delivery, NewWatch, Watch
from notifier.store import CallbackHealth, Dead, DeliveryFilter, Done, Later, Recovery, Store, Superseded, Verdict
from notifier.store.node import leave

ALL, LATEST = "all", "latest"  # endpoints: of every event, of the newest alone
CALLBACKS = tuple(Callback(url=f"https://example.com/{number}") for number in range(3))
NAMES = tuple(callback.name for callback in CALLBACKS)
EVER = T0 + 10**15  # after every time that is used here
HAND = 60  # deliveries in memory

_clock = itertools.count(T0, 1000)
_state = itertools.count(1)

# Queries for rows that no snapshot may have.
RULES = {
    "of one lane one delivery at most is ready": """
        SELECT endpoint, lane FROM deliveries WHERE status = 'ready' AND lane IS NOT NULL
        GROUP BY endpoint, lane HAVING count(*) > 1""",
    "where deliveries wait, one is ready": """
        SELECT endpoint, lane FROM deliveries WHERE status IN ('ready', 'waiting') AND lane IS NOT NULL
        GROUP BY endpoint, lane HAVING count(*) FILTER (WHERE status = 'ready') = 0""",
    "none goes before an earlier one, but of those retried by hand": """
        SELECT later.id, earlier.id FROM deliveries earlier JOIN deliveries later USING (endpoint, lane)
        WHERE earlier.sequence < later.sequence AND NOT earlier.manual AND NOT later.manual
        AND earlier.status IN ('ready', 'waiting') AND later.status IN ('ready', 'delivered', 'dead')""",
    "what waits is nobody's": "SELECT id, owner FROM deliveries WHERE status <> 'ready' AND owner IS NOT NULL",
    "who owns something is a node": """
        SELECT 'delivery', id::text, owner FROM deliveries WHERE owner NOT IN (SELECT number FROM nodes)
        UNION ALL SELECT 'watch', id, owner FROM watches
        WHERE NOT ended AND removed_at IS NULL AND owner NOT IN (SELECT number FROM nodes)
        UNION ALL SELECT 'callback', name, owner FROM callbacks WHERE owner NOT IN (SELECT number FROM nodes)""",
    "somebody has a destination in hand, or will look when something is due": """
        SELECT d.id, d.endpoint FROM deliveries d LEFT JOIN callbacks c ON c.name = d.endpoint
        WHERE d.status = 'ready' AND d.owner IS NULL AND d.endpoint LIKE 'callback:%'
        AND c.owner IS NULL AND c.due IS NULL""",
    "of one watch each event is there once, and none is missing": """
        SELECT watch, count(*), count(DISTINCT sequence), max(sequence) FROM events WHERE watch IS NOT NULL
        GROUP BY watch HAVING count(*) <> max(sequence) OR count(DISTINCT sequence) <> max(sequence)""",
    "events are numbered as they follow each other": """
        SELECT a.pk, b.pk FROM events a JOIN events b ON a.watch = b.watch AND a.sequence + 1 = b.sequence
        WHERE a.pk >= b.pk""",
}


@dataclass
class Kept:
    """The events and settlements that the store has acknowledged."""

    events: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the endpoints that each is for
    accepted: set[int] = field(default_factory=set)  # deliveries


class Player:
    """One node."""

    def __init__(self, name: str, url: str, kept: Kept, chance: random.Random) -> None:
        self.name = name
        self.store = Store.open(url, name=name, timeout=30.0)
        self.kept = kept
        self.chance = chance
        self.watches: dict[int, Watch] = {}
        self.hand: dict[int, Delivery] = {}
        self.destinations: set[str] = set()
        self.lost = 0

    @property
    def number(self) -> int:
        """Return its number of the moment."""
        assert self.store.nodes is not None
        return self.store.nodes.number

    def lose(self) -> None:
        """Have nothing any more, as a node that was declared dead."""
        self.lost += 1
        self.watches.clear()
        self.hand.clear()
        self.destinations.clear()

    async def play(self, stop: asyncio.Event) -> None:
        """Do one thing after another."""
        moves: Sequence[tuple[int, Callable[[], Awaitable[object]]]] = (
            (30, self.commit),
            (30, self.settle),
            (12, self.claim),
            (8, self.follow),
            (6, self.take),
            (4, self.part),
            (3, self.release),
            (3, self.want),
            (2, self.retry),
            (1, self.hasten),
            (1, self.announce),
            (1, self.unwant),
        )
        weights = [weight for weight, _ in moves]
        while not stop.is_set():
            [(_, move)] = self.chance.choices(moves, weights)
            try:
                await move()
            except (StaleWrite, StoreUnavailable):
                await asyncio.sleep(0.001)
            else:
                await asyncio.sleep(0)

    # -- watches

    async def want(self) -> None:
        """Ask for watches that there may be already."""
        await self.store.watches.apply([_wanted(self.chance) for _ in range(2)], origin="api", now=next(_clock))

    async def unwant(self) -> None:
        """Ask for one no longer."""
        removed = await self.store.watches.remove("vidu", str(self.chance.randrange(6)), now=next(_clock))
        if removed is not None:
            self.watches.pop(removed.pk, None)

    async def follow(self) -> None:
        """Claim some."""
        for watch in await self.store.watches.claim(self.chance.randint(1, 3)):
            self.watches[watch.pk] = watch

    async def release(self) -> None:
        """Let one go."""
        if self.watches:
            watch = self.watches.pop(self.chance.choice(list(self.watches)))
            await self.store.watches.release([watch])

    async def commit(self) -> None:
        """Let one change its state."""
        if not self.watches:
            return
        watch = self.watches.pop(self.chance.choice(list(self.watches)))  # nobody else of this node takes a step of it
        lost = self.lost
        step = observed(watch, f"state {next(_state)}", next(_clock))
        to = [
            Address(endpoint=ALL, take=self._room()),
            Address(endpoint=LATEST, take=self._room(), latest=True),
            *([Address(endpoint=watch.callback, take=self._may_take(watch.callback))] if watch.callback else ()),
        ]
        records = recorded(step, to)
        try:
            deliveries = await self.store.outbox.commit(step.watch, records)
        except StaleWrite:
            await self.store.watches.release([watch])
            return
        for each in records:
            self.kept.events[each.id] = tuple(address.endpoint for address in to)
        self._offer(deliveries)
        for stale in [each for each in self.hand.values() if _is_older(each, watch, records[-1].id)]:
            del self.hand[stale.id]
            await self._settle(stale, Superseded())
        if lost == self.lost:
            self.watches[watch.pk] = step.watch

    async def announce(self) -> None:
        """Tell operators of something."""
        made = record(for_operators(next(_clock)), [Address(endpoint=ALL, take=self._room())])
        self._offer(await self.store.outbox.commit(None, [made]))
        self.kept.events[made.id] = (ALL,)

    # -- deliveries

    def _room(self) -> bool:
        return len(self.hand) < HAND and self.chance.random() < 0.7

    def _may_take(self, endpoint: str) -> bool:
        return endpoint in self.destinations and self._room()

    def _offer(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            assert delivery.id not in self.hand
            self.hand[delivery.id] = delivery

    async def claim(self, *, room: int | None = None) -> None:
        """Claim deliveries that are due."""
        room = self.chance.randint(1, 8) if room is None else room
        if len(self.hand) < HAND:
            claim = await self.store.outbox.claim(dict.fromkeys((ALL, LATEST, *self.destinations), room), now=EVER)
            self._offer(claim.deliveries)

    async def settle(self) -> None:
        """Say what became of one."""
        if not self.hand:
            return
        delivery = self.hand.pop(self.chance.choice(list(self.hand)))
        verdict: Verdict = self.chance.choices(
            (
                Done(),
                Later(due=next(_clock), attempt=delivery.attempt + 1, reason="timeout"),
                Dead(attempt=delivery.attempt + 1, reason="http_400"),
            ),
            (6, 3, 1),
        )[0]
        await self._settle(delivery, verdict)

    async def _settle(self, delivery: Delivery, verdict: Verdict) -> None:
        take = self._room() if delivery.endpoint in (ALL, LATEST) else self._may_take(delivery.endpoint)
        given = settled(delivery, verdict, at=next(_clock), take=take, latest=delivery.endpoint == LATEST)
        released = await self.store.outbox.settle(given)
        if isinstance(verdict, Done):
            self.kept.accepted.add(delivery.id)
        if released is not None:
            self._offer([released])

    async def finish(self) -> None:
        """Accept everything that is in hand."""
        while self.hand:
            _, delivery = self.hand.popitem()
            try:
                await self._settle(delivery, Done())
            except StaleWrite:
                continue

    async def retry(self) -> None:
        """Try dead ones again."""
        await self.store.outbox.retry(
            DeliveryFilter(endpoint=self.chance.choice((ALL, LATEST, *NAMES))), now=next(_clock)
        )

    async def hasten(self) -> None:
        """Record that an endpoint is well again."""
        at = next(_clock)
        await self.store.outbox.hasten(Recovery(endpoint=ALL, at=at, failing_since=T0, created_after=T0))

    # -- destinations of callbacks

    async def take(self, *, limit: int = 2) -> int:
        """Take destinations in hand."""
        found = await self.store.endpoints.take_callbacks(limit, now=EVER)
        self.destinations |= {callback.name for callback, _ in found.taken}
        return len(found.taken)

    async def part(self) -> None:
        """Release a destination without deliveries under way."""
        free = self.destinations - {delivery.endpoint for delivery in self.hand.values()}
        if free:
            name = self.chance.choice(sorted(free))
            self.destinations.discard(name)
            held = next(_clock) if self.chance.random() < 0.3 else None
            health = CallbackHealth(held_until=held, rounds=0 if held is None else 1)
            await self.store.endpoints.leave_callbacks({name: health}, now=next(_clock))

    # -- each other

    async def learn(self) -> None:
        """Return once it is known what became of this node."""
        while True:
            try:
                await self.want()
            except StoreUnavailable:  # a connection was cut just before
                await asyncio.sleep(0.01)
            else:
                return

    async def bury(self, other: Player) -> None:
        """Declare another dead, which is not."""
        number = other.number
        with suppress(StoreUnavailable):
            await self.store._writer.call(lambda connection: leave(connection, number))


def _wanted(chance: random.Random) -> NewWatch:
    number = chance.randrange(6)
    return wanted(str(number), callback=CALLBACKS[number % 3] if number % 2 else None)


def _is_older(delivery: Delivery, watch: Watch, event_id: str) -> bool:
    return delivery.lane == watch.pk and delivery.endpoint == LATEST and delivery.event_id != event_id


async def broken(observer: psycopg.AsyncConnection[Any]) -> dict[str, list[Any]]:
    """Return the rules that do not hold, with what breaks each."""
    found = {}
    for rule, query in RULES.items():
        cursor = await observer.execute(query)
        if rows := await cursor.fetchall():
            found[rule] = rows[:5]
    return found
