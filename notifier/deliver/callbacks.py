"""The destinations of callbacks that are in hand: those with something to send now, at most MAX_LIVE.

There may be hundreds of thousands of destinations, so the store remembers all of them, and when to look for each. A
destination is taken in hand when a delivery is due. It then has a queue and a breaker, as an endpoint has. It is let go
of when it is idle, when it is held back, or when others wait and it has had its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from traceback import extract_tb

import structlog

from notifier.core.callback import Callback
from notifier.core.model import Micros
from notifier.core.retry import SCHEDULE, Failed
from notifier.deliver.callback import CallbackDestination
from notifier.deliver.environment import EndpointPolicy, Environment
from notifier.deliver.sender import Sender
from notifier.runtime.wake import Wake
from notifier.senders.callback import CallbackCourier
from notifier.senders.refusing import Refusing
from notifier.store import CallbackHealth

log = structlog.get_logger(__name__)

MAX_LIVE = 256  # destinations at a time: with IN_FLIGHT it bounds connections, with AHEAD of `queue.py` memory
IN_FLIGHT = 16  # attempts at a time to one destination
TAKEN = 32  # destinations taken at once: each is a claim of its own in the transaction that follows
KEEP = 30.0  # seconds that an idle destination is kept: a delivery that comes within is sent without a claim
TURN = 10.0  # seconds after which a destination makes room if others wait
FULL_WAIT = 0.1  # seconds until the next look for room
SOONEST = 0.02  # seconds between looks: many that become due one after another are taken together

_POLICY = EndpointPolicy(
    fingerprint="",
    schedule=SCHEDULE,
    max_in_flight=IN_FLIGHT,
    rate_limit=None,
    latest=False,
    failing_after=None,
    disable_after=None,
)


class CallbackDestinations:
    """Owns the destinations of callbacks that are in hand."""

    def __init__(self, environment: Environment) -> None:
        self._store = environment.store
        self._environment = environment
        self._clock = environment.clock
        self._live: dict[str, CallbackDestination] = {}
        self._courier: CallbackCourier | None = None
        self._next_due: Micros | None = 0  # of all destinations that are not in hand; at the start nobody knows
        self._draining = False
        self._wake = Wake()

    @property
    def enabled(self) -> bool:
        """Return whether anything is sent."""
        return self._courier is not None

    def __len__(self) -> int:
        """Return how many destinations are in hand."""
        return len(self._live)

    def __iter__(self) -> Iterator[CallbackDestination]:
        """Iterate over the destinations in hand."""
        return iter(list(self._live.values()))

    def get(self, name: str) -> CallbackDestination | None:
        """Return the destination of that name, if it is in hand."""
        return self._live.get(name)

    def expect(self) -> None:
        """Look for destinations soon: the store has a new delivery for one that is not in hand."""
        self._next_due = 0
        self._wake.set()

    def set_courier(self, courier: CallbackCourier | None) -> None:
        """Send by other rules from now on; None: send nothing more, and keep all deliveries."""
        before, self._courier = self._courier, courier
        for destination in self:
            if courier is None:
                destination.switch_off()
            else:
                destination.switch_on(self._sender(courier, destination.callback))
        self.expect()
        if before is not None:
            self._environment.tasks.start("close callbacks", before.close())

    def drain(self, *, hand_over: bool) -> None:
        """Take nothing more in hand; with `hand_over`, leave each to other nodes as soon as it is empty."""
        self._draining = True
        for destination in self:
            destination.drain(hand_over=hand_over)
        if hand_over:
            self._wake.set()

    async def close(self) -> None:
        """Close the senders; after all tasks have ended."""
        for destination in self:
            await destination.close()
        if self._courier is not None:
            await self._courier.close()

    async def run(self) -> None:
        """Take destinations in hand and let them go until cancelled."""
        while True:
            self._wake.clear()
            pause = await self._turn()
            await asyncio.sleep(SOONEST)
            await self._wake.wait(pause)

    @property
    def _may_take(self) -> bool:
        return self._courier is not None and not self._draining

    async def _turn(self) -> float:
        """Let go and take; return the seconds until there is reason for more, unless something wakes the loop."""
        tick = asyncio.get_running_loop().time()
        waiting = self._may_take and self._next_due is not None and self._next_due <= self._clock()
        await self._let_go(self._leavers(tick, waiting=waiting))
        room = MAX_LIVE - len(self)
        if waiting and room > 0:
            await self._take(min(room, TAKEN), tick)
        elif waiting:
            self._wake.clear()  # what woke the loop does not make room
            return FULL_WAIT
        now = self._clock()
        pauses = [KEEP / 2]
        if self._may_take and self._next_due is not None:
            pauses.append(max(0.0, (self._next_due - now) / 1e6))
        if any(destination.leaving for destination in self):
            pauses.append(FULL_WAIT)
        return min(pauses)

    def _leavers(self, tick: float, *, waiting: bool) -> list[CallbackDestination]:
        """Choose the destinations to let go of; have others leave once they are empty, if room is needed."""
        now = self._clock()
        by_use = sorted(self, key=lambda destination: destination.used_at)
        idle = [destination for destination in by_use if destination.idle(now)]
        leavers = [each for each in idle if each.leaving or tick - each.used_at >= KEEP]
        room = MAX_LIVE - len(self) + len(leavers)
        if waiting and room < TAKEN:
            rest = [each for each in idle if not each.leaving and tick - each.used_at < KEEP]
            leavers += rest[: TAKEN - room]
            if room + len(rest) < TAKEN:
                had_turn = [each for each in self if tick - each.taken_at >= TURN]
                for destination in sorted(had_turn, key=lambda each: each.taken_at)[:TAKEN]:
                    destination.leave()
        return leavers[:TAKEN]

    async def _let_go(self, leavers: Iterable[CallbackDestination]) -> None:
        """Let go of those without a delivery; the others give theirs back to the store, and go the next time."""
        empty = [destination for destination in leavers if destination.let_go()]
        if not empty:
            return
        now = self._clock()
        left = {destination.name: destination.health(now) for destination in empty}
        for name in left:
            del self._live[name]
        await self._store.endpoints.leave_callbacks(left, now=now)
        self._next_due = 0  # only the store knows what is due of them
        for destination in empty:
            await destination.close()

    async def _take(self, limit: int, tick: float) -> None:
        self._next_due = None
        due = await self._store.endpoints.take_callbacks(limit, now=self._clock())
        if self._next_due is None:  # else something new was announced meanwhile
            self._next_due = due.next_due
        courier = self._courier
        left: dict[str, CallbackHealth] = {}
        for callback, health in due.taken:
            destination = self._live.get(callback.name)
            if destination is not None:
                destination.expect()
            elif courier is not None and not self._draining:
                self._add(courier, callback, health, tick)
            else:  # switched off meanwhile, or the process stops
                left[callback.name] = health
        if left:
            await self._store.endpoints.leave_callbacks(left, now=self._clock())

    def _add(self, courier: CallbackCourier, callback: Callback, health: CallbackHealth, tick: float) -> None:
        destination = CallbackDestination(
            callback,
            health=health,
            sender=self._sender(courier, callback),
            policy=_POLICY,
            environment=self._environment,
            tick=tick,
        )
        self._live[destination.name] = destination
        destination.start()

    def _sender(self, courier: CallbackCourier, callback: Callback) -> Sender:
        """Have a sender created; an exception ends here, so that one destination does not harm the others."""
        try:
            return courier.sender(callback)
        except Exception as exc:
            last = extract_tb(exc.__traceback__)[-1]
            log.error(  # without the error's words, which may be the URL
                "callback.no_sender",
                endpoint=callback.name,
                url=callback.origin,
                error=type(exc).__name__,
                at=f"{Path(last.filename).name}:{last.lineno}",
                hint="its deliveries fail as `internal`; those to other destinations go on",
            )
            detail = f"a fault of this program: {type(exc).__name__}"
            # It costs attempts, as with a sender that raises, so that it does not go on.
            return Refusing(Failed(reason="internal", detail=detail, proves=False), self._clock)
