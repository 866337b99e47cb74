"""Apprise against real receivers on this machine: JSON over HTTP, and mail over SMTP."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiosmtpd.smtp import SMTP
from event_strategies import DELIVERIES
from hypothesis import given
from refused_threads import no_thread
from scripted_receiver import Answer, Receiver, Request, delivery, receiving, reply, says, silence
from waits import until

from notifier.core.model import Delivery
from notifier.core.retry import Attempt, Delivered, Failed, Outcome, Rejected
from notifier.senders.apprise_service import OVERDUE, AppriseSender, service
from notifier.senders.notice import Additions, read
from notifier.senders.plain_text import written

FAILED = {
    "type": "task.failed",
    "timestamp": "t",
    "data": {
        "watch": {"source": "vidu", "id": "1", "labels": {"team": "video"}, "metadata": {"order": 7}},
        "state": "failed",
        "phase": "failed",
        "error": {"code": "E1", "message": "a *bold* <prompt>" + "x" * 1000},
        "result": {"urls": ["https://cdn.example/1.mp4"]},
        "watched_seconds": 81.2,
    },
}


def failed() -> Delivery:
    made = delivery(json.dumps(FAILED).encode())
    return Delivery(
        id=1, endpoint="app", event_id="msg_1", event_type="task.failed", body=made.body, lane=1, observed_at=0
    )


def sender(url: str, **settings: Any) -> AppriseSender:
    settings.setdefault("timeout", 20.0)
    return AppriseSender(url, clock=lambda: time.time_ns() // 1000, **settings)


def json_url(receiver: Receiver) -> str:
    return f"json://user:s3cr3tpass@127.0.0.1:{receiver.port}/t0ken"


async def attempt_at(answer: Answer, **settings: Any) -> Attempt:
    async with receiving(answer) as receiver:
        return await sender(json_url(receiver), **settings).send(failed())


async def test_a_machine_without_threads_costs_the_service_nothing() -> None:
    """The message waits; the next send does not count the one that was not begun."""
    async with receiving(says(reply())) as receiver:
        made = sender(json_url(receiver))
        with no_thread():
            outcomes = [(await made.send(failed())).outcome for _ in range(OVERDUE + 2)]
        assert {(each.reason, each.spend) for each in outcomes if isinstance(each, Failed)} == {("local", False)}
        assert not receiver.requests
        assert (await made.send(failed())).outcome == Delivered()


async def test_json_is_received() -> None:
    """Title and text say what Slack's message says, once."""
    additions = Additions(metadata=("order",), public_url="https://n.example")
    async with receiving(says(reply())) as receiver:
        attempt = await sender(json_url(receiver), additions=additions).send(failed())
    assert attempt.outcome == Delivered()
    body = json.loads(receiver.requests[0].body)
    assert body["title"] == "❌ vidu 1: failed after 1 min 21 s"
    error, result, page, facts = body["message"].split("\n")
    assert error.startswith("E1: a *bold* <prompt>xxx")
    assert (len(error), error[-1]) == (300, "…")
    assert result == "result: https://cdn.example/1.mp4"
    assert page == "details: https://n.example/#/watch/vidu/1"
    assert facts == "team: video · order: 7"
    assert body["type"] == "failure"


class Mailbox:
    """Keeps the mails that a server takes, or refuses them."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return self.answer


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[Mailbox, int]]:
    """Run an SMTP server."""
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailbox, enable_SMTPUTF8=True, hostname="localhost"), "127.0.0.1", 0
    )
    async with server:
        yield mailbox, server.sockets[0].getsockname()[1]


def mail_url(port: int) -> str:
    return f"mailto://127.0.0.1:{port}?from=notifier@example.com&to=ops@example.com&mode=insecure"


async def test_mail_is_received() -> None:
    """With the headline as its subject."""
    async with mail_server() as (mailbox, port):
        attempt = await sender(mail_url(port)).send(failed())
    assert attempt.outcome == Delivered()
    (mail,) = mailbox.mails
    assert mail["Subject"] == "❌ vidu 1: failed after 1 min 21 s"
    assert mail["To"] == "ops@example.com"
    assert "result: https://cdn.example/1.mp4" in mail.get_body(("plain",)).get_content()


async def test_a_mail_that_is_refused_is_sent_again() -> None:
    """By the schedule."""
    async with mail_server() as (mailbox, port):
        mailbox.answer = "451 try again later"
        outcome = (await sender(mail_url(port)).send(failed())).outcome
    assert isinstance(outcome, Failed)


async def test_a_template_writes_the_message() -> None:
    """The whole of it."""
    async with receiving(says(reply())) as receiver:
        await sender(json_url(receiver), template="{{ data.watch.id }} {{ data.state }}").send(failed())
        broken = (await sender(json_url(receiver), template="{{ data.nothing }}").send(failed())).outcome
    assert json.loads(receiver.requests[0].body)["message"] == "1 failed"
    assert isinstance(broken, Rejected)


@pytest.mark.parametrize(
    ("status", "reason", "throttle"),
    [(500, "http_500", False), (429, "http_429", True), (503, "http_503", True), (404, "http_404", False)],
)
async def test_a_refusal_is_told_by_its_status(status: int, reason: str, throttle: bool) -> None:
    """As far as Apprise tells it; a 410 of a service disables nothing."""
    outcome = (await attempt_at(says(reply(status)))).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.throttle) == (reason, throttle)


async def test_nobody_there() -> None:
    """It is tried again."""
    async with receiving(says(reply())) as receiver:
        url = json_url(receiver)
    outcome = (await sender(url).send(failed())).outcome
    assert isinstance(outcome, Failed)
    assert outcome.reason in ("connect", "refused")


async def test_our_deadline_ends_an_attempt() -> None:
    """What may have been shown is sent again only if that is wanted."""
    again = (await attempt_at(silence, timeout=0.3)).outcome
    once = (await attempt_at(silence, timeout=0.3, retry_on_timeout=False)).outcome
    assert isinstance(again, Failed)
    assert again.reason in ("timeout", "connect")
    if isinstance(once, Rejected):
        assert (once.reason, once.well) == ("timeout", False)


async def test_threads_do_not_pile_up() -> None:
    """A service that hangs keeps some; beyond that nothing is begun, at no cost, and all is well once they end."""
    held = threading.Event()

    class Hanging:
        socket_connect_timeout = socket_read_timeout = 1.0

        def notify(self, **_: Any) -> bool:
            return held.wait(60)

    made = sender("json://127.0.0.1:9", timeout=0.05)
    service_that_hangs: Any = Hanging()  # it outlives every timeout of its own, which none of Apprise's is to do
    made._service = service_that_hangs
    outcomes: list[Outcome] = [(await made.send(failed())).outcome for _ in range(1 + OVERDUE + 1)]
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)]
    assert reasons == ["timeout"] * (1 + OVERDUE) + ["busy"]
    held.set()
    await until(lambda: made._threads == 0, "the threads have ended")
    assert (await made.send(failed())).outcome == Delivered()


async def test_a_delivery_of_another_node_is_not_sent() -> None:
    """It is asked in the thread, just before."""
    async with receiving(says(reply())) as receiver:
        outcome = (await sender(json_url(receiver)).send(failed(), lambda: False)).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.spend) == ("claim_lost", False)
    assert receiver.requests == []


async def test_the_url_appears_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Apprise logs what it sends to; its lines go to no log of ours."""

    async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(500, f"{request.line} {request.headers.get('authorization')} s3cr3tpass".encode()))

    with structlog.testing.capture_logs() as logs:
        attempt = await attempt_at(echo)
        with pytest.raises(ValueError, match="knows no such service") as refused:
            service("jsn://user:s3cr3tpass@x/t0ken")
        with pytest.raises(ValueError, match="knows no such service"):
            service("slack://t0ken")
    told = f"{attempt!r} {logs!r} {caplog.records!r} {refused.value}"
    assert "s3cr3t" not in told
    assert "t0ken" not in told
    assert not logging.getLogger("apprise").propagate


async def test_a_fault_of_a_service_is_an_outcome() -> None:
    """Logged by its kind alone."""
    made = sender("json://127.0.0.1:9")

    class Broken:
        def notify(self, **_: Any) -> bool:
            raise RuntimeError("https://t0ken.example")

    broken: Any = Broken()
    made._service = broken
    with structlog.testing.capture_logs() as logs:
        outcome = (await made.send(failed())).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.proves) == ("internal", False)
    assert "t0ken" not in f"{outcome} {logs}"


@given(DELIVERIES)
def test_any_event_makes_a_text(sent: Delivery) -> None:
    """Never an empty one."""
    text = written(read(sent, Additions(metadata=("a", "b.c"), public_url="https://n.example")), sent.event_type)
    assert text.body.strip()
    assert len(text.title) <= 200
    assert len(text.body) <= 7000


def test_only_who_uses_apprise_loads_it() -> None:
    """It takes a third of a second."""
    program = "import sys, notifier.daemon.adapters; assert 'apprise' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
