"""Sends to URLs that came with watches: each signed with its own secret, all over shared connections.

The rules are applied twice: to the URL when a sender is created, since they may have changed after the watch came, and
to every address that is dialled (`runtime/http1/names.py`). There is no proxy: it would dial addresses that nobody
vetted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from notifier.core.callback import Callback, CallbackPolicy
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Failed, Gone, Rejected
from notifier.core.signers import StandardSigner
from notifier.core.signing import SecretError, decode_secret
from notifier.runtime.tls import Trust
from notifier.senders.connections import Connections, StillOurs, always
from notifier.senders.refusing import Refusing
from notifier.senders.target import USER_AGENT, Target
from notifier.senders.webhook import WebhookSender

TIMEOUT = 15.0  # seconds of an attempt, the default of endpoints


class CallbackCourier:
    """Creates senders to destinations. Its connections are closed once it and all its senders are closed."""

    def __init__(
        self,
        *,
        policy: CallbackPolicy,
        secret: str,
        clock: Callable[[], Micros],
        user_agent: str = USER_AGENT,
        timeout: float = TIMEOUT,
        ssl: Trust = True,
    ) -> None:
        self._policy = policy
        self._secret = secret
        self._clock = clock
        self._user_agent = user_agent
        self._timeout = timeout
        # The queues bound how many are open: by the number of destinations and of deliveries in flight to each.
        self._connections = Connections(limit=0, ssl=ssl, policy=policy)

    def sender(self, callback: Callback) -> CallbackSender:
        """Create a sender to one destination; the caller closes it."""
        refusal = self._policy.refusal(callback.url)
        if refusal is not None:  # tried again later: an operator may change the rules
            return CallbackSender(Refusing(Failed(reason="forbidden_url", detail=refusal), self._clock))
        secret = callback.secret or self._secret
        try:
            signer = StandardSigner([decode_secret(secret)])
        except SecretError as exc:  # an intake would have refused it, so something else wrote the row
            detail = f"the callback_secret in the database cannot sign: {exc}"
            return CallbackSender(Refusing(Rejected(reason="unreadable_secret", detail=detail, well=None), self._clock))
        target = Target(url=callback.url, timeout=self._timeout, user_agent=self._user_agent, signed_with=(secret,))
        return CallbackSender(
            WebhookSender(target, signer=signer, clock=self._clock, connections=self._connections.share())
        )

    async def close(self) -> None:
        """Create no more senders; those that there are go on until they are closed."""
        self._connections.release()


class CallbackSender:
    """Sends to one destination."""

    def __init__(self, inner: WebhookSender | Refusing) -> None:
        self._inner = inner

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once.

        A destination that is gone ends this delivery: the destination has no name by which to enable it again.
        """
        attempt = await self._inner.send(delivery, still_ours)
        if isinstance(attempt.outcome, Gone):
            rejected = Rejected(reason=attempt.outcome.reason, detail=attempt.outcome.detail)
            return replace(attempt, outcome=rejected)
        return attempt

    async def close(self) -> None:
        """Release the shared connections."""
        await self._inner.close()
