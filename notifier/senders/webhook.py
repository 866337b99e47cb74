"""Sends deliveries as webhooks: the headers of Standard Webhooks 1.0.0, signed in the form that the receiver knows.

The bytes that are signed are the bytes that are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Outcome, Rejected, classify_http
from notifier.core.signers import Signer
from notifier.senders import cloudevents
from notifier.senders.connections import Connections, StillOurs, always
from notifier.senders.exchange import Exchange
from notifier.senders.target import Target

Format = Literal["standard", "cloudevents"]  # of the body


class WebhookSender:
    """Sends to one URL. The target's headers may replace `content-type`, `user-agent` and `authorization` only."""

    def __init__(
        self,
        target: Target,
        *,
        signer: Signer,
        clock: Callable[[], Micros],
        format: Format = "standard",
        template: str | None = None,
        connections: Connections | None = None,
    ) -> None:
        """Send the event as it was stored, as a CloudEvent (`format`), or the JSON that `template` makes of it.

        `connections`, where given, take the place of connections of its own; `close` releases them.
        """
        content_type = "application/json" if format == "standard" else cloudevents.CONTENT_TYPE
        self._exchange = Exchange(target, content_type=content_type, clock=clock, connections=connections)
        self._signer = signer
        self._made: Callable[[Delivery], bytes | Rejected] | None = None  # None: the body is sent as it was stored
        if format == "cloudevents":
            self._made = cloudevents.structured
        if template is not None:
            from notifier.senders.template import Renderer  # imported here, since Jinja2 takes 40 ms to load

            self._made = Renderer(template).json
        self._clock = clock

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once, with the present timestamp and signatures. Raises nothing but CancelledError."""
        now = self._clock()
        body = delivery.body if self._made is None else self._made(delivery)
        if isinstance(body, Rejected):
            return Attempt(at=now, outcome=body)
        seconds = now // 1_000_000
        headers = (
            ("webhook-id", delivery.event_id),
            ("webhook-timestamp", str(seconds)),
            *self._signer.headers(delivery.event_id, seconds, body),
        )
        if delivery.traceparent is not None:
            headers = (*headers, ("traceparent", delivery.traceparent))
        return await self._exchange.post(body, headers, self._judge, at=now, still_ours=still_ours)

    async def close(self) -> None:
        """Release the connections; the caller has waited for its attempts."""
        self._exchange.close()

    def _judge(self, status: int, _text: str, headers: Mapping[str, str], now: Micros) -> Outcome:
        return classify_http(status, headers, now=now, hide=self._exchange.secrets)
