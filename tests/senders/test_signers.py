"""Each form of signature is accepted by a receiver written after the documentation of who invented it."""

from __future__ import annotations

import hashlib
import hmac
import time

import pytest
import standardwebhooks
from scripted_receiver import Request, delivery, receiving, reply, says

from notifier.core.retry import Delivered
from notifier.core.signers import GithubSigner, Signer, StandardSigner, StripeSigner, Unsigned
from notifier.core.signing import decode_secret
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OURS = {"webhook-signature", "x-hub-signature-256", "stripe-signature"}


async def received(signer: Signer, body: bytes = '{"ü": 0.1}'.encode()) -> Request:
    async with receiving(says(reply())) as receiver:
        sender = WebhookSender(
            Target(url=receiver.url, timeout=20, headers={}, max_in_flight=1),
            signer=signer,
            clock=lambda: time.time_ns() // 1000,
        )
        assert (await sender.send(delivery(body))).outcome == Delivered()
        await sender.close()
    (request,) = receiver.requests
    assert request.headers["webhook-id"] == "msg_1"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    return request


async def test_github() -> None:
    """`sha256=` and the HMAC of the body in hexadecimal, keyed with the secret's text.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    """
    vector = dict(GithubSigner("It's a Secret to Everybody").headers("", 0, b"Hello, World!"))
    assert vector["X-Hub-Signature-256"] == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    request = await received(GithubSigner(WHSEC))
    expected = hmac.new(WHSEC.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature-256"] == f"sha256={expected}"
    assert request.headers.keys() & OURS == {"x-hub-signature-256"}


async def test_stripe() -> None:
    """A time, and for each secret the HMAC of time, dot and body; https://docs.stripe.com/webhooks#verify-manually."""
    secrets = [WHSEC, "another secret of any text"]
    request = await received(StripeSigner(secrets))
    head, *signatures = request.headers["stripe-signature"].split(",")
    assert head == f"t={request.headers['webhook-timestamp']}"
    signed = head.removeprefix("t=").encode() + b"." + request.body
    assert signatures == [f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}" for secret in secrets]
    assert request.headers.keys() & OURS == {"stripe-signature"}


async def test_standard_and_none() -> None:
    """The default; and nothing but id and time."""
    request = await received(StandardSigner([decode_secret(WHSEC)]))
    standardwebhooks.Webhook(WHSEC).verify(request.body, request.headers, json_parse=False)
    assert request.headers.keys() & OURS == {"webhook-signature"}
    assert (await received(Unsigned())).headers.keys() & OURS == set()


@pytest.mark.parametrize("signer", [GithubSigner("s" * 16), StripeSigner(["s" * 16])])
def test_each_message_is_signed_by_itself(signer: Signer) -> None:
    """The prepared key carries nothing over; nor is the secret seen."""
    first = signer.headers("a", 1, b"x")
    signer.headers("b", 2, b"y")
    assert signer.headers("c", 1, b"x") == first
    assert "ssss" not in repr(vars(signer))
