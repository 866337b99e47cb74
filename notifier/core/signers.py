"""The header that proves a message's origin, in each form that receivers know. Pure.

Each form signs the very bytes that are sent. Standard Webhooks is preferred: it covers id and time, and carries one
signature for each secret, so that secrets can be replaced without a gap. The others are for existing receivers.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Protocol

from notifier.core.signing import Key, sign

PLAIN_SECRET_BYTES = 16  # at least; those forms have no standard that says so, and a secret can be guessed offline


class Signer(Protocol):
    """Signs messages in one form."""

    def headers(self, message_id: str, timestamp: int, body: bytes) -> tuple[tuple[str, str], ...]:
        """Return names and values of the headers to send beside `webhook-id` and `webhook-timestamp` (Unix seconds)."""
        ...


class StandardSigner:
    """Signs by Standard Webhooks 1.0.0: id, timestamp and body; a signature for each key."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def headers(self, message_id: str, timestamp: int, body: bytes) -> tuple[tuple[str, str], ...]:
        """Return `webhook-signature`."""
        return (("webhook-signature", sign(self._keys, message_id, timestamp, body)),)


class GithubSigner:
    """Signs as GitHub does: the body alone, with one secret.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """

    def __init__(self, secret: str) -> None:
        self._mac = _keyed(secret)

    def headers(self, _message_id: str, _timestamp: int, body: bytes) -> tuple[tuple[str, str], ...]:
        """Return `X-Hub-Signature-256`."""
        return (("X-Hub-Signature-256", f"sha256={_hex(self._mac, body)}"),)


class StripeSigner:
    """Signs as Stripe does: timestamp and body; a signature for each secret.

    The key is the secret's text, unchanged, `whsec_` included.
    https://docs.stripe.com/webhooks#verify-manually
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._macs = tuple(map(_keyed, secrets))

    def headers(self, _message_id: str, timestamp: int, body: bytes) -> tuple[tuple[str, str], ...]:
        """Return `Stripe-Signature`."""
        signed = f"{timestamp}.".encode()
        signatures = [f"v1={_hex(mac, signed, body)}" for mac in self._macs]
        return (("Stripe-Signature", ",".join([f"t={timestamp}", *signatures])),)


class Unsigned:
    """Signs nothing."""

    def headers(self, _message_id: str, _timestamp: int, _body: bytes) -> tuple[tuple[str, str], ...]:
        """Return no headers."""
        return ()


def _keyed(secret: str) -> hmac.HMAC:
    return hmac.new(secret.encode(), digestmod="sha256")


def _hex(mac: hmac.HMAC, *parts: bytes) -> str:
    mac = mac.copy()  # keyed once; each message uses a copy
    for part in parts:
        mac.update(part)
    return mac.hexdigest()
