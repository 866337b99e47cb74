"""Attempts of one destination: each made through its sender, within a span, and counted. It decides nothing."""

from __future__ import annotations

from dataclasses import replace

import structlog

from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Delivered, Failed, Outcome
from notifier.deliver.environment import Environment
from notifier.deliver.sender import Sender, StillOurs
from notifier.runtime.counters import Counter, Histogram
from notifier.runtime.tracing import UNTRACED

log = structlog.get_logger(__name__)


class Attempts:
    """Makes attempts and counts them; `label` stands for the destination in metrics."""

    def __init__(self, name: str, *, label: str, environment: Environment) -> None:
        self._name = name
        self._label = label
        self._metrics = environment.metrics
        self._tracing = environment.tracing
        self._clock = environment.clock
        self._counters: dict[type[Outcome], Counter] = {}  # looking one up by its labels is slow
        self._latency: Histogram | None = None

    async def make(self, sender: Sender, delivery: Delivery, still_ours: StillOurs) -> Attempt:
        """Try once to send a delivery. Raises nothing but CancelledError."""
        if self._tracing is UNTRACED:
            return await self._try(sender, delivery, still_ours)
        about = {
            "notifier.endpoint": self._name,
            "notifier.event": delivery.event_id,
            "notifier.type": delivery.event_type,
        }
        with self._tracing.span("attempt", delivery.traceparent, about, request=True) as span:
            if span.traceparent != delivery.traceparent:
                delivery = replace(delivery, traceparent=span.traceparent)
            attempt = await self._try(sender, delivery, still_ours)
            if attempt.status is not None:
                span.note(**{"http.response.status_code": attempt.status})
            if not isinstance(attempt.outcome, Delivered):
                span.fail(attempt.outcome.reason)
            return attempt

    async def _try(self, sender: Sender, delivery: Delivery, still_ours: StillOurs) -> Attempt:
        began = self._clock()
        try:
            return await sender.send(delivery, still_ours)
        except Exception as exc:  # a sender must not raise; it costs an attempt, so that it cannot go on
            log.exception("sender.raised", delivery=delivery.id, endpoint=self._name)
            detail = f"a fault of this program: {type(exc).__name__}"
            return Attempt(at=began, outcome=Failed(reason="internal", detail=detail, proves=False))

    def count(self, outcome: Outcome, delivery: Delivery, now: Micros) -> None:
        """Count an outcome, and measure how long after its observation a delivery was accepted."""
        kind = type(outcome)
        counter = self._counters.get(kind)
        if counter is None:
            counter = self._counters[kind] = self._metrics.attempts.labels(self._label, kind.__name__.lower())
        counter.value += 1
        if isinstance(outcome, Delivered):
            if self._latency is None:
                self._latency = self._metrics.latency.labels(self._label)
            self._latency.observe(max(0, now - delivery.observed_at) / 1e6)
