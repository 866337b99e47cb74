"""Senders to destinations of callbacks: their own secrets, connections that they share, the rules of now."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest
from scripted_receiver import delivery, receiving, reply, says
from standardwebhooks import Webhook

from notifier.core.callback import Callback, CallbackPolicy
from notifier.core.retry import Delivered, Failed, Rejected
from notifier.senders.callback import CallbackCourier

POLICY = CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OWN = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def courier(policy: CallbackPolicy = POLICY) -> CallbackCourier:
    return CallbackCourier(
        policy=policy, secret=SECRET, clock=lambda: time.time_ns() // 1000, user_agent="notifier/test"
    )


async def test_each_signs_with_its_own_secret_or_the_configured_one_over_one_connection() -> None:
    async with receiving(says(reply())) as receiver:
        post = courier()
        for path, secret in (("a", OWN), ("b", None)):
            sender = post.sender(Callback(url=f"{receiver.url}/{path}", secret=secret))
            attempt = await sender.send(delivery())
            assert attempt.outcome == Delivered()
            await sender.close()
        await post.close()
        first, second = receiver.requests
        Webhook(OWN).verify(first.body, first.headers)
        Webhook(SECRET).verify(second.body, second.headers)
        assert first.connection == second.connection


async def test_a_destination_does_not_leak_what_signs() -> None:
    """Neither a secret of its own, which it prints, nor the one of all that have none."""
    pages = (reply(401, f"not signed with {secret}".encode()) for secret in (OWN, SECRET))
    async with receiving(says(*pages)) as receiver:
        post = courier()
        for secret in (OWN, None):
            sender = post.sender(Callback(url=receiver.url, secret=secret))
            assert (await sender.send(delivery())).reply == "not signed with ***"
            await sender.close()
        await post.close()


async def test_connections_are_closed_with_the_last_who_uses_them() -> None:
    """A courier that is replaced lets what was begun end."""
    async with receiving(says(reply())) as receiver:
        post = courier()
        sender = post.sender(Callback(url=receiver.url))
        await post.close()
        assert (await sender.send(delivery())).outcome == Delivered()
        assert not receiver.hung_up.is_set()
        await sender.close()
        await receiver.hung_up.wait()


async def test_one_that_is_closed_sends_nothing_while_others_do() -> None:
    async with receiving(says(reply())) as receiver:
        post = courier()
        gone, there = post.sender(Callback(url=receiver.url)), post.sender(Callback(url=receiver.url))
        await gone.close()
        outcome = (await gone.send(delivery())).outcome
        assert isinstance(outcome, Failed)
        assert outcome.reason == "closed"
        assert (await there.send(delivery())).outcome == Delivered()
        await there.close()
        await post.close()


async def test_gone_means_this_delivery() -> None:
    """Nobody could enable a destination again, which has no name."""
    async with receiving(says(reply(410))) as receiver:
        post = courier()
        sender = post.sender(Callback(url=receiver.url))
        attempt = await sender.send(delivery())
        assert isinstance(attempt.outcome, Rejected)
        assert (attempt.outcome.reason, attempt.status) == ("http_410", 410)
        await sender.close()
        await post.close()


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8")]), "must begin with https:// (callbacks.allow_http"),
        (
            CallbackPolicy(allow_http=True, allow_hosts=("*.example.com",)),
            "callbacks.allow_hosts does not list its host",
        ),
        (CallbackPolicy(allow_http=True), "its address is special (loopback)"),
    ],
)
async def test_what_the_rules_do_not_allow_any_more_fails_and_says_why(policy: CallbackPolicy, reason: str) -> None:
    """To be tried again: the rules may be put right. Nothing is connected to."""
    async with receiving(says(reply())) as receiver:
        post = courier(policy)
        sender = post.sender(Callback(url=f"{receiver.url}/t0ken"))
        outcome = (await sender.send(delivery())).outcome
        assert isinstance(outcome, Failed)
        assert outcome.reason == "forbidden_url"
        assert outcome.detail.startswith(reason)
        assert "t0ken" not in outcome.detail
        assert receiver.connections == 0
        await sender.close()
        await post.close()


@pytest.mark.parametrize("secret", ["whsec_c2hvcnQ=", "whsec_t0ken!", "t0ken"])
async def test_a_secret_that_cannot_sign_is_no_endless_matter(secret: str) -> None:
    """What waits is dead at once, and says why; the secret is not told, and nothing is connected to."""
    async with receiving(says(reply())) as receiver:
        post = courier()
        sender = post.sender(Callback(url=receiver.url, secret=secret))
        attempt = await sender.send(delivery())
        assert isinstance(attempt.outcome, Rejected)
        assert (attempt.outcome.reason, attempt.outcome.well) == ("unreadable_secret", None)
        assert attempt.outcome.detail.startswith("the callback_secret in the database cannot sign: ")
        assert secret.removeprefix("whsec_") not in attempt.outcome.detail
        assert receiver.connections == 0
        await sender.close()
        await post.close()


async def test_idle_connections_are_kept_to_a_bounded_number_of_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one to the first host stays, that to the second is closed after use."""
    monkeypatch.setattr("notifier.senders.connections.MAX_IDLE", 1)
    async with receiving(says(reply())) as kept, receiving(says(reply())) as closed:
        post = courier()
        senders = [post.sender(Callback(url=receiver.url)) for receiver in (kept, closed)]
        for _ in range(2):
            for sender in senders:
                assert (await sender.send(delivery())).outcome == Delivered()
        assert (kept.connections, closed.connections) == (1, 2)
        for sender in senders:
            await sender.close()
        await post.close()
