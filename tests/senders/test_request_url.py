"""The request target is the configured URL's, byte for byte: receivers may have signed it."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest
from forward_proxy import proxying
from scripted_receiver import delivery, receiving, reply, says

from notifier.core.callback import Callback, CallbackPolicy
from notifier.core.retry import Delivered
from notifier.core.signers import Unsigned
from notifier.senders.callback import CallbackCourier
from notifier.senders.chat import ChatSender
from notifier.senders.target import Target, request_url
from notifier.senders.webhook import WebhookSender

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TARGETS = [
    "/h%28x%29?sp=%2Frun",  # what need not be escaped stays escaped
    "/h(x)?sp=/run",  # and what need not be stays as it is
    "/a%2fb%2Fc",  # in either case
    "/a/../b/./c//d/",  # dot segments and empty parts
    "/p?",  # an empty query
    "/p?&&a=&=b&a=1&a=2;c",  # empty parts, order, repeats
    "/p?a+b%20c~d!$'*,:@[]{}|^`\"<>\\",
    "/p?%zz%",  # not an escape at all
    "?x=1",
    "",
    "/p?signature=abc%2Bdef%3D#fragment",
]


def clock() -> int:
    return time.time_ns() // 1000


def expected(target: str) -> str:
    """Return the request target: it begins with a slash, and has no fragment."""
    target = target.partition("#")[0]
    return target if target.startswith("/") else f"/{target}"


@pytest.mark.parametrize("target", TARGETS)
async def test_a_webhook_is_requested_as_it_is_written(target: str) -> None:
    """By an endpoint's sender."""
    async with receiving(says(reply())) as receiver:
        base = receiver.url.removesuffix("/hook")
        sender = WebhookSender(Target(url=base + target, timeout=20), signer=Unsigned(), clock=clock)
        attempt = await sender.send(delivery())
        await sender.close()
    assert attempt.outcome == Delivered()
    assert receiver.requests[0].line == f"POST {expected(target)} HTTP/1.1"


@pytest.mark.parametrize("target", ["/h%28x%29?sp=%2Frun", "/p?", "/a/../b"])
async def test_a_callback_is_requested_as_it_is_written(target: str) -> None:
    """By the sender of a URL that came with a watch."""
    policy = CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
    courier = CallbackCourier(policy=policy, secret=WHSEC, clock=clock)
    async with receiving(says(reply())) as receiver:
        sender = courier.sender(Callback(url=receiver.url.removesuffix("/hook") + target))
        attempt = await sender.send(delivery())
        await sender.close()
        await courier.close()
    assert attempt.outcome == Delivered()
    assert receiver.requests[0].line == f"POST {expected(target)} HTTP/1.1"


async def test_a_chat_webhook_is_requested_as_it_is_written() -> None:
    """Its path is its password."""
    async with receiving(says(reply())) as receiver:
        url = receiver.url.removesuffix("/hook") + "/services/T%2fX/(b)?thread=%7E"
        sender = ChatSender(Target(url=url, timeout=20), clock=clock, retry_on_timeout=True)
        attempt = await sender.send(delivery())
        await sender.close()
    assert attempt.outcome == Delivered()
    assert receiver.requests[0].line == "POST /services/T%2fX/(b)?thread=%7E HTTP/1.1"


async def test_a_proxy_is_asked_for_the_url_as_it_is_written() -> None:
    """It forwards requests by their whole URL."""
    async with receiving(says(reply())) as receiver, proxying() as proxy:
        url = receiver.url.removesuffix("/hook") + "/h%28x%29?"
        sender = WebhookSender(Target(url=url, timeout=20, proxy=proxy.url), signer=Unsigned(), clock=clock)
        await sender.send(delivery())
        await sender.close()
    assert proxy.asked == [f"POST {url} HTTP/1.1"]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("http://user:p%40ss@example.com/p", "http://example.com/p"),
        ("https://example.com:443/p", "https://example.com/p"),
        ("https://example.com:8443/p", "https://example.com:8443/p"),
        ("https://[2001:DB8::1]:1/p?", "https://[2001:db8::1]:1/p?"),
        ("http://münchen.example/ä b?q=é", "http://xn--mnchen-3ya.example/%C3%A4%20b?q=%C3%A9"),
        ("HTTP://Example.COM/P", "http://example.com/P"),
    ],
)
def test_only_the_origin_is_normalised(text: str, sent: str) -> None:
    """Host names are ASCII and in lower case; what a request line cannot carry is escaped."""
    assert str(request_url(text)) == sent


def test_no_part_of_the_target_is_kept_with_a_reply() -> None:
    """As it is written, too."""
    url = "http://127.0.0.1/h%28secret-path%29?token=%2Fsecret-query"
    sender = WebhookSender(Target(url=url, timeout=20), signer=Unsigned(), clock=clock)
    hidden = sender._exchange.secrets
    assert {"h%28secret-path%29", "h(secret-path)", "%2Fsecret-query", "/secret-query"} <= set(hidden)
