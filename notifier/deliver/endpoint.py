"""A destination that the configuration names: its health outlives a restart, operators hear of it, a metric shows it.

What attempts mean for its health is decided by the breaker (`core/breaker.py`); how a change of it is saved, by
`core/endpoint.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import ClassVar

import structlog

from notifier.core import endpoint
from notifier.core.breaker import WELL, Breaker, State
from notifier.core.condition import Condition, condition, explain, word
from notifier.core.endpoint import EndpointUpdate, News
from notifier.core.errors import StoreUnavailable
from notifier.core.model import EndpointState, Event, EventType, Micros
from notifier.core.recent import Shares
from notifier.core.retry import Delivered, Gone, Outcome
from notifier.deliver.destination import Lifecycle
from notifier.deliver.environment import EndpointPolicy, Environment
from notifier.deliver.gathering import GatheringDestination
from notifier.deliver.sender import Sender
from notifier.runtime.wake import Wake
from notifier.store import ChangedEndpoint, EndpointChange

log = structlog.get_logger(__name__)

# Commits an operators' event together with a change of an endpoint; None: the store is away, and the daemon stops.
# Raises StoreUnavailable if the store is away and the change does not wait for it.
Announce = Callable[[Event, EndpointChange], Awaitable[ChangedEndpoint | None]]


class EndpointDestination(GatheringDestination):
    """Sends to an endpoint of the configuration."""

    shared: ClassVar[bool] = False  # whether other nodes send to it as well

    def __init__(
        self,
        name: str,
        *,
        sender: Sender,
        policy: EndpointPolicy,
        environment: Environment,
        announce: Announce,
        saved: Wake,
    ) -> None:
        """Create an endpoint that is well; `saved` is set when the store has a new state of it."""
        super().__init__(name, label=name, sender=sender, policy=policy, environment=environment)
        self._announce = announce
        self._saved = saved
        self._commands = asyncio.Lock()  # an operator's command is decided after the one before it
        self._kept = EndpointState(name=name, fingerprint=policy.fingerprint)  # as the store has it
        self._disabled_reason: str | None = None
        self.accepted_at: Micros | None = None  # when it last accepted something of this process
        self.failed_at: Micros | None = None  # when an attempt of this process failed last
        self.failure: str | None = None  # and why

    @property
    def failing_since(self) -> Micros | None:
        """Return when the present run of failed attempts began; None: the last attempt was accepted."""
        return self._flow.breaker.failing_since

    @property
    def next_attempt(self) -> Micros | None:
        """Return the time before which no attempt is made; None: nothing holds attempts back, or it is disabled."""
        breaker = self._flow.breaker
        return None if breaker.state is State.CLOSED else breaker.wake_at()

    @property
    def disabled_reason(self) -> str | None:
        """Return why it is disabled; None: it is not."""
        return self._disabled_reason

    def condition(self, shares: Shares) -> tuple[Condition, str | None]:
        """Return its state in the words that people read, with the reason; `shares` are those of all nodes."""
        breaker, now = self._flow.breaker, self._clock()
        return condition(breaker, shares, now), explain(breaker, shares, now)

    # -- the configuration

    def update(self, policy: EndpointPolicy) -> None:
        """Take a new policy; another URL is another endpoint, and nothing is known of its health."""
        if policy.fingerprint != self._policy.fingerprint:
            self._flow.renew()
            self._disabled_reason = None
            self._kept = endpoint.unknown(self._kept, policy.fingerprint)
        super().update(policy)
        self.show()
        if not self._serves:
            self.clear()
        self.start()

    def remove(self) -> None:
        """Take nothing more, give back what was not begun, and leave the metrics.

        The sender is closed after its last attempt.
        """
        metrics = self._metrics
        for each in Condition:
            metrics.endpoint_state.remove(self.name, each.value)
        for gauge in (metrics.endpoint_in_flight_limit, metrics.endpoint_goodput, metrics.endpoint_refused_share):
            gauge.remove(self.name)
        self._phase = Lifecycle.REMOVED
        self._cancel_alarms()
        self._retire(self._link)
        self.clear()

    def restore(self, sender: Sender) -> None:
        """Go on after `remove`, with the health that was known before."""
        self._phase = Lifecycle.OPEN
        self.relink(sender)
        self._queue.expect()

    # -- its health

    async def disable(self, reason: str, detail: str) -> None:
        """Send no more, as an operator commands; its deliveries are kept, and operators hear of it.

        It holds once it is saved, and does not wait for a store that is away. Raises StoreUnavailable.
        """
        async with self._commands:
            extra = {"reason": reason, "detail": detail}
            update = endpoint.disabling(self._clock(), reason, self._flow.breaker.failing_since)
            changed = await self._commit(update, EventType.ENDPOINT_DISABLED, extra, hold=False)
            if not self._is_newest(changed.after):
                return
            before = self._flow.breaker
            self._flow.set_breaker(before.disable(), time.monotonic())
            self._kept = changed.after
            self._disabled_reason = changed.after.reason or "unknown"
            self.show()
            if before.state is not State.DISABLED:
                log.warning("endpoint.disabled", endpoint=self.name, **extra, hint="its deliveries are kept")
            self.clear()

    async def enable(self) -> None:
        """Send again, as an operator commands, whatever happened before.

        It holds once it is saved, and does not wait for a store that is away. Raises StoreUnavailable.
        """
        async with self._commands:
            before = self._flow.breaker
            was_disabled = before.state is State.DISABLED
            if was_disabled:
                extra = {"reason": "enabled"}
                changed = await self._commit(endpoint.enabling, EventType.ENDPOINT_RECOVERED, extra, hold=False)
            else:
                changed = await self._commit(endpoint.forgiving, hold=False)
            breaker = self._flow.breaker
            disabled_since = breaker.state is State.DISABLED and not was_disabled  # that is saved after this command
            if disabled_since or not self._is_newest(changed.after):
                return
            self._flow.set_breaker(breaker.enable(), time.monotonic())
            self._kept = changed.after
            self._disabled_reason = None
            self.show()
            if was_disabled:
                log.info("endpoint.enabled", endpoint=self.name)
            if before.failing_since is not None:
                self._hasten(before.failing_since)
            self._resume()

    def recall(self, state: EndpointState) -> None:
        """Take over its saved health, unless that was of another URL."""
        if self._policy.fingerprint != state.fingerprint:
            return
        breaker = self._flow.breaker
        if self.shared or state.disabled_at is not None:
            breaker = endpoint.adopt(breaker, state, self._clock())
        if state.disabled_at is not None:
            self._disabled_reason = state.reason or "unknown"
            log.warning(
                "endpoint.still_disabled",
                endpoint=self.name,
                reason=self._disabled_reason,
                hint=f"notifier endpoint enable {self.name}",
            )
        self._flow.set_breaker(replace(breaker, failing_since=state.failing_since), time.monotonic())
        self._kept = state
        self.show()

    async def _disable(self, reason: str, detail: str) -> None:
        """Send no more, at once; it is saved as soon as the store can be written."""
        if self._disabled_reason is not None:
            return
        self._flow.set_breaker(self._flow.breaker.disable(), time.monotonic())
        self._disabled_reason = reason
        self.show()
        log.error("endpoint.disabled", endpoint=self.name, reason=reason, detail=detail, hint="its deliveries are kept")
        update = endpoint.disabling(self._clock(), reason, self._flow.breaker.failing_since)
        await self._change(update, EventType.ENDPOINT_DISABLED, {"reason": reason, "detail": detail})

    def _resume(self) -> None:
        """Go on as the endpoint's state allows now."""
        if not self._serves or self._flow.breaker.state is State.DISABLED:
            self.clear()
            return
        self.expect()
        self.start_workers()

    def _state_changed(self, before: Breaker) -> None:
        self.show()
        super()._state_changed(before)

    async def _follow(self, outcome: Outcome, ended: Micros) -> None:
        """Save and announce a change of health after an attempt, even if another node owns the delivery now.

        Otherwise the breaker would be open in this node's memory alone: each of several nodes would leave the endpoint
        to another. An exception ends here.
        """
        if isinstance(outcome, Delivered):
            self.accepted_at, kept = ended, self._kept
            # It is well, and the store has nothing else of it: then an accepted attempt changes nothing.
            if self._flow.breaker is WELL and kept.failing_since is None and kept.held != State.OPEN and self._serves:
                return
        else:
            self.failed_at, self.failure = ended, outcome.detail or outcome.reason
        try:
            await self._save(outcome)
        except StoreUnavailable:
            pass  # it has been logged
        except Exception:
            log.exception("endpoint.not_kept", endpoint=self.name)
        if self._flow.breaker.state is State.DISABLED or not self._serves:
            self.clear()

    async def _save(self, outcome: Outcome) -> None:
        breaker, limit, now = self._flow.breaker, self._policy.disable_after, self._clock()
        if breaker.state is State.DISABLED:
            if isinstance(outcome, Gone):
                await self._disable(outcome.reason, outcome.detail)
            return
        since = breaker.failing_since
        if since is not None and breaker.should_disable(since + self._clock.elapsed(since, now), limit):
            await self._disable("failing", f"no success for {limit:g} s")
            return
        await self._tell_failing(breaker, outcome, now)
        match endpoint.news(breaker, self._kept, shared=self.shared):
            case News.SICK:
                dated = None if since is None else now - self._clock.elapsed(since, now)  # the clock may have been set
                await self._change(endpoint.failing(replace(breaker, failing_since=dated)))
            case News.WELL:
                since = self._kept.failing_since or now
                extra = {"reason": "answers again", "failed_seconds": round(self._clock.elapsed(since, now) / 1e6, 3)}
                if await self._change(endpoint.recovering(breaker), EventType.ENDPOINT_RECOVERED, extra):
                    self._hasten(since)
            case News.NONE:
                pass

    async def _tell_failing(self, breaker: Breaker, outcome: Outcome, now: Micros) -> None:
        """Have operators hear once that nothing was accepted for long."""
        after, since = self._policy.failing_after, breaker.fails_since
        if after is None or since is None or self._kept.reason is not None or isinstance(outcome, Delivered):
            return
        seconds = breaker.fails_for(since + self._clock.elapsed(since, now))
        if seconds < after:
            return
        detail = explain(breaker, self._flow.recent.shares(time.monotonic()), now) or outcome.detail
        extra = {"reason": outcome.reason, "detail": detail, "failing_seconds": round(seconds, 3)}
        log.warning("endpoint.failing", endpoint=self.name, **extra)
        await self._change(endpoint.announcing(now - round(seconds * 1e6)), EventType.ENDPOINT_FAILING, extra)

    async def _change(
        self, update: EndpointUpdate, event_type: EventType | None = None, extra: Mapping[str, object] | None = None
    ) -> bool:
        """Take a change, and save it once the store can be written; return whether there was anything to change."""
        version = self._kept.version
        self._kept = update(self._kept) or self._kept  # at once, for the attempts that end before it is saved
        changed = await self._commit(update, event_type, extra, hold=True)
        if changed.done and self._kept.version == version:
            self._kept = changed.after
        else:
            self._take_over(changed.after)
        return changed.done

    async def _commit(
        self,
        update: EndpointUpdate,
        event_type: EventType | None = None,
        extra: Mapping[str, object] | None = None,
        *,
        hold: bool,
    ) -> ChangedEndpoint:
        """Save a change, with an event for operators if it has a type. Without `hold` it fails while the store is away.

        Changes are saved in the order of these calls. Raises StoreUnavailable.
        """
        change = EndpointChange(name=self.name, fingerprint=self._policy.fingerprint, update=update, hold=hold)
        if event_type is None:
            changed = await self._store.endpoints.change(change)
        else:
            event = Event(type=event_type, at=self._clock(), extra={"endpoint": self.name, **(extra or {})})
            announced = await self._announce(event, change)
            if announced is None:
                raise StoreUnavailable("the daemon stops, and nothing was saved")
            changed = announced
        self._saved.set()
        return changed

    def _is_newest(self, state: EndpointState) -> bool:
        """Return whether nothing newer is known than a saved state of this URL."""
        return state.version >= self._kept.version and state.fingerprint == self._policy.fingerprint

    def _take_over(self, state: EndpointState) -> None:
        """Take over the findings of another node, or an operator's command there."""
        if state.version <= self._kept.version or state.fingerprint != self._policy.fingerprint:
            return
        before = self._flow.breaker
        breaker = endpoint.adopt(before, state, self._clock())
        self._flow.set_breaker(breaker, time.monotonic())
        self._kept = state
        self._disabled_reason = None if state.disabled_at is None else state.reason or "unknown"
        self.show()
        if breaker.state is not before.state:
            fields = {} if self._disabled_reason is None else {"reason": self._disabled_reason}
            now, was = word(breaker.state), word(before.state)
            if now is not was:
                log.info(
                    "endpoint.state", endpoint=self.name, state=now.value, was=was.value, by="another node", **fields
                )

    def show(self) -> None:
        """Set the metrics of its state and its flow, unless it has left them."""
        if self._phase is Lifecycle.REMOVED:
            return
        tick = time.monotonic()
        shares, metrics = self._flow.recent.shares(tick), self._metrics
        now = condition(self._flow.breaker, shares, self._clock())
        for each in Condition:
            metrics.endpoint_state.labels(self.name, each.value).set(1 if each is now else 0)
        metrics.endpoint_in_flight_limit.labels(self.name).set(self._flow.limit)
        metrics.endpoint_goodput.labels(self.name).set(shares.goodput)
        metrics.endpoint_refused_share.labels(self.name).set(shares.share)
