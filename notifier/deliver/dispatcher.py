"""The registry of destinations. The configuration, the store, other nodes and the process ask all of them through it.

A commit reserves places with `reserve`; each destination then sends by itself (`destination.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from notifier.core.breaker import SILENCE, Silence
from notifier.core.callback import is_callback
from notifier.core.endpoint import LeaderRequest
from notifier.core.model import Delivery, EndpointState, Record
from notifier.core.mute import Mute
from notifier.deliver.callbacks import CallbackDestinations
from notifier.deliver.destination import Destination
from notifier.deliver.endpoint import Announce, EndpointDestination
from notifier.deliver.environment import EndpointPolicy, Environment
from notifier.deliver.mutes import ActiveMutes
from notifier.deliver.outbox import OutboxClient
from notifier.deliver.sender import Sender
from notifier.deliver.shared import SharedDestination
from notifier.deliver.tasks import Tasks
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.runtime.tracing import UNTRACED, Tracing
from notifier.runtime.wake import Wake
from notifier.store import Leadership, Store

LOOK_AGAIN = 10.0  # seconds between looks for deliveries that nobody announced


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSetup:
    """An endpoint as configured."""

    sender: Sender
    policy: EndpointPolicy


class Dispatcher:
    """Owns the destinations."""

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        saved: Wake | None = None,
        jitter: Callable[[], float] = random.random,
        look_again: float = LOOK_AGAIN,
        silence: Silence = SILENCE,
        shared: bool = False,
        tracing: Tracing = UNTRACED,
    ) -> None:
        """Create a dispatcher without endpoints.

        `saved` is set when this node has saved an endpoint's state for the others. `look_again` is in seconds.
        `silence`: how much of it makes an endpoint get probes alone. `shared`: other nodes send as well; `adopt` brings
        their findings.
        """
        self._saved = saved or Wake()
        self._look_again = look_again
        self._shared = shared
        self._outbox = OutboxClient(store=store, clock=clock)
        self._tasks = Tasks()
        self.mutes = ActiveMutes(store=store, clock=clock)
        self._environment = Environment(
            store=store,
            outbox=self._outbox,
            tasks=self._tasks,
            metrics=metrics,
            clock=clock,
            mutes=self.mutes,
            tracing=tracing,
            jitter=jitter,
            silence=silence,
        )
        self._endpoints: dict[str, EndpointDestination] = {}
        self._removed: dict[str, EndpointDestination] = {}  # that the configuration names no more
        self.callbacks = CallbackDestinations(self._environment)

    # -- deliveries

    @property
    def endpoints(self) -> Mapping[str, EndpointDestination]:
        """Return the endpoints of the configuration by their names."""
        return self._endpoints

    def get(self, name: str) -> Destination | None:
        """Return the destination of that name, if it is in hand."""
        return self._endpoints.get(name) or self.callbacks.get(name)

    def reserve(self) -> Places:
        """Return a block in which a commit reserves places for its deliveries."""
        return Places(self)

    def expect(self, name: str) -> None:
        """Record that the store holds a delivery that is due and nobody's."""
        destination = self.get(name)
        if destination is not None:
            destination.expect()
        elif is_callback(name):
            self.callbacks.expect()

    def look(self) -> None:
        """Have all destinations look for deliveries in the store."""
        for endpoint in self._endpoints.values():
            endpoint.expect()
        self.callbacks.expect()

    # -- mutes

    async def mute(self, mute: Mute) -> None:
        """Silence endpoints for a while. Raises StoreUnavailable."""
        await self.mutes.add(mute)
        self._sift()

    async def _look_for_mutes(self) -> None:
        if await self.mutes.look():
            self._sift()

    def _sift(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.sift()

    # -- the configuration

    def set_endpoints(self, setups: Mapping[str, EndpointSetup], announce: Announce) -> None:
        """Send to these endpoints; attempts under way end. New ones tell operators of their health by `announce`."""
        for name in self._endpoints.keys() - setups.keys():
            endpoint = self._removed[name] = self._endpoints.pop(name)
            endpoint.remove()
        for name, setup in setups.items():
            self._set(name, setup, announce)
        self._saved.set()  # this node asks for the lead of other endpoints now

    def _set(self, name: str, setup: EndpointSetup, announce: Announce) -> None:
        if name in self._removed:
            endpoint = self._removed.pop(name)
            endpoint.restore(setup.sender)
        elif name in self._endpoints:
            endpoint = self._endpoints[name]
            if setup.sender is not endpoint.sender:
                endpoint.relink(setup.sender)
        else:
            kind = SharedDestination if self._shared else EndpointDestination
            endpoint = kind(
                name,
                sender=setup.sender,
                policy=setup.policy,
                environment=self._environment,
                announce=announce,
                saved=self._saved,
            )
        self._endpoints[name] = endpoint
        endpoint.update(setup.policy)

    def recall(self, states: Sequence[EndpointState]) -> None:
        """Take over the saved health of the endpoints."""
        for state in states:
            if state.name in self._endpoints:
                self._endpoints[state.name].recall(state)

    # -- other nodes

    def leader_requests(self) -> dict[str, LeaderRequest]:
        """Return what this node asks for its endpoints, where one node has to serve for all."""
        return {endpoint.name: endpoint.request for endpoint in self._shared_endpoints()}

    def adopt(self, leadership: Leadership) -> None:
        """Take over the findings of other nodes; serve the endpoints that this node leads, and leave the others."""
        tick = asyncio.get_running_loop().time()
        states = {state.name: state for state in leadership.states}
        for endpoint in self._shared_endpoints():
            if (state := states.get(endpoint.name)) is not None:
                endpoint.adopt(state, leading=state.leader == leadership.number, tick=tick)

    def resign(self) -> None:
        """Serve no endpoint for all nodes any more."""
        for endpoint in self._shared_endpoints():
            endpoint.lead(False)

    def forget(self) -> None:
        """Drop everything that was not begun: it is other nodes' now. Attempts in flight end as they may."""
        for destination in self._all():
            destination.forget()
        self.look()

    # -- the process

    async def run(self) -> None:
        """Claim and send until cancelled."""
        await self._look_for_mutes()
        async with self._tasks.open():
            self._tasks.start("claims", self._outbox.run())
            self._tasks.start("callbacks", self.callbacks.run())
            for destination in self._all():
                destination.start()
            while True:
                await asyncio.sleep(self._look_again)
                await self._look_for_mutes()
                self.look()

    async def drain(self, timeout: float, *, hand_over: bool = False) -> int:
        """Begin nothing more and wait for the attempts in flight; return how many did not end within `timeout` seconds.

        `hand_over`: other nodes may send what this one has not begun.
        """
        for endpoint in [*self._endpoints.values(), *self._removed.values()]:
            endpoint.drain(hand_over=hand_over)
        self.callbacks.drain(hand_over=hand_over)
        destinations = list(self._all())
        try:
            async with asyncio.timeout(timeout):
                for destination in destinations:
                    await destination.drained()
        except TimeoutError:
            pass
        return sum(destination.in_flight for destination in destinations)

    async def close(self) -> None:
        """Close the senders; after `run` has ended."""
        await self.callbacks.close()
        for endpoint in self._endpoints.values():
            await endpoint.close()

    def _all(self) -> Iterator[Destination]:
        yield from self._endpoints.values()
        yield from self._removed.values()
        yield from self.callbacks

    def _shared_endpoints(self) -> Iterator[SharedDestination]:
        return (endpoint for endpoint in self._endpoints.values() if isinstance(endpoint, SharedDestination))


class Places:
    """Places in memory for the deliveries of one commit. Leaving the block frees them."""

    __slots__ = ("_dispatcher", "_reserved")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._reserved: list[Destination] = []

    def take(self, endpoint: str) -> bool:
        """Reserve a place for a delivery that skips the store's queue; return False if it has to wait there."""
        destination = self._dispatcher.get(endpoint)
        if destination is None or not destination.reserve():
            return False
        self._reserved.append(destination)
        return True

    def fill(self, lane: int | None, records: Sequence[Record], deliveries: Sequence[Delivery]) -> None:
        """Send after the commit: `records` of the watch `lane`, and those of their deliveries that are this node's."""
        for record in records:
            for address in record.addresses:
                if address.latest and lane is not None:
                    destination = self._dispatcher.get(address.endpoint)
                    if destination is not None:
                        destination.overtake(lane, record.id)
                if not address.take:
                    self._dispatcher.expect(address.endpoint)
        for delivery in deliveries:
            for destination in self._reserved:
                if destination.name == delivery.endpoint:
                    destination.push(delivery)
                    break

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for destination in self._reserved:
            destination.free()
