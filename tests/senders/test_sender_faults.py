"""What happens when there is no good answer: every fault is named, bounded in time and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import pytest
import structlog
import trustme
from certificates import serving_tls, trusting_tls
from refused_threads import no_thread
from scripted_receiver import Request, delivery, hang_up, receiving, reply, reset, says, silence

from notifier.core.retry import Attempt, Delivered, Failed
from notifier.core.signers import StandardSigner
from notifier.core.signing import decode_secret
from notifier.runtime.http1 import BadHead, BrokenFraming, ConnectFault, Lost
from notifier.runtime.http1.names import Names, look_up
from notifier.senders.chat import ChatSender
from notifier.senders.faults import explain
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender

Make = Callable[..., WebhookSender | ChatSender]


def wall() -> int:
    return time.time_ns() // 1000


def webhook(url: str, *, timeout: float = 20.0, trust: ssl.SSLContext | bool = True, **headers: str) -> WebhookSender:
    key = decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    return WebhookSender(
        Target(url=url, timeout=timeout, headers=headers, max_in_flight=8, ssl=trust),
        signer=StandardSigner([key]),
        clock=wall,
    )


def slack(url: str, *, timeout: float = 20.0, trust: ssl.SSLContext | bool = True, **headers: str) -> ChatSender:
    return ChatSender(Target(url=url, timeout=timeout, headers=headers, ssl=trust), clock=wall, retry_on_timeout=True)


@pytest.fixture(params=[webhook, slack])
def make(request: pytest.FixtureRequest) -> Make:
    """Both senders stand on the same exchange, and both are held to it."""
    found: Make = request.param
    return found


@asynccontextmanager
async def made(sender: WebhookSender | ChatSender) -> AsyncIterator[WebhookSender | ChatSender]:
    try:
        yield sender
    finally:
        await sender.close()


def failed(attempt: Attempt) -> Failed:
    assert isinstance(attempt.outcome, Failed), attempt
    return attempt.outcome


async def test_refused(make: Make) -> None:
    """Nobody listens: the endpoint's fault."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        async with made(make(f"http://127.0.0.1:{unheard.getsockname()[1]}/")) as sender:
            attempt = await sender.send(delivery())
    assert attempt.outcome == Failed(reason="connect", detail="Connection refused")
    assert (attempt.status, attempt.address, set(attempt.phases)) == (None, None, {"connect"})


@pytest.mark.parametrize(("answer", "detail"), [(reset, "reset by peer"), (hang_up, "without a reply")])
async def test_reset(make: Make, answer: Callable[..., Awaitable[None]], detail: str) -> None:
    """A connection that breaks before the reply; a new one is not tried again at once."""
    async with receiving(answer) as receiver, made(make(receiver.url)) as sender:
        outcome = failed(await sender.send(delivery()))
    assert (outcome.reason, outcome.spend) == ("reset", True)
    assert detail in outcome.detail
    assert receiver.connections == 1


async def test_a_black_hole(make: Make) -> None:
    """A request that is never answered ends with the deadline."""
    async with receiving(silence) as receiver, made(make(receiver.url, timeout=0.2)) as sender:
        attempt = await sender.send(delivery())
        assert attempt.outcome == Failed(reason="timeout", detail="no reply after 0.2 s")
        assert attempt.address == f"127.0.0.1:{receiver.port}"
    assert 0.15 <= attempt.seconds < 10


async def test_a_handshake_that_never_ends(make: Make) -> None:
    """The deadline covers connecting: TLS is spoken to a server that says nothing."""
    async with receiving(silence) as receiver:
        url = receiver.url.replace("http:", "https:")
        async with made(make(url, timeout=0.2)) as sender:
            attempt = await sender.send(delivery())
    assert attempt.outcome == Failed(reason="timeout", detail="no TLS connection after 0.2 s")
    assert attempt.address is None


def drip(status: int) -> Callable[[Request, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 1000000\r\n\r\n".encode())
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    return answer


async def test_a_dripping_body_does_not_outlive_the_deadline(make: Make) -> None:
    """One deadline covers the body too: a yes that never ends is no yes, and the connection is closed."""
    async with receiving(drip(200)) as receiver, made(make(receiver.url, timeout=0.3)) as sender:
        attempt = await sender.send(delivery())
        assert failed(attempt) == Failed(reason="timeout", detail="the reply was not complete after 0.3 s")
        assert attempt.status == 200
        assert attempt.reply.startswith(".")
        await asyncio.wait_for(receiver.hung_up.wait(), 10)
    assert attempt.seconds < 10


async def test_a_dripping_error_is_that_error(make: Make) -> None:
    """The head of a 503 says all that matters."""
    async with receiving(drip(503)) as receiver, made(make(receiver.url, timeout=0.3)) as sender:
        outcome = failed(await sender.send(delivery()))
    assert (outcome.reason, outcome.throttle) == ("http_503", True)


async def test_a_body_cut_short(make: Make) -> None:
    """A yes of which a part is missing is no yes; it is sent again, with the same id."""

    async def cut(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with receiving(cut) as receiver, made(make(receiver.url)) as sender:
        attempt = await sender.send(delivery())
    assert failed(attempt) == Failed(reason="reset", detail="the reply's body was cut short")


async def test_what_is_not_http(make: Make) -> None:
    """Another protocol's greeting is no reply."""

    async def greet(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP \x1b[31m\r\n\r\n")

    async with receiving(greet) as receiver, made(make(receiver.url)) as sender:
        outcome = failed(await sender.send(delivery()))
    assert (outcome.reason, outcome.spend) == ("protocol", True)
    assert outcome.detail.isprintable()


async def test_a_stale_connection_is_no_attempt(make: Make) -> None:
    """A kept connection that the endpoint closes as the request comes is replaced within the attempt."""

    async def tired(request: Request, writer: asyncio.StreamWriter) -> None:
        first_of_connection = request.number in (0, 2)
        if first_of_connection:
            writer.write(reply())
        else:
            await reset(request, writer)

    async with receiving(tired) as receiver, made(make(receiver.url)) as sender:
        assert (await sender.send(delivery())).outcome == Delivered()
        assert (await sender.send(delivery())).outcome == Delivered()
    assert [request.connection for request in receiver.requests] == [0, 0, 1]
    bodies = {request.body for request in receiver.requests}
    assert len(bodies) == 1
    assert receiver.requests[1].headers == receiver.requests[2].headers


async def test_it_is_replaced_by_a_new_one_and_once() -> None:
    """Other kept connections are as old: none of them is tried; and a new one that breaks is a failure."""
    gate = asyncio.Barrier(4)

    async def tired(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.number < 4:
            await gate.wait()  # so that four connections are open at once
            writer.write(reply())
        else:
            await hang_up(request, writer)

    async with receiving(tired) as receiver, made(webhook(receiver.url)) as sender:
        await asyncio.gather(*(sender.send(delivery()) for _ in range(4)))
        assert receiver.connections == 4
        assert failed(await sender.send(delivery())).reason == "reset"
    assert [request.connection > 3 for request in receiver.requests[4:]] == [False, True]


async def test_a_reply_that_began_is_not_asked_for_again() -> None:
    """A kept connection that breaks within the reply's head: the message was handled, perhaps."""

    async def stammer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.number == 0:
            writer.write(reply())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            await writer.drain()
            writer.close()

    async with receiving(stammer) as receiver, made(webhook(receiver.url)) as sender:
        await sender.send(delivery())
        assert failed(await sender.send(delivery())).reason == "reset"
    assert len(receiver.requests) == 2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_tls(make: Make, authority: trustme.CA) -> None:
    """With the right authority it is delivered, on one connection."""
    tls, trust = serving_tls(authority, "127.0.0.1"), trusting_tls(authority)
    async with receiving(says(reply()), tls) as receiver, made(make(receiver.url, trust=trust)) as sender:
        for _ in range(3):
            assert (await sender.send(delivery())).outcome == Delivered()
    assert receiver.connections == 1


@pytest.mark.parametrize("wrong", ["authority", "name", "protocol"])
async def test_tls_that_cannot_be_trusted(make: Make, authority: trustme.CA, wrong: str) -> None:
    """Nothing is sent to who cannot prove to be the endpoint."""
    tls = None if wrong == "protocol" else serving_tls(authority, "else.example" if wrong == "name" else "127.0.0.1")
    trust = trusting_tls(trustme.CA() if wrong == "authority" else authority)
    async with receiving(says(reply()), tls, greeting=b"" if tls else b"not TLS at all\r\n") as receiver:
        sender = make(f"https://127.0.0.1:{receiver.port}/", trust=trust)
        outcome = failed(await sender.send(delivery()))
        await sender.close()
    assert (outcome.reason, outcome.spend) == ("tls", True)
    assert outcome.detail
    assert receiver.requests == []


@contextmanager
def no_more_files() -> Iterator[None]:
    """Take away every descriptor that is not in use."""
    gc.collect()  # or what others left behind becomes free meanwhile
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 64, hard))
    try:
        while True:
            try:
                fillers.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_out_of_descriptors(make: Make) -> None:
    """Our own fault: the endpoint is not charged, and the next attempt works."""
    async with receiving(says(reply())) as receiver, made(make(receiver.url)) as sender:
        with no_more_files():
            outcome = failed(await sender.send(delivery()))
        assert (outcome.reason, outcome.spend) == ("too_many_files", False)
        assert (await sender.send(delivery())).outcome == Delivered()


@pytest.mark.parametrize(
    ("code", "spend"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False), (socket.EAI_SYSTEM, False)]
)
async def test_names(make: Make, monkeypatch: pytest.MonkeyPatch, code: int, spend: bool) -> None:
    """A name that does not exist is the endpoint's fault; a name server that does not answer is ours.

    The system's resolver is replaced, as no test may ask a name server.
    """

    def answer(*_: object) -> object:
        raise socket.gaierror(code, "as the test says")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    async with made(make("http://endpoint.example/")) as sender:
        outcome = failed(await sender.send(delivery()))
    assert (outcome.reason, outcome.spend) == ("dns", spend)


async def test_a_name_that_no_thread_can_look_up_is_our_fault(make: Make) -> None:
    """The name is looked up for the next attempt."""
    async with receiving(says(reply())) as receiver, made(make(f"http://localhost:{receiver.port}/")) as sender:
        with no_thread():
            outcome = failed(await sender.send(delivery()))
        assert (outcome.reason, outcome.spend) == ("local", False)
        assert (await sender.send(delivery())).outcome == Delivered()


async def test_a_name_of_the_hosts_file(make: Make) -> None:
    """Names are looked up as the system does; the time it took is a phase of its own."""
    async with receiving(says(reply())) as receiver, made(make(f"http://localhost:{receiver.port}/")) as sender:
        attempt = await sender.send(delivery())
    assert attempt.outcome == Delivered()
    assert attempt.phases["dns"] > 0


async def test_a_name_server_that_hangs_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty endpoints wait for theirs, more than any pool has threads; another's name is looked up at once."""
    real, hang = socket.getaddrinfo, threading.Event()

    def answer(host: str, *rest: int) -> object:
        if host != "localhost":
            hang.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "at last")
        return real(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    stuck = [webhook(f"http://stuck-{number}.example/") for number in range(20)]
    waiting = [asyncio.create_task(sender.send(delivery()), name="stuck") for sender in stuck]
    async with receiving(says(reply())) as receiver, made(webhook(f"http://localhost:{receiver.port}/")) as sender:
        assert (await sender.send(delivery())).outcome == Delivered()
    assert not any(task.done() for task in waiting)
    for task in waiting[10:]:
        task.cancel()
    hang.set()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [failed(end).reason for end in ends[:10] if isinstance(end, Attempt)] == ["dns"] * 10
    assert all(isinstance(end, asyncio.CancelledError) for end in ends[10:])
    for sender in stuck:
        await sender.close()


@pytest.mark.parametrize("fault", [None, socket.gaierror(socket.EAI_AGAIN, "x")])
async def test_a_lookup_may_outlive_who_asked(fault: OSError | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while a thread looks: its answer is dropped, and no exception is left over."""
    asked, go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def look_up(*_: object) -> list[object]:
        threads.append(threading.current_thread())
        asked.set()
        go_on.wait()
        if fault is not None:
            raise fault
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    lookup = asyncio.create_task(Names().addresses("slow.example", 80))
    assert await asyncio.to_thread(asked.wait, 60)
    lookup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lookup
    go_on.set()
    await asyncio.to_thread(threads[0].join)
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints


def test_no_host_name() -> None:
    """A label that no name server could be asked for is a name that does not exist."""
    with pytest.raises(socket.gaierror) as caught:
        look_up("a" * 70 + ".example", 80)
    assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize(
    ("exc", "reason", "spend"),
    [
        (OSError(errno.ENETUNREACH, "x"), "local", False),
        (OSError(errno.EADDRNOTAVAIL, "x"), "local", False),
        (OSError(errno.EPERM, "x"), "local", False),
        (OSError(errno.ENFILE, "x"), "too_many_files", False),
        (OSError(errno.ETIMEDOUT, "x"), "timeout", True),
        (OSError(errno.EHOSTUNREACH, "x"), "reset", True),
        (OSError("Multiple exceptions"), "reset", True),
        (ssl.SSLError(1, "x"), "tls", True),
        (ConnectFault(OSError("Multiple exceptions")), "connect", True),
        (ConnectFault(ConnectionAbortedError()), "connect", True),
        (Lost(ConnectionResetError(errno.ECONNRESET, "http://x/secret"), begun=False), "reset", True),
        (Lost(ssl.SSLError(1, "x"), begun=False), "tls", True),
        (BadHead("Invalid header token", b"secret"), "protocol", True),
        (BrokenFraming("Invalid chunk size"), "protocol", True),
    ],
)
def test_faults_that_are_hard_to_make(exc: Exception, reason: str, spend: bool) -> None:
    """Each has its name and its side, and none quotes the URL."""
    outcome = explain(exc)
    assert outcome is not None
    assert (outcome.reason, outcome.spend) == (reason, spend)
    assert "secret" not in outcome.detail


def test_an_unknown_exception_is_not_explained_away() -> None:
    """What is a fault of the program is logged as one."""
    assert explain(KeyError("x")) is None


async def test_a_fault_of_the_program_is_an_outcome_too(make: Make) -> None:
    """A header that cannot be written: logged with its traceback, never raised."""
    async with receiving(says(reply())) as receiver, made(make(receiver.url, team="a\r\nb: c")) as sender:
        with structlog.testing.capture_logs() as logs:
            outcome = failed(await sender.send(delivery()))
    assert (outcome.reason, outcome.detail) == ("internal", "a fault of this program: ValueError")
    assert [(entry["event"], entry["exc_info"]) for entry in logs] == [("sender.unexpected_error", True)]
    assert receiver.requests == []


async def test_after_closing_nothing_is_sent(make: Make) -> None:
    """At no cost, and closing again is no error."""
    async with receiving(says(reply())) as receiver:
        sender = make(receiver.url)
        await sender.send(delivery())
        await sender.close()
        outcome = failed(await sender.send(delivery()))
        await sender.close()
    assert (outcome.reason, outcome.spend) == ("closed", False)
    assert len(receiver.requests) == 1


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("stage", ["no reply", "in the body", "in the handshake"])
async def test_cancelling_leaves_nothing(make: Make, stage: str) -> None:
    """No descriptor and no warning, wherever the attempt stood; and it is really cancelled."""
    answer = drip(200) if stage == "in the body" else silence
    async with receiving(answer) as receiver:
        url = receiver.url.replace("http:", "https:") if stage == "in the handshake" else receiver.url
        async with made(make(url)) as sender:
            before = descriptors()
            tasks = [asyncio.create_task(sender.send(delivery()), name="attempt") for _ in range(4)]
            await receiver.connected(4)
            if stage == "in the body":
                await asyncio.wait_for(receiver.came.wait(), 10)
                await asyncio.sleep(0.1)  # what the sender has read of the reply cannot be seen from outside
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
    for _ in range(500):  # both ends close in their own time
        if descriptors() <= before:
            break
        await asyncio.sleep(0.01)
    assert descriptors() <= before


@pytest.mark.parametrize("size", [100, 2_000_000])
async def test_nothing_is_written_once_the_claim_may_be_lost(size: int) -> None:
    """To connect takes time, and so may the event loop: the delivery may become another node's meanwhile."""
    given = delivery(json.dumps({"filler": "x" * size}).encode())
    holds = True
    async with receiving(says(reply())) as receiver, made(webhook(receiver.url)) as sender:
        assert isinstance((await sender.send(given, lambda: holds)).outcome, Delivered)
        holds = False
        for _ in range(2):
            outcome = (await sender.send(given, lambda: holds)).outcome
            assert isinstance(outcome, Failed)
            assert (outcome.reason, outcome.spend) == ("claim_lost", False)
        holds = True
        assert isinstance((await sender.send(given, lambda: holds)).outcome, Delivered)
        assert len(receiver.requests) == 2


async def test_what_is_written_follows_the_question_at_once(make: Make) -> None:
    """A process that is stopped in between would send it when it goes on, whoever's the delivery is by then."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:

        def look() -> None:
            accepted = stack.enter_context(listening.accept()[0])
            accepted.setblocking(False)
            with suppress(BlockingIOError):
                seen.append(accepted.recv(1 << 16))
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        def holds() -> bool:
            asyncio.get_running_loop().call_soon(look)  # in the next round
            return True

        async with made(make(f"http://127.0.0.1:{listening.getsockname()[1]}/")) as sender:
            await sender.send(delivery(), holds)
    assert len(seen) == 1
    assert seen[0].endswith(b"}")
