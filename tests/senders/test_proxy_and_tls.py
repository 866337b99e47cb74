"""Endpoints behind a proxy, behind an authority of their own, and behind mutual TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from certificates import serving_tls
from forward_proxy import proxying
from scripted_receiver import delivery, receiving, reply, says

from notifier.core.callback import CallbackPolicy
from notifier.core.retry import Attempt, Delivered, Failed
from notifier.core.signers import Unsigned
from notifier.runtime.tls import tls_context
from notifier.senders.chat import ChatSender
from notifier.senders.connections import Connections
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender

Sender = WebhookSender | ChatSender


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Run a coroutine on either loop: TLS inside a tunnel is started by each in its own way."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


def wall() -> int:
    return time.time_ns() // 1000


def webhook(url: str, *, proxy: str | None = None, trust: ssl.SSLContext | bool = True, **headers: str) -> Sender:
    return WebhookSender(
        Target(url=url, timeout=20, headers=headers, max_in_flight=4, proxy=proxy, ssl=trust),
        signer=Unsigned(),
        clock=wall,
    )


def slack(url: str, *, proxy: str | None = None, trust: ssl.SSLContext | bool = True) -> Sender:
    return ChatSender(Target(url=url, timeout=20, proxy=proxy, ssl=trust), clock=wall, retry_on_timeout=True)


async def sent(sender: Sender, times: int = 1) -> Attempt:
    try:
        for _ in range(times):
            attempt = await sender.send(delivery())
        return attempt
    finally:
        await sender.close()


def failed(attempt: Attempt) -> Failed:
    assert isinstance(attempt.outcome, Failed), attempt
    return attempt.outcome


class Site:
    """An authority, a server under it, and files for a client."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.server = serving_tls(self.authority, "127.0.0.1", "localhost")
        self.cert_file, self.key_file, self.both = (directory / f"{name}.pem" for name in ("cert", "key", "both"))
        issued = self.authority.issue_cert("notifier@example.com")
        issued.cert_chain_pems[0].write_to_path(self.cert_file)
        issued.private_key_pem.write_to_path(self.key_file)
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)

    def ask_for_certificates(self) -> None:
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.authority.configure_trust(self.server)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("make", [webhook, slack])
async def test_requests_are_passed_on_by_the_proxy(make: Callable[..., Sender]) -> None:
    """Whole URLs; credentials with every request, and none of them reach the endpoint; the connection is kept."""
    async with receiving(says(reply())) as receiver, proxying(credentials="us er:p@ss") as proxy:
        attempt = await sent(make(receiver.url, proxy=proxy.url.replace("//", "//us%20er:p%40ss@")), times=3)
    assert attempt.outcome == Delivered()
    assert attempt.address == proxy.url.removeprefix("http://")
    assert "connect" not in attempt.phases
    assert proxy.asked == [f"POST {receiver.url} HTTP/1.1"] * 3
    assert [request.line for request in receiver.requests] == ["POST /hook HTTP/1.1"] * 3
    assert receiver.requests[0].headers["host"] == f"127.0.0.1:{receiver.port}"


def test_tls_is_spoken_through_a_tunnel(run: Callable[..., Any], site: Site) -> None:
    """With the endpoint itself: the proxy sees a host name and no more; its credentials stay with it."""

    async def main() -> None:
        async with receiving(says(reply()), site.server) as receiver, proxying(credentials="u:p") as proxy:
            trust = tls_context(ca_file=site.ca_file)
            sender = webhook(receiver.url, proxy=proxy.url.replace("//", "//u:p@"), trust=trust, **{"X-Key": "hidden"})
            assert (await sent(sender, times=3)).outcome == Delivered()
        assert proxy.asked == [f"CONNECT 127.0.0.1:{receiver.port} HTTP/1.1"]
        assert b"hidden" not in proxy.tunnelled
        assert "hidden" not in proxy.heads[0]
        assert "proxy-authorization" not in receiver.requests[0].headers
        assert receiver.requests[0].headers["x-key"] == "hidden"

    run(main())


def test_an_endpoint_of_another_authority_is_refused_through_a_tunnel_too(run: Callable[..., Any], site: Site) -> None:
    """The proxy vouches for nobody."""

    async def main() -> None:
        async with receiving(says(reply()), site.server) as receiver, proxying() as proxy:
            assert failed(await sent(webhook(receiver.url, proxy=proxy.url))).reason == "tls"
            assert receiver.requests == []

    run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_other_credentials_costs_the_endpoint_nothing(scheme: str) -> None:
    """With and without a tunnel."""
    async with proxying(credentials="u:p") as proxy:
        outcome = failed(await sent(webhook(f"{scheme}://hooks.example.com/", proxy=proxy.url)))
    assert (outcome.reason, outcome.spend, outcome.throttle) == ("proxy", False, False)
    assert "407" in outcome.detail


@pytest.mark.parametrize(("status", "spend"), [(403, False), (405, False), (500, False), (502, True), (504, True)])
async def test_a_proxy_that_opens_no_tunnel(status: int, spend: bool) -> None:
    """It says whether it or the endpoint is to blame."""
    async with proxying(refuse=status) as proxy:
        outcome = failed(await sent(webhook("https://hooks.example.com/", proxy=proxy.url)))
    assert (outcome.reason, outcome.spend) == ("proxy", spend)
    assert str(status) in outcome.detail


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_costs_the_endpoint_nothing(scheme: str) -> None:
    """Nobody listens, or its name leads nowhere."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        nobody = f"http://u:hunter2@127.0.0.1:{unheard.getsockname()[1]}"
        outcome = failed(await sent(webhook(f"{scheme}://hooks.example.com/", proxy=nobody)))
    assert outcome == Failed(reason="proxy", detail="the proxy cannot be connected to", spend=False)
    outcome = failed(await sent(webhook(f"{scheme}://127.0.0.1:9/", proxy="http://no-such-host.invalid:3128")))
    assert outcome == Failed(reason="proxy", detail="the proxy's host name cannot be looked up", spend=False)


async def test_a_proxys_password_that_a_page_repeats_is_blotted_out() -> None:
    """As the parts of the URL are."""
    async with receiving(says(reply(500, b"bad: hunter2-hunter2"))) as receiver, proxying() as proxy:
        attempt = await sent(webhook(receiver.url, proxy=proxy.url.replace("//", "//user:hunter2-hunter2@")))
    assert attempt.reply == "bad: ***"


async def test_a_407_without_a_proxy_is_an_answer_like_any_other() -> None:
    """Of the endpoint."""
    async with receiving(says(reply(407))) as receiver:
        assert failed(await sent(webhook(receiver.url))).reason == "http_407"


def test_what_is_vetted_takes_no_proxy() -> None:
    """It would look names up by itself."""
    with pytest.raises(ValueError, match="proxy"):
        WebhookSender(
            Target(url="http://127.0.0.1/", timeout=1, headers={}, max_in_flight=1, proxy="http://127.0.0.1:1"),
            signer=Unsigned(),
            clock=wall,
            connections=Connections(limit=1, ssl=True, policy=CallbackPolicy()),
        )


def test_a_certificate_is_shown_to_who_asks(run: Callable[..., Any], site: Site) -> None:
    """With its key apart or beside it; also through a tunnel."""
    site.ask_for_certificates()

    async def main() -> None:
        async with receiving(says(reply()), site.server) as receiver, proxying() as proxy:
            apart = tls_context(ca_file=site.ca_file, cert_file=site.cert_file, key_file=site.key_file)
            together = tls_context(ca_file=site.ca_file, cert_file=site.both)
            assert (await sent(webhook(receiver.url, trust=apart))).outcome == Delivered()
            assert (await sent(slack(receiver.url, trust=together))).outcome == Delivered()
            assert (await sent(webhook(receiver.url, trust=apart, proxy=proxy.url))).outcome == Delivered()

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_shows_none_is_told_so(run: Callable[..., Any], site: Site, version: ssl.TLSVersion) -> None:
    """Not delivered, by whichever word: in TLS 1.3 the request is on its way by then."""
    site.ask_for_certificates()
    site.server.maximum_version = version

    async def main() -> Failed:
        async with receiving(says(reply()), site.server) as receiver:
            return failed(await sent(webhook(receiver.url, trust=tls_context(ca_file=site.ca_file))))

    outcome = run(main())
    assert outcome.reason in ("tls", "reset", "connect")
    assert outcome.spend


def test_nothing_of_ones_own_is_the_shared_default() -> None:
    """One context for all endpoints costs less than one for each."""
    assert tls_context() is True
