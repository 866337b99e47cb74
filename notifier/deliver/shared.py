"""An endpoint that other nodes send to as well: one node serves it while only one may, and all know its health.

Which node leads is settled in the store (`core/endpoint.py`, `cluster/leadership.py`).
"""

from __future__ import annotations

from typing import ClassVar

import structlog

from notifier.core.breaker import State
from notifier.core.endpoint import LeaderRequest, needs_leader
from notifier.core.flow import Ticket
from notifier.core.model import EndpointState, Micros
from notifier.core.retry import Outcome
from notifier.deliver.endpoint import EndpointDestination

log = structlog.get_logger(__name__)


class SharedDestination(EndpointDestination):
    """Sends to an endpoint that other nodes send to as well."""

    shared: ClassVar[bool] = True
    _leading = False
    _passing = False  # the lead is to go to another node: a probe of this one failed

    @property
    def leading(self) -> bool:
        """Return whether this node serves it, where only one node may."""
        return self._leading

    @property
    def request(self) -> LeaderRequest:
        """Return what this node asks of the nodes that could lead."""
        policy = self._policy
        return LeaderRequest(
            fingerprint=policy.fingerprint, limited=policy.rate_limit is not None, passing=self._passing
        )

    def adopt(self, state: EndpointState, *, leading: bool, tick: float) -> None:
        """Take over the findings of other nodes, and serve the endpoint or leave it; `tick` is the loop's time."""
        before = (self._serves, self._flow.breaker)
        self._take_over(state)
        self.lead(leading, tick)
        if (self._serves, self._flow.breaker) != before:
            self._resume()

    def lead(self, leading: bool, tick: float = 0.0) -> None:
        """Serve the endpoint for all nodes, or leave that to another."""
        if leading != self._leading:
            log.info("endpoint.lead", endpoint=self.name, leading=leading)
            if leading:
                self._flow.delay(tick)  # the leader until now may have sent a moment ago
        self._leading = leading
        self._passing = False

    def remove(self) -> None:
        """Take nothing more, give everything back, and leave the endpoint to another node."""
        self.lead(False)
        super().remove()

    def forget(self) -> None:
        """Drop everything: it is other nodes' now, and so is the lead."""
        self.lead(False)
        super().forget()

    @property
    def _serves(self) -> bool:
        return self._leading or not needs_leader(self._flow.breaker.state, limited=self._policy.rate_limit is not None)

    def _judge(self, outcome: Outcome, ticket: Ticket, now: Micros) -> None:
        before = self._flow.breaker.state
        super()._judge(outcome, ticket, now)
        if ticket.probe and self._flow.breaker.state is State.OPEN is not before:
            self._passing = self._leading
