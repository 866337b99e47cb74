"""The nodes of one cell, playing the rules by which they share its watches. Time goes in steps; no I/O, no clock.

Modelled: heartbeats, each node's own picture of the fair share, claims in batches, paced releases, the dead found by
the others, and streams that open no faster than `connect_rate`. Tasks begin and end meanwhile.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil

from bench.cells.figures import BEAT, CLAIM, CLAIM_SECONDS, CONNECT_RATE, LOOK_AGAIN, NODE_TIMEOUT

STEP = 0.1  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be chosen of the rules."""

    name: str
    claim_slack: float  # a node claims up to its share and this part of it
    release_slack: float  # ... and releases, down to its share, once it holds more than this above it
    release_rate: float | None  # a second and node; None: what one node opens, shared by those that release
    claims_while_releasing: bool = False
    grace: bool = True  # nobody is declared dead by a node that has not itself been alive for all of node.timeout
    ahead: float | None = None  # seconds' worth of connecting that a node claims ahead; None: without bound


@dataclass(slots=True)
class Node:
    """A daemon. What it holds is what the database says that it holds."""

    number: int
    phase: float  # when it beats next
    running: bool = True  # False while it is paused: its row grows old, its time stands still
    seen_at: float = 0.0
    well_since: float = 0.0  # of signs of life without a gap
    share: int = 0
    peers: int = 1
    releasing: bool = False
    allowance: float = 0.0  # of releases
    connects: float = 0.0  # tokens
    look: float = 0.0  # when it looks for watches that nobody announced
    held: dict[int, None] = field(default_factory=dict)
    opening: deque[int] = field(default_factory=deque)


@dataclass(slots=True)
class Watch:
    """A task."""

    ends: float
    dark_since: float | None  # since when nobody has a stream for it
    owner: int | None = None
    handed: int = 0  # times that another node than before claimed it
    last: int | None = None  # the node that held it last


class Cell:
    """One database, its nodes and its watches."""

    def __init__(
        self, *, watches: int, nodes: int, life: float, policy: Policy, seed: int, connect_rate: float = CONNECT_RATE
    ) -> None:
        self.now = 0.0
        self.policy = policy
        self.nodes: dict[int, Node] = {}  # the rows, by number
        self.watches: dict[int, Watch] = {}
        self.free: dict[int, None] = {}  # in order of time
        self.dark: list[float] = []  # seconds that a watch which had a stream was without
        self.new: list[float] = []  # seconds from a task's arrival to its stream
        self.handed = 0  # claims by another node than the one that held the watch last
        self.again = 0  # of them, of a watch that had been handed over before
        self._arrivals = watches / life
        self._life = life
        self._rng = random.Random(seed)
        self._rate = connect_rate
        self._ends: list[tuple[float, int]] = []
        self._number = self._task = 0
        self._told = False
        self._away = False
        self._unopened: set[int] = set()
        for _ in range(watches):
            self._arrive()
        for _ in range(nodes):
            self.join()

    # -- what happens to it

    def join(self) -> Node:
        """Start a node."""
        self._number += 1
        node = Node(number=self._number, phase=self.now + self._rng.random() * BEAT)
        node.seen_at = node.well_since = self.now
        self.nodes[node.number] = node
        self._look(node)
        return node

    def stop(self, node: Node) -> None:
        """End a node in an orderly way: it releases all at once."""
        self._delete(node)

    def kill(self, node: Node) -> None:
        """End a node without a word."""
        node.running = False
        self._darken(node.held)

    def pause(self, node: Node) -> None:
        """Let a node stand still; its streams are open, but nobody reads them."""
        self.kill(node)

    def proceed(self, node: Node) -> None:
        """Let a paused node go on; if it was declared dead, it starts anew under another number."""
        if node.number in self.nodes:
            node.running = True
            self._opened(pk for pk in node.held)
        else:
            self.join()

    def lose_database(self, seconds: float) -> None:
        """Let the database be away: streams stay open, but nothing is written, signs of life included."""
        self._away = True
        self.run(seconds)
        self._away = False

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until - STEP / 2:
            self._step()

    def settle(self, at_most: float) -> float:
        """Let time pass until every old watch has its stream and shares are even; return the seconds until then."""
        begun = last = self.now
        while self.now < begun + at_most:
            self._step()
            if not self.settled():
                last = self.now
            elif self.now - last > NODE_TIMEOUT:
                break
        return last - begun

    def settled(self) -> bool:
        """Say whether shares are even to 5 % (and a few), and no watch but the newest is without a stream."""
        share = len(self.watches) / max(1, len(self.nodes))
        even = all(abs(len(node.held) - share) <= 0.05 * share + 20 for node in self.nodes.values())
        alive = all(node.running for node in self.nodes.values())
        return even and alive and len(self._unopened) <= 20 + 1.5 * self._arrivals

    def forget(self) -> None:
        """Begin to count."""
        self.dark, self.new = [], []
        self.handed = self.again = 0
        for watch in self.watches.values():
            watch.handed = 0

    # -- one step

    def _step(self) -> None:
        self.now += STEP
        if self._away:
            return
        self._churn()
        nodes = [node for node in self.nodes.values() if node.running]
        self._rng.shuffle(nodes)  # SKIP LOCKED favours nobody
        told, self._told = self._told, False
        for node in nodes:
            if node.number not in self.nodes:
                continue  # declared dead a moment ago
            if self.now >= node.phase:
                node.phase += BEAT
                self._beat(node)
            self._release(node)
            if told or self.now >= node.look:
                self._claim(node)
            self._open(node)

    def _churn(self) -> None:
        while self._ends and self._ends[0][0] <= self.now:
            _, pk = heappop(self._ends)
            watch = self.watches.pop(pk)
            self.free.pop(pk, None)
            self._unopened.discard(pk)
            if watch.owner is not None:
                self.nodes[watch.owner].held.pop(pk, None)
        wanted = self._arrivals * STEP
        for _ in range(int(wanted) + (self._rng.random() < wanted % 1)):
            self._arrive()

    def _arrive(self) -> None:
        self._task += 1
        ends = self.now + self._rng.expovariate(1 / self._life)
        self.watches[self._task] = Watch(ends=ends, dark_since=self.now)
        heappush(self._ends, (ends, self._task))
        self.free[self._task] = None
        self._unopened.add(self._task)
        self._told = True

    def _beat(self, node: Node) -> None:
        if self.now - node.seen_at > NODE_TIMEOUT / 2:
            node.well_since = self.now
        node.seen_at = self.now
        judges = not self.policy.grace or self.now - node.well_since >= NODE_TIMEOUT
        for other in [other for other in self.nodes.values() if judges and other.seen_at < self.now - NODE_TIMEOUT]:
            self._delete(other)
            if other.running:  # it finds its row gone, and starts anew
                self.join()
        self._look(node)

    def _look(self, node: Node) -> None:
        node.peers = len(self.nodes)
        node.share = ceil(len(self.watches) / node.peers)

    def _delete(self, node: Node) -> None:
        del self.nodes[node.number]
        self._darken(node.held)
        for pk in node.held:
            self._let_go(pk)
        node.held.clear()

    def _darken(self, pks: Iterable[int]) -> None:
        for pk in pks:
            if pk not in self._unopened:
                self.watches[pk].dark_since = self.now
                self._unopened.add(pk)

    def _let_go(self, pk: int) -> None:
        self.watches[pk].owner = None
        self.free[pk] = None
        self._told = True

    def _release(self, node: Node) -> None:
        above = len(node.held) - node.share
        if above > node.share * self.policy.release_slack:
            node.releasing = True
        elif above <= 0:
            node.releasing = False
        if not node.releasing:
            node.allowance = 0.0
            return
        rate = self.policy.release_rate or self._rate / max(1, node.peers - 1)
        node.allowance += rate * STEP
        let_go = [node.held.popitem()[0] for _ in range(min(int(node.allowance), above))]
        node.allowance -= len(let_go)
        self._darken(let_go)
        for pk in let_go:
            self._let_go(pk)

    def _claim(self, node: Node) -> None:
        node.look = self.now + LOOK_AGAIN
        if node.releasing and not self.policy.claims_while_releasing:
            return
        self._look(node)  # a claim counts anew; between claims, a share is as old as the last heartbeat
        limit = ceil(node.share * (1 + self.policy.claim_slack))
        for _ in range(int(STEP / CLAIM_SECONDS)):
            room = min(CLAIM, limit - len(node.held))
            if self.policy.ahead is not None:
                room = min(room, ceil(self.policy.ahead * self._rate) - len(node.opening))
            taken = [pk for pk, _ in zip(self.free, range(room), strict=False)]
            for pk in taken:
                del self.free[pk]
                watch = self.watches[pk]
                watch.owner = node.number
                if watch.last not in (None, node.number):
                    self.handed += 1
                    self.again += watch.handed > 0
                    watch.handed += 1
                watch.last = node.number
                node.held[pk] = None
                node.opening.append(pk)
            if len(taken) < CLAIM:
                return
        self._told = True  # it goes on at once

    def _open(self, node: Node) -> None:
        node.connects = min(node.connects + self._rate * STEP, self._rate * STEP + 1)
        while node.opening and node.connects >= 1:
            pk = node.opening.popleft()
            if pk in node.held and pk in self._unopened:
                node.connects -= 1
                self._opened([pk])

    def _opened(self, pks: Iterable[int]) -> None:
        for pk in pks:
            watch = self.watches[pk]
            if watch.dark_since is not None:
                (self.dark if watch.handed else self.new).append(self.now - watch.dark_since)
            watch.dark_since = None
            self._unopened.discard(pk)
