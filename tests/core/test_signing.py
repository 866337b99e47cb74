"""Signatures by Standard Webhooks 1.0.0: published vectors, independent verifiers, and every way to be wrong."""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime
from importlib import import_module

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.signing import (
    PublicKey,
    SecretError,
    SignatureError,
    SigningKey,
    SymmetricKey,
    decode_secret,
    decode_verifier,
    new_key_pair,
    new_secret,
    sign,
    verify,
)

# https://github.com/standard-webhooks/standard-webhooks and https://github.com/svix/svix-webhooks: their own tests
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
NOW = TIMESTAMP * 1_000_000


def headers(signature: str, *, message_id: str = ID, timestamp: object = TIMESTAMP) -> dict[str, str]:
    return {"Webhook-Id": message_id, "webhook-timestamp": str(timestamp), "WEBHOOK-SIGNATURE": signature}


def refusal(found: dict[str, str], *, now: int = NOW, secret: str = SECRET, body: bytes = BODY) -> str:
    with pytest.raises(SignatureError) as caught:
        verify([decode_verifier(secret)], found, body, now=now)
    assert str(caught.value)
    return caught.value.reason


def test_the_published_symmetric_vectors() -> None:
    """Byte for byte."""
    assert sign([decode_secret(SECRET)], ID, TIMESTAMP, BODY) == V1
    body = b'{"email":"test@example.com","username":"test_user"}'
    signature = sign([decode_secret(OTHER_SECRET)], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553, body)
    assert signature == "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="


def test_the_published_asymmetric_vector() -> None:
    """Byte for byte; private and public half verify it."""
    assert sign([decode_secret(PRIVATE)], ID, TIMESTAMP, BODY) == V1A
    for text in (PRIVATE, PUBLIC):
        verify([decode_verifier(text)], headers(V1A), BODY, now=NOW)


def test_each_key_signs_in_order() -> None:
    """n secrets, n signatures: rotation without a gap, and both versions at once."""
    keys = [decode_secret(text) for text in (PRIVATE, SECRET, OTHER_SECRET)]
    signature = sign(keys, ID, TIMESTAMP, BODY)
    assert signature.split(" ")[:2] == [V1A, V1]
    for text in (PRIVATE, PUBLIC, SECRET, OTHER_SECRET):
        verify([decode_verifier(text)], headers(signature), BODY, now=NOW)


def test_a_key_signs_again_and_again() -> None:
    """The prepared state is not used up."""
    key = decode_secret(SECRET)
    sign([key], "other", 1, b"other")
    assert [sign([key], ID, TIMESTAMP, BODY) for _ in range(2)] == [V1, V1]


@pytest.mark.parametrize("library", ["standardwebhooks", "svix.webhooks"])
@pytest.mark.parametrize(
    "payload",
    [
        {"ü": "日本語 🎬", "e": 0.1 + 0.2, "big": 1e300},
        {"nested": {"list": [1, 2.50, None, True]}, "text": "\u2028</script>"},
        {},
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_independent_libraries_accept_ours(library: str, payload: object, ascii_only: bool) -> None:
    """`standardwebhooks` and `svix` verify what we sign: the bytes, not a rewritten value of them."""
    body = json.dumps(payload, ensure_ascii=ascii_only, indent=1).encode()
    now = datetime.now(UTC)
    signature = sign([decode_secret(OTHER_SECRET), decode_secret(SECRET)], ID, int(now.timestamp()), body)
    found = {
        "webhook-id": ID,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    webhook = import_module(library).Webhook  # here, as svix takes a second to load
    webhook(SECRET).verify(body, found)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        webhook(SECRET).verify(body + b" ", found)


@given(st.binary(min_size=24, max_size=64), st.text(max_size=30), st.dictionaries(st.text(), st.floats() | st.text()))
def test_we_accept_theirs(entropy: bytes, name: str, payload: dict[str, object]) -> None:
    """What `standardwebhooks` signs with a secret that we made, we verify."""
    secret = new_secret(entropy)
    body = json.dumps({"name": name, "payload": payload})
    at = datetime.fromtimestamp(TIMESTAMP, UTC)  # UTC: their `sign` takes any other zone's clock for UTC
    signature = standardwebhooks.Webhook(secret).sign(ID, at, body)
    verify([decode_verifier(secret)], headers(signature), body.encode(), now=NOW)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_of_24_to_64_bytes(size: int) -> None:
    """The bounds of the specification, both included."""
    assert isinstance(decode_secret(new_secret(b"\xfb" * size)), SymmetricKey)


@pytest.mark.parametrize("size", [0, 23, 65])
def test_no_secrets_of_other_sizes(size: int) -> None:
    """Neither read nor made."""
    with pytest.raises(SecretError, match=f"holds {size}"):
        decode_secret("whsec_" + base64.b64encode(b"k" * size).decode())
    with pytest.raises(SecretError, match=f"not {size}"):
        new_secret(b"k" * size)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2hunter2hunter2",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        "whsec_ MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwhunter",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAB==",
        "whsec_hünter2",
        "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        PRIVATE[:-6] + "AAAA==",
        PRIVATE.replace("whsk_6Xb", "whsk_7Xb"),
        PUBLIC,
    ],
)
def test_a_bad_secret_is_refused_and_not_told(text: str) -> None:
    """A ValueError, so that the configuration can point to its line; no part of the secret in it."""
    with pytest.raises(ValueError, match=r".") as caught:
        decode_secret(text)
    assert isinstance(caught.value, SecretError)
    secret = text.removeprefix("whsec_").removeprefix("whsk_").removeprefix("whpk_").strip()
    assert len(secret) < 4 or secret not in str(caught.value)
    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("size", [0, 31, 64])
def test_a_public_key_has_32_bytes(size: int) -> None:
    """Anything else is told."""
    with pytest.raises(SecretError, match="32 bytes"):
        decode_verifier("whpk_" + base64.b64encode(b"k" * size).decode())


def test_a_key_pair_is_made_of_a_seed() -> None:
    """The halves of the published key, made of its seed."""
    assert new_key_pair(base64.b64decode(PRIVATE.removeprefix("whsk_"))[:32]) == (PRIVATE, PUBLIC)
    with pytest.raises(SecretError, match="32 bytes"):
        new_key_pair(b"short")


def test_without_cryptography_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever configures an ed25519 key is told what to install; symmetric keys need nothing."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    for make in (lambda: decode_secret(PRIVATE), lambda: decode_verifier(PUBLIC), lambda: new_key_pair(b"k" * 32)):
        with pytest.raises(SecretError, match="install notifier's extra 'ed25519'"):
            make()
    assert sign([decode_secret(SECRET)], ID, TIMESTAMP, BODY) == V1


def test_no_key_shows_itself() -> None:
    """`repr` is what gets into logs and tracebacks."""
    keys = {decode_secret(SECRET): SymmetricKey, decode_secret(PRIVATE): SigningKey, decode_verifier(PUBLIC): PublicKey}
    for key, kind in keys.items():
        assert type(key) is kind
        assert repr(key) in {"SymmetricKey(<secret>)", "SigningKey(<secret>)", "PublicKey()"}


@pytest.mark.parametrize(
    "signature",
    [
        V1,
        f"v2,AAAA {V1}",
        f"v1,AAAA v1 , v1a,%% {V1} v9",
        f"{V1} v1,AAAA",
        f"v1a,AAAA {V1}",
        f"v1,ü {V1}",
        f"v1,\udcff {V1}",
    ],
)
def test_one_good_signature_is_enough(signature: str) -> None:
    """Unknown versions, malformed ones and other secrets' are passed over."""
    keys = [decode_verifier(text) for text in (OTHER_SECRET, PUBLIC, SECRET)]
    verify(keys, headers(signature), BODY, now=NOW)


def test_a_refusal_says_why() -> None:
    """Each reason has its word."""
    assert refusal({}) == "missing_header"
    assert refusal(headers("")) == "missing_header"
    assert refusal(headers(V1, message_id="")) == "missing_header"
    assert refusal(headers("v2,AAAA nonsense , ")) == "no_signature"
    assert refusal(headers(V1, message_id="msg_other")) == "mismatch"
    assert refusal(headers(V1, timestamp=TIMESTAMP + 1)) == "mismatch"
    assert refusal(headers(V1), body=BODY + b" ") == "mismatch"
    assert refusal(headers(V1), secret=OTHER_SECRET) == "mismatch"
    assert refusal(headers(V1), secret=PUBLIC) == "mismatch"
    assert refusal(headers(V1A), secret=SECRET) == "mismatch"
    assert refusal(headers(V1A), secret=PUBLIC, body=b"{}") == "mismatch"
    assert refusal(headers("v1,")) == "mismatch"


@pytest.mark.parametrize("timestamp", ["soon", "1614265330.0", "-1", "1e9", " 1614265330", "nan", "\u0661", "9" * 13])
def test_a_timestamp_is_whole_seconds(timestamp: str) -> None:
    """Nothing that only looks like a number."""
    assert refusal(headers(V1, timestamp=timestamp)) == "bad_timestamp"


@pytest.mark.parametrize(("seconds", "reason"), [(301, "too_old"), (-301, "too_new"), (10**9, "too_old")])
def test_a_stale_message_is_refused(seconds: int, reason: str) -> None:
    """Five minutes either way, as the specification advises."""
    assert refusal(headers(V1), now=NOW + seconds * 1_000_000) == reason


@pytest.mark.parametrize("seconds", [300, -300, 0])
def test_a_fresh_message_is_accepted(seconds: int) -> None:
    """The bounds themselves are fresh; a narrower tolerance is obeyed."""
    key = decode_verifier(SECRET)
    verify([key], headers(V1), BODY, now=NOW + seconds * 1_000_000)
    if seconds:
        with pytest.raises(SignatureError):
            verify([key], headers(V1), BODY, now=NOW + seconds * 1_000_000, tolerance=10)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=80))
def test_no_header_is_too_strange(message_id: str, timestamp: str, signature: str) -> None:
    """A hostile request is refused and never crashes the receiver."""
    for found in (headers(signature, message_id=message_id, timestamp=timestamp), headers("v1," + signature)):
        with pytest.raises(SignatureError):
            verify([decode_verifier(SECRET), decode_verifier(PUBLIC)], found, b"never signed", now=NOW)
