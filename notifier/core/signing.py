"""Signs and verifies messages by Standard Webhooks 1.0.0. Pure: entropy and `now` are arguments.

A signature covers `{id}.{timestamp}.{body}`; it is `v1,` and HMAC-SHA256 or `v1a,` and ed25519, both in base64. Keys
are decoded once and hold prepared state, since every attempt signs. No error and no `repr` contains a secret.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from notifier.core.errors import NotifierError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    from notifier.core.model import Micros

SECRET_PREFIX = "whsec_"  # symmetric secret
SIGNING_PREFIX = "whsk_"  # ed25519 seed and public key
PUBLIC_PREFIX = "whpk_"  # ed25519 public key
SECRET_BYTES = range(24, 65)  # Standard Webhooks, "Signature scheme": 24 to 64 bytes
TOLERANCE = 300  # seconds that a timestamp may differ from now
_SEED_BYTES = 32
_BLOCK = 64  # bytes, of SHA-256
_TIMESTAMP = re.compile(r"[0-9]{1,12}")  # whole seconds; twelve digits suffice for thirty thousand years


class SecretError(NotifierError, ValueError):
    """The secret cannot be used."""


class SignatureError(NotifierError):
    """The message has no valid signature."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason  # `missing_header`, `bad_timestamp`, `too_old`, `too_new`, `no_signature` or `mismatch`


class SymmetricKey:
    """Signs and verifies with HMAC-SHA256 (`v1`)."""

    __slots__ = ("_inner", "_outer")
    version = "v1"

    def __init__(self, secret: bytes) -> None:
        # HMAC (RFC 2104) over hashlib, keyed once: copies of `hmac.HMAC` take twice as long.
        key = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in key))

    def sign(self, head: bytes, body: bytes) -> str:
        """Return `v1,<base64>`; `head` is `{id}.{timestamp}.`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(head + body)
        outer.update(inner.digest())
        return "v1," + binascii.b2a_base64(outer.digest(), newline=False).decode("ascii")

    def accepts(self, signature: str, head: bytes, body: bytes) -> bool:
        """Return, in constant time, whether a `v1` signature was made by this key."""
        return hmac.compare_digest(self.sign(head, body).encode(), signature.encode("utf-8", "replace"))

    def __repr__(self) -> str:
        return "SymmetricKey(<secret>)"


class PublicKey:
    """Verifies ed25519 signatures (`v1a`)."""

    __slots__ = ("_public",)
    version = "v1a"

    def __init__(self, public: ed25519.Ed25519PublicKey) -> None:
        self._public = public

    def accepts(self, signature: str, head: bytes, body: bytes) -> bool:
        """Return whether a `v1a` signature was made by the private half."""
        from cryptography.exceptions import (
            InvalidSignature,  # lazily: an optional library, which the key's creation has loaded
        )

        try:
            self._public.verify(_decode64(signature.removeprefix("v1a,")), head + body)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __repr__(self) -> str:
        return "PublicKey()"


class SigningKey(PublicKey):
    """Signs and verifies with ed25519 (`v1a`)."""

    __slots__ = ("_private",)

    def __init__(self, private: ed25519.Ed25519PrivateKey) -> None:
        super().__init__(private.public_key())
        self._private = private

    def sign(self, head: bytes, body: bytes) -> str:
        """Return `v1a,<base64>`; `head` is `{id}.{timestamp}.`."""
        return "v1a," + binascii.b2a_base64(self._private.sign(head + body), newline=False).decode("ascii")

    def __repr__(self) -> str:
        return "SigningKey(<secret>)"


Key = SymmetricKey | SigningKey


def decode_secret(text: str) -> Key:
    """Read a secret that can sign: `whsec_...` or `whsk_...`. Raises SecretError, which never quotes the secret."""
    if text.startswith(SECRET_PREFIX):
        secret = _payload(text, SECRET_PREFIX)
        if len(secret) not in SECRET_BYTES:
            raise SecretError(f"a {SECRET_PREFIX} secret must hold 24 to 64 bytes, this one holds {len(secret)}")
        return SymmetricKey(secret)
    if text.startswith(SIGNING_PREFIX):
        raw = _payload(text, SIGNING_PREFIX)
        if len(raw) != 2 * _SEED_BYTES:
            raise SecretError(f"a {SIGNING_PREFIX} key must hold 64 bytes (seed and public key), this one {len(raw)}")
        private = _ed25519().Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
        if private.public_key().public_bytes_raw() != raw[_SEED_BYTES:]:
            raise SecretError(f"the two halves of this {SIGNING_PREFIX} key do not belong together")
        return SigningKey(private)
    if text.startswith(PUBLIC_PREFIX):
        raise SecretError(
            f"a {PUBLIC_PREFIX} key is public and cannot sign; the private half begins with {SIGNING_PREFIX}"
        )
    raise SecretError(
        f"a secret begins with {SECRET_PREFIX}, or {SIGNING_PREFIX} for ed25519; `notifier secret new` makes one"
    )


def decode_verifier(text: str) -> Key | PublicKey:
    """Read anything that can verify: a secret or `whpk_...`. Raises SecretError."""
    if not text.startswith(PUBLIC_PREFIX):
        return decode_secret(text)
    raw = _payload(text, PUBLIC_PREFIX)
    if len(raw) != _SEED_BYTES:
        raise SecretError(f"a {PUBLIC_PREFIX} key must hold 32 bytes, this one holds {len(raw)}")
    return PublicKey(_ed25519().Ed25519PublicKey.from_public_bytes(raw))


def sign(keys: Sequence[Key], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of one attempt: one signature for each key, separated by spaces.

    `timestamp` is in whole seconds and must be sent as `webhook-timestamp`.
    """
    head = f"{message_id}.{timestamp}.".encode()
    return " ".join([key.sign(head, body) for key in keys])


def verify(
    keys: Sequence[Key | PublicKey],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: Micros,
    tolerance: float = TOLERANCE,
) -> None:
    """Return if a signature of a known version was made by one of the keys, lately. Raises SignatureError otherwise."""
    lower = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, signatures = (_header(lower, part) for part in ("id", "timestamp", "signature"))
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError("webhook-timestamp is not a whole number of seconds", reason="bad_timestamp")
    age = now / 1_000_000 - int(timestamp)
    if age > tolerance:
        raise SignatureError(
            f"webhook-timestamp is {age:.0f} s old, over the {tolerance:g} s allowed", reason="too_old"
        )
    if age < -tolerance:
        ahead = f"webhook-timestamp is {-age:.0f} s ahead, over the {tolerance:g} s allowed"
        raise SignatureError(ahead, reason="too_new")
    candidates = [signature for signature in signatures.split(" ") if signature.startswith(("v1,", "v1a,"))]
    if not candidates:
        raise SignatureError("webhook-signature holds no signature of version v1 or v1a", reason="no_signature")
    head = f"{message_id}.{timestamp}.".encode("utf-8", "replace")
    for signature in candidates:
        for key in keys:
            if signature.startswith(key.version + ",") and key.accepts(signature, head, body):
                return
    raise SignatureError("no signature was made by any of the keys over this id, timestamp and body", reason="mismatch")


def new_secret(entropy: bytes) -> str:
    """Return 24 to 64 random bytes as a `whsec_` secret."""
    if len(entropy) not in SECRET_BYTES:
        raise SecretError(f"a {SECRET_PREFIX} secret is made of 24 to 64 bytes, not {len(entropy)}")
    return SECRET_PREFIX + binascii.b2a_base64(entropy, newline=False).decode("ascii")


def new_key_pair(seed: bytes) -> tuple[str, str]:
    """Return the ed25519 key of 32 random bytes as (`whsk_` private, `whpk_` public)."""
    if len(seed) != _SEED_BYTES:
        raise SecretError(f"an ed25519 key is made of 32 bytes, not {len(seed)}")
    public = _ed25519().Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    private_text, public_text = (
        binascii.b2a_base64(raw, newline=False).decode("ascii") for raw in (seed + public, public)
    )
    return SIGNING_PREFIX + private_text, PUBLIC_PREFIX + public_text


def _header(headers: Mapping[str, str], part: str) -> str:
    if value := headers.get(f"webhook-{part}"):
        return value
    raise SignatureError(f"the header webhook-{part} is missing", reason="missing_header")


def _payload(text: str, prefix: str) -> bytes:
    try:
        return _decode64(text.removeprefix(prefix))
    except ValueError:  # also binascii.Error, UnicodeEncodeError; both could quote the secret
        raise SecretError(f"what follows {prefix} must be padded standard base64") from None


def _decode64(text: str) -> bytes:
    """Decode base64 in its canonical spelling only. Raises ValueError."""
    raw = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    if binascii.b2a_base64(raw, newline=False) != text.encode("ascii"):
        raise ValueError("stray bits after the last byte")
    return raw


def _ed25519() -> ModuleType:
    """Load the optional library. Raises SecretError, which says how to install it."""
    try:
        return import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError as exc:
        raise SecretError("ed25519 keys need the package cryptography: install notifier's extra 'ed25519'") from exc
