"""Services beside Slack: what each is sent, what its replies mean, and that it would take any event."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from event_strategies import DELIVERIES
from hypothesis import given
from scripted_receiver import delivery, receiving, reply, says

from notifier.core.model import Delivery
from notifier.core.retry import Attempt, Delivered, Failed, Gone, Outcome, Rejected
from notifier.senders.chat import ChatSender
from notifier.senders.notice import NOTHING, Additions, read
from notifier.senders.services import Service, ServiceName, load
from notifier.senders.target import Target

NOW = 1_700_000_000_000_000
EVENT = {
    "type": "task.failed",
    "timestamp": "t",
    "data": {
        "watch": {"source": "vi*du", "id": "1`2", "labels": {"team": "@all"}, "metadata": None},
        "state": "failed",
        "phase": "failed",
        "previous_state": "processing",
        "error": {"code": "E1", "message": "bad <prompt> @everyone [x](http://evil)"},
        "result": {"urls": ["https://cdn.example/a(1).mp4?x=1&y=2"]},
        "watched_seconds": 81.2,
    },
}


def message(name: ServiceName, event: Any = EVENT, additions: Additions = NOTHING) -> Any:
    return json.loads(json.dumps(load(name).message(read(delivery(json.dumps(event).encode()), additions))))


FULL = Additions(metadata=("a", "b.c"), public_url="https://notifier.example")  # all that messages can show


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def size(found: Any) -> int:
    return len(json.dumps(found, ensure_ascii=False).encode())


def test_mattermost() -> None:
    """Markdown and Slack's older attachments; what a stranger wrote is no markup and mentions nobody."""
    assert message("mattermost") == {
        "text": "❌ **vi\\*du** `1'2`: **failed** after 1 min 21 s",
        "attachments": [
            {
                "fallback": "❌ vi*du 1`2: failed after 1 min 21 s",
                "color": "#CF222E",
                "text": "E1: bad \\<prompt\\> @\u2060everyone \\[x\\]\\(http://evil\\)\n"
                "[result](https://cdn.example/a%281%29.mp4?x=1&y=2)",
                "footer": "team: @\u2060all",
            }
        ],
    }


def test_discord() -> None:
    """One embed; mentions are turned off besides."""
    assert message("discord") == {
        "embeds": [
            {
                "title": "❌ vi\\*du 1\\`2: failed after 1 min 21 s",
                "color": 0xCF222E,
                "description": "E1: bad \\<prompt\\> @\u2060everyone \\[x\\]\\(http://evil\\)\n"
                "[result](https://cdn.example/a%281%29.mp4?x=1&y=2)",
                "footer": {"text": "team: @all"},
            }
        ],
        "allowed_mentions": {"parse": []},
    }


def test_feishu() -> None:
    """A card of plain text, with a button for each result."""
    found = message("feishu")
    assert found["msg_type"] == "interactive"
    title = {"tag": "plain_text", "content": "❌ vi*du 1`2: failed after 1 min 21 s"}
    assert found["card"]["header"] == {"title": title, "template": "red"}
    trouble, results, labels = found["card"]["elements"]
    assert trouble["text"]["content"] == "E1: bad <prompt> @everyone [x](http://evil)"
    (button,) = results["actions"]
    assert (button["text"]["content"], button["url"]) == ("result", "https://cdn.example/a%281%29.mp4?x=1&y=2")
    assert labels["elements"][0]["content"] == "team: @all"


@pytest.mark.parametrize("name", ["mattermost", "discord", "feishu"])
def test_metadata_and_the_page_are_shown_by_every_service(name: ServiceName) -> None:
    """Once each."""
    event = {"type": "task.succeeded", "data": {"watch": {"source": "v", "id": "1", "metadata": {"order": 7}}}}
    found = json.dumps(message(name, event, Additions(metadata=("order",), public_url="https://n.example")))
    assert found.count("order: 7") == found.count("https://n.example/#/watch/v/1") == 1


def test_the_problems_of_a_refused_configuration_are_told() -> None:
    """Line by line."""
    event = {"type": "notifier.reload_failed", "data": {"problems": ["a.yaml:1:1: x", "a.yaml:2:1: y"]}}
    (embed,) = message("discord", event)["embeds"]
    assert embed["description"] == "a.yaml:1:1: x\na.yaml:2:1: y"


@given(DELIVERIES)
def test_mattermost_would_take_any_event(sent: Delivery) -> None:
    """Text of 16,383 characters, properties of 8,000."""
    found = load("mattermost").message(read(sent, FULL))
    assert 0 < units(found["text"]) <= 16_383
    assert units(json.dumps(found.get("attachments", []), ensure_ascii=False)) <= 8000
    assert "@a" not in found["text"].replace("`@a", "")


@given(DELIVERIES)
def test_discord_would_take_any_event(sent: Delivery) -> None:
    """Every limit of an embed, and 6,000 in all; no part is empty."""
    (embed,) = load("discord").message(read(sent, FULL))["embeds"]
    texts = [embed["title"], embed.get("description", "-"), embed.get("footer", {"text": "-"})["text"]]
    assert all(text.strip() for text in texts)
    assert sum(map(units, texts)) <= 6000
    assert units(embed["title"]) <= 256
    assert units(embed.get("description", "")) <= 4096
    assert units(embed.get("footer", {"text": ""})["text"]) <= 2048


@given(DELIVERIES)
def test_feishu_would_take_any_event(sent: Delivery) -> None:
    """20 KB."""
    found = load("feishu").message(read(sent, FULL))
    assert size(found) <= 20_000
    assert found["card"]["header"]["title"]["content"]


@pytest.mark.parametrize(
    ("name", "limit"), [("slack", 40_000), ("mattermost", 16_383), ("discord", 2000), ("feishu", 6000)]
)
def test_a_text_is_cut_where_it_is_too_long(name: ServiceName, limit: int) -> None:
    """Visibly; its markup is its author's own."""
    found = load(name).text("*a* <b> @c\n" + "日" * 50_000)
    text = {"discord": found.get("content")}.get(name) or found.get("text") or found["content"]["text"]
    assert text.startswith("*a* <b> @c\n日")
    assert text.endswith("…")
    assert units(text) == limit
    assert name != "feishu" or size(found) <= 20_000


def judge(name: ServiceName, status: int, body: str = "", **headers: str) -> Outcome:
    made: Service = load(name)
    return made.judge(status, body, {key.replace("_", "-"): value for key, value in headers.items()}, now=NOW)


def mattermost_error(word: str) -> str:
    return json.dumps({"id": word, "message": "x", "detailed_error": "", "request_id": "r", "status_code": 400})


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (200, "ok", Delivered, None),
        (200, "<html>Log in</html>", Failed, "unexpected_reply"),
        (400, mattermost_error("web.incoming_webhook.invalid.app_error"), Gone, "mattermost_invalid"),
        (501, mattermost_error("web.incoming_webhook.disabled.app_error"), Gone, "mattermost_disabled"),
        (404, mattermost_error("web.incoming_webhook.channel.app_error"), Gone, "mattermost_channel"),
        (500, mattermost_error("web.incoming_webhook.channel.app_error"), Failed, "http_500"),
        (403, mattermost_error("web.incoming_webhook.channel_locked.app_error"), Gone, "mattermost_channel_locked"),
        (400, mattermost_error("web.incoming_webhook.text.app_error"), Rejected, "mattermost_text"),
        (400, mattermost_error("web.incoming_webhook.new.app_error"), Failed, "http_400"),
        (429, "limit exceeded", Failed, "http_429"),
        (502, "<html>", Failed, "http_502"),
        (410, "", Gone, "http_410"),
        (302, "", Failed, "redirect"),
    ],
)
def test_mattermosts_replies(status: int, body: str, kind: type, reason: str | None) -> None:
    """By the `id` of its errors."""
    outcome = judge("mattermost", status, body)
    assert (type(outcome), getattr(outcome, "reason", None)) == (kind, reason)


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (204, "", Delivered, None),
        (200, '{"id": "1"}', Delivered, None),
        (404, '{"message": "Unknown Webhook", "code": 10015}', Gone, "discord_unknown_webhook"),
        (401, '{"message": "Invalid Webhook Token", "code": 50027}', Gone, "discord_invalid_token"),
        (404, '{"message": "404: Not Found", "code": 0}', Failed, "http_404"),
        (400, '{"code": 50035, "errors": {}, "message": "Invalid Form Body"}', Rejected, "discord_invalid_form"),
        (400, '{"code": 50006, "message": "Cannot send an empty message"}', Rejected, "discord_empty_message"),
        (400, '{"code": 1, "message": "x"}', Failed, "http_400"),
        (403, "error code: 1015", Failed, "http_403"),
        (500, '{"code": 10015}', Failed, "http_500"),
        (503, "", Failed, "http_503"),
        (410, "", Gone, "http_410"),
        (301, "", Failed, "redirect"),
    ],
)
def test_discords_replies(status: int, body: str, kind: type, reason: str | None) -> None:
    """By the `code` of its errors."""
    outcome = judge("discord", status, body)
    assert (type(outcome), getattr(outcome, "reason", None)) == (kind, reason)


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ('{"message": "You are being rate limited.", "retry_after": 0.65, "global": false}', {"retry_after": "1"}, 1.0),
        ('{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}', {}, 64.57),
        ('{"retry_after": 1337.57}', {"retry_after": "65"}, 1337.57),
        ("error code: 1015", {"retry_after": "30"}, 30.0),
        ("error code: 1015", {}, None),
    ],
)
def test_discord_says_in_fractions_how_long_to_wait(body: str, headers: dict[str, str], seconds: float | None) -> None:
    """In the body; the longer of body and header counts, and it costs nothing."""
    outcome = judge("discord", 429, body, **headers)
    assert isinstance(outcome, Failed)
    assert (outcome.throttle, outcome.spend, outcome.retry_after) == (True, False, seconds)


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (200, '{"code": 0, "msg": "success", "data": {}}', Delivered, None),
        (200, '{"Extra": null, "StatusCode": 0, "StatusMessage": "success"}', Delivered, None),
        (200, '{"StatusCode": 0, "code": 0}', Delivered, None),
        (200, '{"code": 19001, "msg": "param invalid: ... token invalid"}', Gone, "feishu_invalid_token"),
        (200, '{"StatusCode": 19001}', Gone, "feishu_invalid_token"),
        (200, '{"code": 19021, "msg": "sign match fail"}', Failed, "feishu_signature"),
        (200, '{"code": 19022, "msg": "Ip Not Allowed"}', Failed, "feishu_ip"),
        (200, '{"code": 19024, "msg": "Key Words Not Found"}', Rejected, "feishu_keyword"),
        (200, '{"code": 9499, "msg": "Bad Request", "data": {}}', Rejected, "feishu_bad_request"),
        (200, '{"code": 9499, "msg": "too many request"}', Failed, "rate_limited"),
        (200, '{"code": 11232, "msg": "frequency limited"}', Failed, "rate_limited"),
        (400, '{"code": 11232, "msg": "frequency limited"}', Failed, "rate_limited"),
        (400, '{"code": 9499, "msg": "Bad Request"}', Rejected, "feishu_bad_request"),
        (200, '{"code": 424242, "msg": "x"}', Failed, "unexpected_reply"),
        (200, '{"code": "0"}', Failed, "unexpected_reply"),
        (200, '{"code": false}', Failed, "unexpected_reply"),
        (200, "ok", Failed, "unexpected_reply"),
        (404, "<html>", Failed, "http_404"),
        (404, '{"code": 0}', Failed, "http_404"),
        (429, '{"code": 99991400}', Failed, "http_429"),
        (502, '{"code": 0}', Failed, "http_502"),
        (410, '{"code": 0}', Gone, "http_410"),
        (302, '{"code": 0}', Failed, "redirect"),
    ],
)  # fmt: skip
def test_feishus_replies(status: int, body: str, kind: type, reason: str | None) -> None:
    """By the `code` that stands in a 200."""
    outcome = judge("feishu", status, body)
    assert (type(outcome), getattr(outcome, "reason", None)) == (kind, reason)
    if reason == "rate_limited":
        assert isinstance(outcome, Failed)
        assert (outcome.throttle, outcome.spend) == (True, False)


@pytest.mark.parametrize("name", ["slack", "mattermost", "discord", "feishu"])
@given(sent=DELIVERIES)
def test_no_reply_is_too_strange(name: ServiceName, sent: Delivery) -> None:
    """Whatever arrives is judged."""
    for status in (200, 204, 302, 400, 404, 429, 500):
        assert isinstance(judge(name, status, sent.body.decode()), Delivered | Failed | Gone | Rejected)


@pytest.mark.parametrize(
    ("name", "answer", "part"),
    [
        ("mattermost", reply(200, b"ok"), "attachments"),
        ("discord", b"HTTP/1.1 204 No Content\r\n\r\n", "embeds"),
        ("feishu", reply(200, b'{"code":0,"msg":"success"}'), "card"),
    ],
)
async def test_messages_are_sent(name: ServiceName, answer: bytes, part: str) -> None:
    """Over a real socket, in the service's own form."""
    async with receiving(says(answer)) as receiver:
        sender = ChatSender(
            Target(url=receiver.url, timeout=20),
            service=name,
            clock=lambda: time.time_ns() // 1000,
            retry_on_timeout=True,
        )
        attempt: Attempt = await sender.send(delivery(json.dumps(EVENT).encode()))
        await sender.close()
    assert attempt.outcome == Delivered()
    assert part in json.loads(receiver.requests[0].body)
