"""Bodies as CloudEvents 1.0 in structured mode: signed and sent like any other."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from scripted_receiver import delivery, receiving, reply, says

from notifier.config import ConfigError, load
from notifier.core.model import Delivery
from notifier.core.retry import Delivered, Rejected
from notifier.core.signers import StandardSigner
from notifier.core.signing import decode_secret
from notifier.daemon import adapters
from notifier.runtime.clock import Clock
from notifier.senders.cloudevents import structured
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_019ab2f0c1d7a4e09c8f3b6d52e1f407"
EVENT = {
    "type": "task.succeeded",
    "timestamp": "2026-11-22T06:21:01.123456Z",
    "data": {"watch": {"source": "vidu", "id": "7", "labels": {}, "metadata": {}}, "sequence": 3, "state": "success"},
}


def of(event: Any) -> Delivery:
    return replace(delivery(json.dumps(event).encode()), event_id=ID)


def cloudevent(event: Any) -> Any:
    body = structured(of(event))
    assert isinstance(body, bytes)
    return json.loads(body)


def test_the_attributes_are_the_events() -> None:
    """Its `data` is the same object."""
    assert cloudevent(EVENT) == {
        "specversion": "1.0",
        "id": ID,
        "source": "/notifier/vidu",
        "type": "task.succeeded",
        "subject": "7",
        "time": "2026-11-22T06:21:01.123456Z",
        "datacontenttype": "application/json",
        "sequence": "3",
        "sequencetype": "Integer",
        "data": EVENT["data"],
    }


@pytest.mark.parametrize(
    ("data", "source", "subject"),
    [
        ({"endpoint": "app", "detail": "x"}, "/notifier", "app"),
        ({"problems": ["x"]}, "/notifier", None),
        ({"watch": {"source": "a b/ü?", "id": "x/y"}, "sequence": 1}, "/notifier/a%20b%2F%C3%BC%3F", "x/y"),
    ],
)
def test_sources_are_uri_references_and_subjects_are_not_empty(data: Any, source: str, subject: str | None) -> None:
    """Operators' events are about an endpoint, or about the daemon."""
    event = cloudevent({"type": "any.type", "timestamp": "2026-11-22T06:21:01Z", "data": data})
    assert event["source"] == source
    assert event.get("subject") == subject
    assert ("sequence" in event) is ("sequence" in data)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"type": "x", "data": 1, "timestamp": ""}', b"[" * 100_000])
def test_what_is_no_event_ends_the_delivery(body: bytes) -> None:
    """It would fail the same way each time, and says nothing about the endpoint."""
    outcome = structured(replace(delivery(body), event_id=ID))
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.well) == ("format", None)


async def test_it_is_signed_and_sent_like_any_other_body() -> None:
    """The bytes that are signed are the bytes that are sent."""
    async with receiving(says(reply())) as receiver:
        sender = WebhookSender(
            Target(url=receiver.url, timeout=20),
            signer=StandardSigner([decode_secret(WHSEC)]),
            format="cloudevents",
            clock=lambda: time.time_ns() // 1000,
        )
        attempt = await sender.send(of(EVENT))
        await sender.close()
    assert attempt.outcome == Delivered()
    [request] = receiver.requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["webhook-id"] == ID
    verified = standardwebhooks.Webhook(WHSEC).verify(request.body, request.headers)
    assert verified["specversion"] == "1.0"


async def test_an_endpoint_says_so(tmp_path: Path) -> None:
    """`format: cloudevents`."""
    async with receiving(says(reply())) as receiver:
        path = tmp_path / "config.yaml"
        more = "format: cloudevents"
        path.write_text(f"endpoints: {{e: {{type: webhook, secrets: [{WHSEC}], url: '{receiver.url}', {more}}}}}")
        sender = adapters.sender(load(path, env={}).endpoints["e"], Clock())
        await sender.send(of(EVENT), lambda: True)
        await sender.close()
    [request] = receiver.requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert json.loads(request.body)["id"] == ID


def test_a_template_and_a_format_are_too_much(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"endpoints: {{e: {{type: webhook, secrets: [{WHSEC}], url: 'http://h/', format: cloudevents, template: '1'}}}}"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    [problem] = caught.value.problems
    assert problem.key == "endpoints.e.template"
    assert "makes the whole body" in problem.message


@pytest.mark.parametrize("word", ["cloudevent", "binary"])
def test_another_format_is_refused(tmp_path: Path, word: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"endpoints: {{e: {{type: webhook, secrets: [{WHSEC}], url: 'http://h/', format: {word}}}}}")
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    assert caught.value.problems[0].key == "endpoints.e.format"
