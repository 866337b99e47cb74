"""Sends deliveries to the incoming webhook of a chat service: Slack and the others in `services`.

Slack allows one message a second for a URL; the dispatcher keeps that rate. Chat services have no idempotency key: a
setting decides whether a message is sent again, and perhaps shown twice, if nobody knows what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from notifier.core.model import Delivery, Json, Micros
from notifier.core.payload import encode
from notifier.core.retry import Attempt, Outcome, Rejected
from notifier.senders.connections import StillOurs, always
from notifier.senders.exchange import Exchange
from notifier.senders.notice import NOTHING, Additions, read
from notifier.senders.services import ServiceName, load
from notifier.senders.shown import unless_shown
from notifier.senders.target import Target

log = structlog.stdlib.get_logger()


class ChatSender:
    """Sends to one incoming webhook's URL, whose path is its password."""

    def __init__(
        self,
        target: Target,
        *,
        clock: Callable[[], Micros],
        retry_on_timeout: bool,
        service: ServiceName = "slack",
        template: str | None = None,
        additions: Additions = NOTHING,
    ) -> None:
        """Send the service's own form of the event with `additions`, or the text that `template` makes of it."""
        self._additions = additions
        self._service = load(service)  # loaded here, so that no attempt waits for it
        self._text: Callable[[Delivery], str | Rejected] | None = None
        if template is not None:
            from notifier.senders.template import Renderer  # imported here, since Jinja2 takes 40 ms to load

            self._text = Renderer(template).text
        self._exchange = Exchange(target, content_type="application/json; charset=utf-8", clock=clock)
        self._clock = clock
        self._retry_on_timeout = retry_on_timeout

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once. Raises nothing but CancelledError."""
        now = self._clock()
        try:
            message = self._message(delivery)
            if isinstance(message, Rejected):
                return Attempt(at=now, outcome=message)
            body = encode(message)
        except Exception as exc:  # the boundary of an attempt, as in `Exchange`; a retry would fail the same way
            log.exception("sender.unexpected_error", endpoint=delivery.endpoint, delivery=delivery.id)
            detail = f"a fault of this program: {type(exc).__name__}"
            return Attempt(at=now, outcome=Rejected(reason="internal", detail=detail, well=None))
        attempt = await self._exchange.post(body, (), self._judge, at=now, still_ours=still_ours)
        return unless_shown(attempt, retry=self._retry_on_timeout)

    async def close(self) -> None:
        """Release the connections; the caller has waited for its attempts."""
        self._exchange.close()

    def _message(self, delivery: Delivery) -> Json | Rejected:
        if self._text is None:
            return self._service.message(read(delivery, self._additions))
        text = self._text(delivery)
        return text if isinstance(text, Rejected) else self._service.text(text)

    def _judge(self, status: int, text: str, headers: Mapping[str, str], now: Micros) -> Outcome:
        return self._service.judge(status, text, headers, now=now, hide=self._exchange.secrets)
