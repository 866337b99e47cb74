"""A destination that came with watches: it is in hand for a while, and the store remembers it in between."""

from __future__ import annotations

import time

from notifier.core.breaker import Breaker, State
from notifier.core.callback import LABEL, Callback
from notifier.core.flow import Ticket
from notifier.core.model import Delivery, Micros
from notifier.deliver.destination import Destination, Lifecycle
from notifier.deliver.environment import EndpointPolicy, Environment
from notifier.deliver.sender import Sender
from notifier.store import CallbackHealth


class CallbackDestination(Destination):
    """Sends to the callback of watches."""

    def __init__(
        self,
        callback: Callback,
        *,
        health: CallbackHealth,
        sender: Sender,
        policy: EndpointPolicy,
        environment: Environment,
        tick: float,
    ) -> None:
        """Take a destination in hand with the health that the store remembers; `tick` is the loop's time in seconds."""
        super().__init__(callback.name, label=LABEL, sender=sender, policy=policy, environment=environment)
        self.callback = callback
        self.taken_at = tick
        self._used_at = tick
        self._leaving = False
        if health.rounds:  # it was failing: a probe first
            self._flow.set_breaker(
                Breaker(
                    state=State.OPEN,
                    not_before=health.held_until or 0,
                    failures=1,
                    failing_since=0,  # nobody remembers
                    rounds=health.rounds,
                ),
                tick,
            )

    @property
    def leaving(self) -> bool:
        """Return whether it takes nothing more, and is let go of once it is empty."""
        return self._leaving

    @property
    def used_at(self) -> float:
        """Return when an attempt was begun last, by the loop's clock."""
        return self._used_at

    def health(self, now: Micros) -> CallbackHealth:
        """Return the health for the store to remember."""
        breaker = self._flow.breaker
        if breaker.state in (State.CLOSED, State.DISABLED):
            return CallbackHealth()
        held = max(now, breaker.not_before) if breaker.since <= now else now  # the clock was set back since
        return CallbackHealth(held_until=held, rounds=0 if breaker.state is State.THROTTLED else max(1, breaker.rounds))

    def idle(self, now: Micros) -> bool:
        """Return whether memory holds nothing to do for it, or nothing that may be done for now."""
        queue = self._queue
        if self._flow.in_flight or queue.reserved or self._workers or self._aside or self._claiming:
            return False
        if not self._flow.breaker.ready(now):
            return True
        if queue.waiting or self._leaving:
            return not queue.waiting  # one that leaves asks the store for no more, whatever there is
        return not queue.backlog and (queue.next_due is None or queue.next_due > now)

    def leave(self) -> None:
        """Take nothing more from now on."""
        self._leaving = True

    def let_go(self) -> bool:
        """Give back what was not begun; return whether this node owns none of its deliveries any more."""
        self._leaving = True
        self._cancel_alarms()
        self.clear()
        return not self._aside

    def switch_off(self) -> None:
        """Send nothing more, and leave; attempts in flight end."""
        self._leaving = True
        self._flow.set_breaker(self._flow.breaker.disable(), time.monotonic())

    def switch_on(self, sender: Sender) -> None:
        """Send by other rules from now on."""
        if self._flow.breaker.state is State.DISABLED:
            self._flow.set_breaker(self._flow.breaker.enable(), time.monotonic())
        self.relink(sender)
        self.start_workers()  # they ended while callbacks were switched off

    def drain(self, *, hand_over: bool) -> None:
        """Begin nothing more; with `hand_over`, leave as soon as this node owns none of its deliveries."""
        self._leaving = self._leaving or hand_over
        super().drain(hand_over=hand_over)

    @property
    def _accepts(self) -> bool:
        return self._phase is Lifecycle.OPEN and not self._leaving

    @property
    def _url(self) -> str | None:
        return self.callback.origin

    async def _deliver(self, delivery: Delivery, ticket: Ticket) -> None:
        self._used_at = ticket.tick
        await super()._deliver(delivery, ticket)

    def _state_changed(self, before: Breaker) -> None:
        super()._state_changed(before)
        if self._flow.breaker.state is State.CLOSED and before.failing_since is not None:
            self._hasten(before.failing_since)
