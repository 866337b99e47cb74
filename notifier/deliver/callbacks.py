"""Which destinations of callbacks have a queue: those that something is sent to now, and no more than MAX_LIVE.

There may be hundreds of thousands of them, so the store remembers them all and when to look for each (`store/
callbacks.py`). A destination is taken in hand when something is due, gets a queue and a breaker like an endpoint's, and
is let go of when it is idle, when it is held back, or when others wait and it had its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from traceback import extract_tb
from typing import Protocol

import structlog

from notifier.core.breaker import Breaker, State
from notifier.core.callback import LABEL, Callback
from notifier.core.model import Delivery, Micros
from notifier.core.retry import SCHEDULE, Attempt, Failed
from notifier.deliver.endpoint_queue import EndpointPolicy, EndpointQueue, Link
from notifier.deliver.sender import Sender, StillOurs
from notifier.store import CallbackHealth, Store

log = structlog.get_logger(__name__)

MAX_LIVE = 256  # queues at a time: with IN_FLIGHT it bounds connections, with AHEAD of `endpoint_queue` memory
IN_FLIGHT = 16  # attempts at a time to one destination
TAKEN = 32  # destinations taken at once: each is a claim of its own in the transaction that follows
KEEP = 30.0  # seconds that an idle queue is kept: what comes within is sent without a look into the store
TURN = 10.0  # seconds after which a queue makes room if others wait
FULL_WAIT = 0.1  # seconds until the next look for room
SOONEST = 0.02  # seconds between looks: many that become due one after another are taken together


class Courier(Protocol):
    """Makes senders to destinations, by the rules of one configuration."""

    def sender(self, callback: Callback) -> Sender:
        """Make a sender."""
        ...

    async def close(self) -> None:
        """Hear that no more senders will be asked for; those there are go on until they are closed."""
        ...


class Unsendable:
    """Sends nothing, in the place of a sender that could not be made; costs attempts, so that it does not go on."""

    def __init__(self, fault: str, clock: Callable[[], Micros]) -> None:
        self._fault = fault
        self._clock = clock

    async def send(self, _delivery: Delivery, _still_ours: StillOurs) -> Attempt:
        """Fail as a sender does that raises."""
        detail = f"a fault of this program: {self._fault}"
        return Attempt(at=self._clock(), outcome=Failed(reason="internal", detail=detail, asked=False))

    async def close(self) -> None:
        """Do nothing."""


class CallbackQueue(EndpointQueue):
    """The deliveries in memory for one destination."""

    def __init__(self, callback: Callback, standing: CallbackHealth, sender: Sender, *, since: float) -> None:
        super().__init__(callback.name, sender, _POLICY)
        self.callback = callback
        self.label = LABEL
        self.origin = callback.origin
        self.configured = False
        self.since = self.used = since  # of its turn
        if standing.rounds:  # it was failing: a probe first
            self.breaker = Breaker(
                state=State.OPEN,
                not_before=standing.held_until or 0,
                failures=1,
                failing_since=0,  # nobody remembers
                rounds=standing.rounds,
            )

    def standing(self, now: Micros) -> CallbackHealth:
        """Return what is to be remembered of it."""
        breaker = self.breaker
        if breaker.state in (State.CLOSED, State.DISABLED):
            return CallbackHealth()
        held = max(now, breaker.not_before)
        return CallbackHealth(held_until=held, rounds=0 if breaker.state is State.THROTTLED else max(1, breaker.rounds))

    def idle(self, now: Micros) -> bool:
        """Say whether nothing is to be done for it in memory, or nothing may be for now."""
        if self.in_flight or self.promised or self.workers or self.aside:
            return False
        if not self.breaker.ready(now):
            return True
        if len(self) or self.leaving:
            return not len(self)  # one that leaves asks the store for no more, whatever there is
        return not self.backlog and (self.next_due is None or self.next_due > now)


_POLICY = EndpointPolicy(
    fingerprint="", schedule=SCHEDULE, max_in_flight=IN_FLIGHT, rate_limit=None, latest=False, disable_after=None
)


class CallbackQueues:
    """Owns the queues of destinations, which stand among all `queues`."""

    def __init__(
        self,
        *,
        store: Store,
        queues: MutableMapping[str, EndpointQueue],
        clock: Callable[[], Micros],
        wake: Callable[[], None],
        put_back: Callable[[Delivery], None],
        retire: Callable[[Link], None],
    ) -> None:
        self._store = store
        self._queues = queues
        self._clock = clock
        self._wake = wake
        self._put_back = put_back
        self._retire = retire
        self._live: dict[str, CallbackQueue] = {}
        self._courier: Courier | None = None
        self._next_due: Micros | None = 0  # of all destinations that are not in hand; at the start nobody knows
        self._draining = False
        self._stirred = asyncio.Event()

    @property
    def enabled(self) -> bool:
        """Say whether anything is sent."""
        return self._courier is not None

    @property
    def live(self) -> int:
        """Return how many destinations have a queue."""
        return len(self._live)

    def stir(self) -> None:
        """Hear that the store has something new for a destination that is not in hand."""
        self._next_due = 0
        self._stirred.set()

    def set_courier(self, courier: Courier | None) -> Courier | None:
        """Send by other rules from now on, with None nothing more; return what sent until now, to be closed."""
        before, self._courier = self._courier, courier
        for queue in self._live.values():
            if courier is None:
                queue.leaving = True
                queue.breaker = queue.breaker.disable()  # nothing more goes out; what was begun ends
            else:
                if queue.breaker.state is State.DISABLED:
                    queue.breaker = queue.breaker.enable()
                self._retire(queue.relink(self._sender(courier, queue.callback), self._clock()))
        self.stir()
        return before

    def drain(self, *, hand_over: bool) -> None:
        """Take nothing more in hand; with `hand_over`, leave what is to others as soon as it is empty."""
        self._draining = True
        if hand_over:
            for queue in self._live.values():
                queue.leaving = True
            self._stirred.set()

    @property
    def _may_take(self) -> bool:
        return self._courier is not None and not self._draining

    async def close(self) -> None:
        """Let the senders go; after all else has ended."""
        for queue in self._live.values():
            if queue.timer is not None:
                queue.timer.cancel()
            await queue.link.sender.close()
        if self._courier is not None:
            await self._courier.close()

    async def run(self) -> None:
        """Take destinations in hand and let them go until cancelled."""
        while True:
            self._stirred.clear()
            pause = await self._turn()
            await asyncio.sleep(SOONEST)
            try:
                async with asyncio.timeout(pause):
                    await self._stirred.wait()
            except TimeoutError:
                pass  # it is time to look again

    async def _turn(self) -> float:
        """Let go and take; return the seconds until there is reason for more, if nobody stirs."""
        tick = asyncio.get_running_loop().time()
        waiting = self._may_take and self._next_due is not None and self._next_due <= self._clock()
        await self._let_go(self._leavers(tick, waiting=waiting))
        room = MAX_LIVE - len(self._live)
        if waiting and room > 0:
            await self._take(min(room, TAKEN), tick)
        elif waiting:
            self._stirred.clear()  # to stir does not make room
            return FULL_WAIT
        now = self._clock()
        pauses = [KEEP / 2]
        if self._may_take and self._next_due is not None:
            pauses.append(max(0.0, (self._next_due - now) / 1e6))
        if any(queue.leaving for queue in self._live.values()):
            pauses.append(FULL_WAIT)
        return min(pauses)

    def _leavers(self, tick: float, *, waiting: bool) -> list[CallbackQueue]:
        """Choose whom to let go of; mark those that have to make room, once they are empty."""
        now = self._clock()
        by_use = sorted(self._live.values(), key=lambda queue: queue.used)
        idle = [queue for queue in by_use if queue.idle(now)]
        leavers = [queue for queue in idle if queue.leaving or tick - queue.used >= KEEP]
        room = MAX_LIVE - len(self._live) + len(leavers)
        if waiting and room < TAKEN:
            rest = [queue for queue in idle if not queue.leaving and tick - queue.used < KEEP]
            leavers += rest[: TAKEN - room]
            if room + len(rest) < TAKEN:
                had_turn = [queue for queue in self._live.values() if tick - queue.since >= TURN]
                for queue in sorted(had_turn, key=lambda queue: queue.since)[:TAKEN]:
                    queue.leaving = True
        return leavers[:TAKEN]

    async def _let_go(self, leavers: Iterable[CallbackQueue]) -> None:
        """Let go of those that have nothing left; the others leave it to the store, and go the next time."""
        empty: list[CallbackQueue] = []
        for queue in leavers:
            queue.leaving = True
            if queue.timer is not None:
                queue.timer.cancel()
            for delivery in queue.empty():
                self._put_back(delivery)
            if not queue.aside:  # else something is this node's yet, and must not be while it is in nobody's hand
                empty.append(queue)
        if not empty:
            return
        now = self._clock()
        left = {queue.name: queue.standing(now) for queue in empty}
        for name in left:
            del self._live[name], self._queues[name]
        await self._store.leave_callbacks(left, now=now)
        self._next_due = 0  # what is due of them is known to the store alone
        for queue in empty:
            await queue.link.sender.close()

    async def _take(self, limit: int, tick: float) -> None:
        self._next_due = None
        found = await self._store.take_callbacks(limit, now=self._clock())
        if self._next_due is None:  # else somebody stirred meanwhile
            self._next_due = found.next_due
        courier = self._courier
        left: dict[str, CallbackHealth] = {}
        for callback, standing in found.taken:
            queue = self._live.get(callback.name)
            if queue is not None:
                queue.backlog = True
            elif courier is not None:
                queue = CallbackQueue(callback, standing, self._sender(courier, callback), since=tick)
                self._live[queue.name] = self._queues[queue.name] = queue
            else:  # switched off meanwhile
                left[callback.name] = standing
        if left:
            await self._store.leave_callbacks(left, now=self._clock())
        if found.taken:
            self._wake()

    def _sender(self, courier: Courier, callback: Callback) -> Sender:
        """Have a sender made; the boundary that keeps one destination's fault from all else."""
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
            return Unsendable(type(exc).__name__, self._clock)
