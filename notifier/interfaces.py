"""The architecture on one page: what the loops ask of the adapters. Only `app` knows who answers.

inputs -> store.watches -> watcher -> source -> machine.step -> one commit -> dispatcher -> sender -> settle
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from notifier.core.callback import Callback
from notifier.core.endpoint import Make, Want
from notifier.core.model import Delivery, EndpointState, Json, Micros, NewWatch, Observation, Record, Watch
from notifier.core.retry import Attempt
from notifier.core.share import Peer


class Input(Protocol):
    """Takes watches from outside and has them stored."""

    name: str  # for logs and metrics; holds nothing secret

    async def run(self) -> None:
        """Take until cancelled.

        What was taken is given up outside only after its commit. A fault of the outside is waited out, never raised.
        """
        ...


class Stream(Protocol):
    """One open subscription to one task."""

    observations: int  # read so far on this connection, repeats included
    last_activity: float  # loop time of the last byte, comments included
    retry: float | None  # seconds that the upstream asked us to wait before reconnecting (`retry:`)

    def __aiter__(self) -> Stream: ...

    async def __anext__(self) -> Observation:
        """Return the next snapshot whose bytes differ from the one before.

        Ends at the end of the stream, everything received having been returned first, also when the connection broke.
        Raises SourceError when the connection broke or the upstream overstepped a limit. A snapshot that cannot be
        read is logged and skipped.
        """
        ...

    def close(self) -> None:
        """Let go of the connection at once; may be called twice."""
        ...


class Source(Protocol):
    """Follows tasks of one upstream; knows nothing of watches, retries or storage."""

    name: str

    async def open(self, task_id: str) -> Stream:
        """Connect; return once the reply's head is in. Raises SourceError (see its subclasses for the kinds)."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


# Of the attempt that the current task makes: whether the delivery is surely still this node's to send.
claim_holds: ContextVar[Callable[[], bool]] = ContextVar("claim_holds", default=lambda: True)


class Sender(Protocol):
    """Makes single attempts at deliveries to one endpoint; keeps no memory of them."""

    async def send(self, delivery: Delivery) -> Attempt:
        """Try once. Never raises but for cancellation: every fault is an outcome.

        A sender asks `claim_holds` in the very step that writes: to connect takes time, and so may a round of the event
        loop, in which a delivery may have become another node's.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a change of the wanted watches came to."""

    added: tuple[Watch, ...] = ()
    changed: tuple[Watch, ...] = ()  # labels, metadata, endpoints or callback
    removed: tuple[Watch, ...] = ()
    unchanged: int = 0
    newer: str | None = None  # the node that has newer files, so that nothing was done


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Deliveries that are due and now this node's, and when the next one of each endpoint will be."""

    deliveries: tuple[Delivery, ...] = ()
    next_due: Mapping[str, Micros] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a callback's destination did when it was let go of; `Standing()` is well."""

    held_until: Micros | None = None  # nothing is to be sent before
    rounds: int = 0  # cool-downs in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Destinations of callbacks that something is due of, now in this node's hand, and when the next will be."""

    taken: tuple[tuple[Callback, Standing], ...] = ()
    next_due: Micros | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The delivery was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """The delivery waits until `due`."""

    due: Micros
    attempt: int  # attempts that count, made so far
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """The delivery is given up, but kept."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """A newer state of the same watch takes the delivery's place."""


Verdict = Done | Later | Dead | Superseded


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a delivery that this node had claimed."""

    delivery: Delivery
    verdict: Verdict
    at: Micros
    attempt: Attempt | None = None  # for the log; None where no attempt was made
    take: bool = True  # claim the next delivery of the lane at once
    latest: bool = False  # what is to be tried again gives way to a newer state of its lane, if there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """An endpoint that is well again."""

    endpoint: str
    at: Micros
    failing_since: Micros
    created_after: Micros  # older deliveries have had their whole schedule: they are left to what remains of it


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChange:
    """A change of what is kept of an endpoint."""

    name: str
    fingerprint: str
    make: Make  # run in the store's thread, maybe more than once


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a change of an endpoint came to."""

    before: EndpointState
    after: EndpointState
    done: bool  # False: there was nothing to change, and nothing was recorded with it
    deliveries: tuple[Delivery, ...] = ()  # to send now


@dataclass(frozen=True, slots=True, kw_only=True)
class Leads:
    """What is kept of every endpoint, and the number of the node that has asked."""

    number: int
    states: tuple[EndpointState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries to list or to retry; None means any."""

    id: int | None = None
    endpoint: str | None = None
    status: str | None = None
    since: Micros | None = None  # created at or after
    until: Micros | None = None  # created before


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFilter:
    """Which of the watches that are wanted to list; None means any."""

    source: str | None = None
    phase: str | None = None  # or `new`: nothing observed yet; `lost`: given up, whatever its phase, and only there
    state: str | None = None
    labels: tuple[tuple[str, str], ...] = ()  # all of them
    text: str | None = None  # a part of the id, in upper or lower case
    ended: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events to list; None means any."""

    source: str | None = None
    task: str | None = None  # the watch's id
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """The nodes that share a store, and what waits for one of them."""

    number: int  # this node's
    peers: tuple[Peer, ...]  # this one among them
    unclaimed: int  # open watches that nobody follows, of the sources that were asked about
    now: Micros  # the database's time


class Store(Protocol):
    """The durable memory of watches, events and deliveries.

    A method that writes returns after its commit; nothing is visible of one that raises. StoreUnavailable means that
    the database cannot be used for now. `commit` and `settle` do not raise it: they wait until it can be.
    """

    @property
    def available(self) -> bool:
        """Say whether the last write went through."""
        ...

    async def apply(
        self, watches: Sequence[NewWatch], *, origin: str, now: Micros, replace: bool = False, insist: bool = True
    ) -> Applied:
        """Want these watches; with `replace`, of this origin no others. An ended watch stays ended.

        Unless `insist`, nothing is done where they are older than those of a living node that shares the store.
        """
        ...

    async def remove(self, source: str, task_id: str, *, now: Micros) -> Watch | None:
        """Want a watch no longer; its deliveries still go out. None: there is no such watch."""
        ...

    async def claim_watches(self, limit: int, sources: Sequence[str] | None = None) -> list[Watch]:
        """Take up to `limit` open watches that no node follows, of these sources only, oldest first."""
        ...

    async def release_watches(self, watches: Sequence[Watch]) -> None:
        """Let go of watches, for any node to claim."""
        ...

    async def commit(self, watch: Watch | None, records: Sequence[Record]) -> list[Delivery]:
        """Save a watch's step and its events, or operators' events, in one transaction.

        Returns the deliveries to send now, in order. Raises StaleWrite when the stored watch is not the one before
        this step, is no longer wanted, or is another node's.
        """
        ...

    async def claim_deliveries(self, room: Mapping[str, int], *, now: Micros) -> Claim:
        """Take deliveries that are due, at most `room` for each endpoint named, oldest due first."""
        ...

    async def settle(self, settlement: Settlement) -> Delivery | None:
        """Save what became of a delivery; return the next of its lane if it is to be sent now.

        Of one that is `Later` only with `latest`: then a newer state has taken its place.

        Raises StaleWrite when the delivery is no longer this node's.
        """
        ...

    async def retry(self, which: DeliveryFilter, *, now: Micros) -> int:
        """Make dead deliveries ready again, same id; return how many.

        In several transactions if they are many: of one that raises, what came before it stays.
        """
        ...

    async def hasten(self, recovery: Recovery) -> int:
        """Bring forward what failed during an endpoint's outage and waits to be tried again; return how many."""
        ...

    async def take_callbacks(self, limit: int, *, now: Micros) -> Found:
        """Take up to `limit` destinations in hand of which deliveries are due, those that waited longest first.

        Waits while the database cannot be used, as `leave_callbacks` does.
        """
        ...

    async def leave_callbacks(self, left: Mapping[str, Standing], *, now: Micros) -> None:
        """Let go of destinations, by name: they are found again when something is due of them and they are not held."""
        ...

    async def endpoint_states(self) -> list[EndpointState]:
        """Return the kept health of every endpoint."""
        ...

    async def change_endpoint(self, change: EndpointChange, records: Sequence[Record] = ()) -> Changed:
        """Change what is kept of an endpoint, and save operators' events with it, in one transaction.

        Waits while the database cannot be used.
        """
        ...

    async def summary(self) -> Json:
        """Count watches by source and phase, deliveries by endpoint and status, with the oldest open ones."""
        ...

    async def deliveries(self, which: DeliveryFilter, *, limit: int, before: int | None = None) -> list[Json]:
        """List deliveries, newest first; with `which.id`, one with its attempts and body."""
        ...

    async def watches(self, which: WatchFilter, *, limit: int, before: int | None = None) -> list[Json]:
        """List watches that are wanted, newest first; each tells its `pk`, and `before` is one of those.

        `owner` is the number of the node that follows it.
        """
        ...

    async def watch(self, source: str, task_id: str) -> Json | None:
        """Show a watch that is wanted with its latest events and their deliveries; None: there is none."""
        ...

    async def events(
        self,
        which: EventFilter,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        in_order: bool = False,
    ) -> list[Json]:
        """List events, newest first, those `before` a cursor; with `after`, oldest first, those after it.

        `in_order`, and always with `after`: only events before which none can appear any more.
        """
        ...

    async def prune(self, before: Micros) -> int:
        """Forget what ended and was settled before; return the number of rows."""
        ...

    async def close(self) -> None:
        """Finish the writes under way and let go of the database."""
        ...


class Nodes(Protocol):
    """The nodes that share a store. Each method returns after its commit, and raises StoreUnavailable."""

    @property
    def number(self) -> int:
        """Return the number of this node; another one after it was taken for dead."""
        ...

    async def beat(self, *, held: int | None, status: Json, sources: Sequence[str] | None = None) -> Census:
        """Give a sign of life, say how many watches this node follows, and look at the others and at what is free.

        `sources` are those that this node can follow watches of; None: all. `held` is None while a claim or a release
        is under way: each counts by itself what it takes or lets go.
        """
        ...

    async def bury(self, peer: Peer) -> bool:
        """Free everything of a node that is dead, if it still is; say whether this was done here."""
        ...

    async def lead(self, wants: Mapping[str, Want]) -> Leads:
        """Take the leads of these endpoints that nobody has, give up those that others should have; look at all."""
        ...

    async def release_all(self) -> None:
        """Let go of every watch that this node follows and every endpoint that it leads, and want no more."""
        ...

    async def mine(self) -> set[int]:
        """Return the numbers of all watches that the store says this node follows."""
        ...

    async def look(self, pks: Sequence[int]) -> list[Watch]:
        """Return those of these watches that this node follows, as they are now."""
        ...
