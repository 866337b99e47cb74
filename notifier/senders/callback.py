"""Sends to URLs that came with watches: each signed with its own secret, all over connections that they share.

What is allowed is asked twice: of the URL, when a sender is made for it, since the rules may be others now than when it
came; and of every address that is connected to (`vetting`). There is no proxy: behind one, nothing could be vetted.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Awaitable, Callable
from dataclasses import replace

from notifier.core.callback import Callback
from notifier.core.callback_policy import CallbackPolicy
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Failed, Gone, Rejected
from notifier.core.signers import StandardSigner
from notifier.core.signing import SecretError, decode_secret
from notifier.senders.body import StillOurs, always
from notifier.senders.connections import Connections
from notifier.senders.refusing import Refusing
from notifier.senders.webhook import WebhookSender

TIMEOUT = 15.0  # seconds of an attempt, the default of endpoints


class CallbackCourier:
    """Makes senders to destinations; its connections are closed once it and all of them are."""

    def __init__(
        self,
        *,
        policy: CallbackPolicy,
        secret: str,
        clock: Callable[[], Micros],
        user_agent: str,
        timeout: float = TIMEOUT,
        ssl: tls.SSLContext | bool = True,
    ) -> None:
        self._policy = policy
        self._secret = secret
        self._clock = clock
        self._user_agent = user_agent
        self._timeout = timeout
        # How many are open is bounded by the queues: so many destinations, so many in flight to each.
        self._connections = Connections(limit=0, ssl=ssl, vet=policy.forbids)
        self._users = 1  # itself, until it is closed

    def sender(self, callback: Callback) -> CallbackSender:
        """Make a sender to one destination, to be closed."""
        way = self._way(callback)
        self._users += 1
        return CallbackSender(way, closed=self.close)

    async def close(self) -> None:
        """Hear that one of those who use the connections, itself included, does so no more."""
        self._users -= 1
        if not self._users:
            await self._connections.close()

    def _way(self, callback: Callback) -> WebhookSender | Refusing:
        refusal = self._policy.refusal(callback.url)
        if refusal is not None:  # to be tried again: rules can be put right
            return Refusing(Failed(reason="forbidden_url", detail=refusal), self._clock)
        try:
            signer = StandardSigner([decode_secret(callback.secret or self._secret)])
        except SecretError as exc:  # of a row that was written otherwise than by an intake, which reads it as well
            detail = f"the callback_secret in the database cannot sign: {exc}"
            return Refusing(Rejected(reason="unreadable_secret", detail=detail, well=None), self._clock)
        return WebhookSender(
            url=callback.url,
            signer=signer,
            timeout=self._timeout,
            headers={},
            max_in_flight=0,
            clock=self._clock,
            user_agent=self._user_agent,
            connections=self._connections,
        )


class CallbackSender:
    """Sends to one destination."""

    def __init__(self, way: WebhookSender | Refusing, *, closed: Callable[[], Awaitable[None]]) -> None:
        self._way = way
        self._closed = closed

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once.

        A destination that is gone takes this delivery with it: it has no name by which anybody could enable it again.
        """
        attempt = await self._way.send(delivery, still_ours)
        if isinstance(attempt.outcome, Gone):
            rejected = Rejected(reason=attempt.outcome.reason, detail=attempt.outcome.detail)
            return replace(attempt, outcome=rejected)
        return attempt

    async def close(self) -> None:
        """Let go of the shared connections."""
        await self._way.close()
        await self._closed()
