"""Sends deliveries to a Slack incoming webhook, or a service that copied its shape.

One message a second is all that Slack allows for a URL; that is the dispatcher's to keep. Slack has no idempotency key:
whether a message whose fate is unknown is sent again, and perhaps shown twice, is a setting.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import structlog
from multidict import CIMultiDict

from notifier.core.model import Delivery, Json, Micros
from notifier.core.payload import encode
from notifier.core.retry import Attempt, Failed, Outcome, Rejected
from notifier.senders.body import StillOurs, always
from notifier.senders.exchange import Exchange
from notifier.senders.notice import read
from notifier.senders.services import ServiceName, load
from notifier.senders.webhook import USER_AGENT

MAX_IN_FLIGHT = 4  # connections; at one message a second a reply has four seconds before the next waits for it
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

log = structlog.stdlib.get_logger()


class SlackSender:
    """Sends to one incoming webhook's URL, whose path is its password."""

    def __init__(
        self,
        *,
        url: str,
        timeout: float,
        clock: Callable[[], Micros],
        retry_on_timeout: bool,
        service: ServiceName = "slack",
        template: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        max_in_flight: int = MAX_IN_FLIGHT,
        user_agent: str = USER_AGENT,
        ssl: tls.SSLContext | bool = True,
        proxy: str | None = None,
    ) -> None:
        self._service = load(service)  # loaded here, not by the first send
        self._text: Callable[[Delivery], str | Rejected] | None = None
        if template is not None:
            from notifier.senders.templated import Templated  # here, for Jinja2 takes 40 ms to load

            self._text = Templated(template).text
        self._exchange = Exchange(
            url=url,
            timeout=timeout,
            max_in_flight=max_in_flight,
            ssl=ssl,
            clock=clock,
            proxy=proxy,
            hide=headers.values(),
        )
        self._clock = clock
        self._retry_on_timeout = retry_on_timeout
        self._headers = CIMultiDict({"content-type": "application/json; charset=utf-8", "user-agent": user_agent})
        if self._exchange.authorization is not None:
            self._headers["authorization"] = self._exchange.authorization
        self._headers.update(headers)
        self._headers["accept-encoding"] = "identity"

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once. Never raises but for cancellation."""
        now = self._clock()
        try:
            message = self._message(delivery)
            if isinstance(message, Rejected):
                return Attempt(at=now, outcome=message)
            body = encode(message)
        except Exception as exc:  # the boundary of an attempt, as in `Exchange`; it would fail the same way each time
            log.exception("sender.unexpected_error", endpoint=delivery.endpoint, delivery=delivery.id)
            detail = f"a fault of this program: {type(exc).__name__}"
            return Attempt(at=now, outcome=Rejected(reason="internal", detail=detail, well=None))
        attempt = await self._exchange.post(body, self._headers.copy(), self._judge, at=now, still_ours=still_ours)
        outcome = attempt.outcome
        if self._retry_on_timeout or attempt.address is None:  # without an address, it was never on its way
            return attempt
        if isinstance(outcome, Failed) and outcome.reason == "timeout":
            detail = f"{outcome.detail}; it may have been shown, and is not sent again (retry_on_timeout)"
            return replace(attempt, outcome=Rejected(reason="timeout", detail=detail, well=False))
        return attempt

    async def close(self) -> None:
        """Close every connection; the caller has waited for its attempts."""
        await self._exchange.close()

    def _message(self, delivery: Delivery) -> Json | Rejected:
        if self._text is None:
            return self._service.message(read(delivery))
        text = self._text(delivery)
        return text if isinstance(text, Rejected) else self._service.text(text)

    def _judge(self, status: int, text: str, headers: Mapping[str, str], now: Micros) -> Outcome:
        return self._service.judge(status, text, headers, now=now, hide=self._exchange.secrets)
