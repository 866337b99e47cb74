"""A vetted sender connects to addresses that passed, and to no other, whatever name server or URL say."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest
import trustme
import uvloop
from certificates import serving_tls, trusting_tls
from ports import free_port
from scripted_receiver import Receiver, delivery, receiving, reply, says

from notifier.core.callback import CallbackPolicy
from notifier.core.retry import Attempt, Delivered, Failed
from notifier.core.signers import StandardSigner
from notifier.core.signing import decode_secret
from notifier.senders.connections import Connections
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender

PUBLIC = "127.0.0.2"  # stands for an address that may be reached: tests send no packet beyond this machine
POLICY = CallbackPolicy(allow_networks=[ip_network(f"{PUBLIC}/32")], allow_http=True)


def sender(url: str, policy: CallbackPolicy = POLICY, trust: ssl.SSLContext | bool = True) -> WebhookSender:
    return WebhookSender(
        Target(url=url, timeout=20),
        signer=StandardSigner([decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]),
        clock=lambda: time.time_ns() // 1000,
        connections=Connections(limit=4, ssl=trust, policy=policy),
    )


async def attempt(url: str, policy: CallbackPolicy = POLICY) -> Attempt:
    webhook = sender(url, policy)
    try:
        return await webhook.send(delivery())
    finally:
        await webhook.close()


class NameServer:
    """Answers lookups with one list of addresses after another, the last one for ever, in place of `getaddrinfo`."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: int) -> list[tuple[object, ...]]:
        found = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address.partition("%")[0], port, 0, 3 * ("%" in address)))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    """The system's resolver cannot be pointed at a name server without rights over the machine, so it is replaced."""
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    return server


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., object]]:
    """Run a coroutine on either loop: both make connections in ways of their own."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


def forbidden(attempt: Attempt) -> Failed:
    outcome = attempt.outcome
    assert isinstance(outcome, Failed), outcome
    assert (outcome.reason, outcome.spend, attempt.address) == ("forbidden_address", True, None)
    return outcome


async def test_a_name_that_leads_to_an_allowed_address_is_connected_to(names: NameServer) -> None:
    """There, and under its name."""
    names.answers = [[PUBLIC]]
    async with receiving(says(reply()), host=PUBLIC) as receiver:
        sent = await attempt(f"http://hooks.example.com:{receiver.port}/x")
    assert (sent.outcome, sent.address) == (Delivered(), f"{PUBLIC}:{receiver.port}")
    assert receiver.requests[0].headers["host"] == f"hooks.example.com:{receiver.port}"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"), ("::1", "loopback"), ("::ffff:127.0.0.1", "loopback"), ("10.0.0.1", "private"),
        ("0.0.0.0", "unspecified"), ("::", "unspecified"), ("169.254.169.254", "a cloud's metadata service"),
        ("fd00:ec2::254", "a cloud's metadata service"), ("64:ff9b::7f00:1", "loopback"), ("2002:7f00:1::", "6to4"),
        ("100.64.0.1", "carrier-grade NAT"), ("fe80::1%3", "link-local"), ("fe80::5efe:7f00:1", "link-local"),
    ],
)  # fmt: skip
async def test_a_name_that_leads_to_a_special_address_is_not(names: NameServer, address: str, reason: str) -> None:
    """Not one packet; and the attempt says what the address is."""
    names.answers = [[address]]
    async with receiving(says(reply())) as receiver:
        sent = await attempt(f"http://hooks.example.com:{receiver.port}/x")
        assert forbidden(sent).detail == f"the host's address is special ({reason})"
    assert receiver.connections == 0


@pytest.mark.parametrize("answer", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", "::1", PUBLIC], ["10.0.0.1", PUBLIC]])
async def test_of_several_addresses_those_that_passed_are_tried(names: NameServer, answer: list[str]) -> None:
    """Also when that one refuses the connection: no other is fallen back to."""
    names.answers = [answer]
    async with receiving(says(reply())) as loopback:
        sent = await attempt(f"http://hooks.example.com:{loopback.port}/x")
        assert isinstance(sent.outcome, Failed)
        assert sent.outcome.reason == "connect"
    assert loopback.connections == 0


async def test_a_name_that_is_rebound_reaches_nothing(names: NameServer) -> None:
    """The first answer is vetted and connected to, without a second look; the second lookup is vetted anew."""
    names.answers = [[PUBLIC], ["127.0.0.1"]]
    port = free_port()  # on both addresses: one that the kernel chose may be in use on the other
    async with (
        receiving(says(reply()), host=PUBLIC, port=port) as public,
        receiving(says(reply()), port=port) as inside,
    ):
        first = await attempt(f"http://rebind.example.com:{public.port}/")
        assert (first.outcome, first.address) == (Delivered(), f"{PUBLIC}:{public.port}")
        assert names.asked == ["rebind.example.com"]
        forbidden(await attempt(f"http://rebind.example.com:{public.port}/"))
        assert len(names.asked) == 2
    assert (len(public.requests), inside.connections) == (1, 0)


async def test_a_connection_that_is_kept_stays_where_it_is(names: NameServer) -> None:
    """No lookup, hence nothing to rebind."""
    names.answers = [[PUBLIC], ["127.0.0.1"]]
    async with receiving(says(reply()), host=PUBLIC) as receiver:
        webhook = sender(f"http://rebind.example.com:{receiver.port}/")
        for _ in range(3):
            assert (await webhook.send(delivery())).outcome == Delivered()
        await webhook.close()
    assert (receiver.connections, len(names.asked)) == (1, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[::ffff:0.0.0.0]"])
def test_an_address_in_the_url_is_vetted_though_nobody_resolves_it(host: str, run: Callable[..., object]) -> None:
    """No name server is asked for it."""

    async def main() -> Receiver:
        async with receiving(says(reply())) as receiver:
            forbidden(await attempt(f"http://{host}:{receiver.port}/"))
        return receiver

    receiver = run(main())
    assert isinstance(receiver, Receiver)
    assert receiver.connections == 0


async def test_an_allowed_address_in_the_url_is_connected_to() -> None:
    """As with a name."""
    async with receiving(says(reply()), host=PUBLIC) as receiver:
        assert (await attempt(f"http://{PUBLIC}:{receiver.port}/")).outcome == Delivered()


@pytest.mark.parametrize(
    "host", ["2130706433", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "0x7f000001", "127.1", "127.0.1",
             "localhost", "localhost.", "127.0.0.1.", "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021",
             "%31%32%37.0.0.1",             "127.0.0.1%00", "①②⑦.0.0.1"],
)  # fmt: skip
async def test_no_spelling_of_loopback_gets_through(host: str) -> None:
    """With the system's own resolver, and without the judgement of the URL that comes before all this."""
    async with receiving(says(reply())) as receiver:
        try:
            sent = await attempt(f"http://{host}:{receiver.port}/")
        except ValueError:  # yarl's word on what is no URL
            return
        assert isinstance(sent.outcome, Failed)
        assert sent.outcome.reason in ("forbidden_address", "url", "dns")
    assert receiver.connections == 0


async def test_a_redirect_into_the_inside_is_not_followed(names: NameServer) -> None:
    """Nor any other."""
    names.answers = [[PUBLIC]]
    async with receiving(says(reply())) as inside:
        answer = says(reply(302, b"", Location=f"http://127.0.0.1:{inside.port}/"))
        async with receiving(answer, host=PUBLIC) as public:
            sent = await attempt(f"http://hooks.example.com:{public.port}/")
    assert isinstance(sent.outcome, Failed)
    assert sent.outcome.reason == "redirect"
    assert inside.connections == 0


async def test_a_proxy_of_the_environment_bypasses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would resolve the name by itself."""
    async with receiving(says(reply())) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        forbidden(await attempt("http://127.0.0.1:9/"))
    assert proxy.connections == 0


def test_tls_is_spoken_with_the_name_at_the_vetted_address(names: NameServer, run: Callable[..., object]) -> None:
    """The certificate is of the host that was asked for."""
    names.answers = [[PUBLIC], ["127.0.0.1"]]
    authority = trustme.CA()
    server, client = serving_tls(authority, "hooks.example.com"), trusting_tls(authority)

    async def main() -> Attempt:
        async with receiving(says(reply()), server, host=PUBLIC) as receiver:
            webhook = sender(f"https://hooks.example.com:{receiver.port}/", trust=client)
            sent = await webhook.send(delivery())
            await webhook.close()
            return sent

    sent = run(main())
    assert isinstance(sent, Attempt)
    assert sent.outcome == Delivered()
