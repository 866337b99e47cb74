"""Sends deliveries as webhooks: the headers of Standard Webhooks 1.0.0, signed in the form that the receiver knows.

The bytes that are signed are the bytes that are sent.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable, Mapping

from multidict import CIMultiDict

from notifier import __version__
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Outcome, Rejected, classify_http
from notifier.core.signers import Signer
from notifier.senders.body import StillOurs, always
from notifier.senders.connections import Connections
from notifier.senders.exchange import Exchange
from notifier.senders.vetting import Vet

USER_AGENT = f"notifier/{__version__}"


class WebhookSender:
    """Sends to one URL. `headers` may replace `content-type`, `user-agent` and `authorization`, and nothing else.

    `template` makes the body, else it is the event as it was stored. `vet` keeps a URL that a stranger named from
    leading into networks that are none of their business. `connections` are shared with others, and stay open.
    """

    def __init__(
        self,
        *,
        url: str,
        signer: Signer,
        timeout: float,
        headers: Mapping[str, str],
        max_in_flight: int,
        clock: Callable[[], Micros],
        user_agent: str = USER_AGENT,
        ssl: tls.SSLContext | bool = True,
        proxy: str | None = None,
        vet: Vet | None = None,
        template: str | None = None,
        connections: Connections | None = None,
    ) -> None:
        self._exchange = Exchange(
            url=url,
            timeout=timeout,
            max_in_flight=max_in_flight,
            ssl=ssl,
            clock=clock,
            proxy=proxy,
            vet=vet,
            hide=headers.values(),
            connections=connections,
        )
        self._signer = signer
        self._body: Callable[[Delivery], bytes | Rejected] = _stored
        if template is not None:
            from notifier.senders.templated import Templated  # here, for Jinja2 takes 40 ms to load

            self._body = Templated(template).json
        self._clock = clock
        self._headers = CIMultiDict({"content-type": "application/json", "user-agent": user_agent, "accept": "*/*"})
        if self._exchange.authorization is not None:
            self._headers["authorization"] = self._exchange.authorization
        self._headers.update(headers)
        self._headers["accept-encoding"] = "identity"

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once, with a timestamp and signatures of now. Never raises but for cancellation."""
        now = self._clock()
        body = self._body(delivery)
        if isinstance(body, Rejected):
            return Attempt(at=now, outcome=body)
        seconds = now // 1_000_000
        headers = self._headers.copy()
        headers["webhook-id"] = delivery.event_id
        headers["webhook-timestamp"] = str(seconds)
        headers.extend(self._signer.headers(delivery.event_id, seconds, body))
        return await self._exchange.post(body, headers, self._judge, at=now, still_ours=still_ours)

    async def close(self) -> None:
        """Close every connection; the caller has waited for its attempts."""
        await self._exchange.close()

    def _judge(self, status: int, _text: str, headers: Mapping[str, str], now: Micros) -> Outcome:
        return classify_http(status, headers, now=now, hide=self._exchange.secrets)


def _stored(delivery: Delivery) -> bytes:
    return delivery.body
