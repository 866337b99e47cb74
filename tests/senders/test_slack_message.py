"""What a message looks like, and that Slack would take it whatever the event holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from event_strategies import BODIES
from hypothesis import given
from hypothesis import strategies as st
from scripted_receiver import delivery

from notifier.core.model import EventType
from notifier.senders.mention import slack_mention
from notifier.senders.notice import NOTHING, Additions, read
from notifier.senders.reply import fit
from notifier.senders.services.slack import ESCAPES, LINKS, SERVICE

WATCH = {"source": "vidu", "id": "2370487727425660", "labels": {"team": "video"}, "metadata": None}


def message(kind: str, additions: Additions = NOTHING, **data: Any) -> Any:
    return written(json.dumps({"type": kind, "timestamp": "t", "data": data}).encode(), additions)


def written(body: bytes, additions: Additions = NOTHING) -> Any:
    """Return what is POSTed for an event."""
    return json.loads(json.dumps(SERVICE.message(read(delivery(body), additions))))


def units(text: str) -> int:
    """Count as Slack does at its strictest: UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def texts(found: Any) -> list[str]:
    """Return every text of the blocks."""
    if isinstance(found, dict):
        own = [found["text"]] if isinstance(found.get("text"), str) else []
        return own + [text for value in found.values() for text in texts(value)]
    return [text for value in found for text in texts(value)] if isinstance(found, list) else []


def test_a_failed_task() -> None:
    """Colour and emoji of its phase, who and what, how long; then the error, the links, the facts. Nothing twice."""
    found = message(
        "task.failed",
        Additions(metadata=("order", "nothing"), mentions=("<!here>",), public_url="https://notifier.example/a"),
        watch=WATCH | {"metadata": {"order": 7, "secret": 1}},
        state="failed",
        phase="failed",
        previous_state="processing",
        error={"code": "E1", "message": "bad <prompt> & more"},
        result={"urls": ["https://cdn.example/a.mp4?x=1&y=|>"]},
        watched_seconds=81.2,
    )
    assert found["text"] == "❌ *vidu* `2370487727425660`: *failed* after 1 min 21 s <!here>"
    (attachment,) = found["attachments"]
    assert attachment["color"] == "#CF222E"
    assert "fallback" not in attachment
    assert texts(attachment["blocks"]) == [
        "E1: bad &lt;prompt&gt; &amp; more",
        "<https://cdn.example/a.mp4?x=1&amp;y=%7C%3E|result> · "
        "<https://notifier.example/a/#/watch/vidu/2370487727425660|details>",
        "team: video · order: 7",
    ]


def test_the_markup_of_an_error_is_not_markup() -> None:
    """A provider's error is plain text, of 300 characters, and the cut is seen. Facts are plain text too."""
    trouble = "*bold* _it_ `code` ~s~ <!channel> <https://evil|x>"
    found = message("task.failed", watch=WATCH, phase="failed", error={"code": None, "message": trouble + "x" * 1000})
    error, facts = found["attachments"][0]["blocks"]
    assert error["text"]["type"] == "plain_text"
    assert error["text"]["text"].startswith("*bold* _it_ `code` ~s~ &lt;!channel&gt; &lt;https://evil|x&gt;xxx")
    assert error["text"]["text"].endswith("x…")
    assert len(error["text"]["text"]) == 300
    assert facts["elements"] == [{"type": "plain_text", "text": "team: video", "emoji": False}]


@pytest.mark.parametrize("kind", list(EventType))
def test_only_failures_call_somebody(kind: str) -> None:
    """An event that asks for attention does; a task that goes on or succeeds does not."""
    calls = {"task.failed", "watch.lost", "endpoint.failing", "endpoint.disabled", "source.failing"}
    found = message(kind, Additions(mentions=("<@U012AB3CD>",)), watch=WATCH, phase="failed")
    assert ("<@U012AB3CD>" in found["text"]) == (kind in calls | {"notifier.reload_failed"})


@pytest.mark.parametrize(
    ("name", "mention"),
    [
        ("here", "<!here>"),
        ("@channel", "<!channel>"),
        ("U012AB3CD", "<@U012AB3CD>"),
        ("W012AB3CD", "<@W012AB3CD>"),
        ("S012AB3CD", "<!subteam^S012AB3CD>"),
        ("@anna", None),
        ("<!here>", None),
    ],
)
def test_slack_calls_by_ids(name: str, mention: str | None) -> None:
    """A name calls nobody."""
    assert slack_mention(name) == mention


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("order", ["order: 7"]),
        ("customer.id", ["customer.id: x*y"]),
        ("customer", ['customer: {"id": "x*y"}']),
        ("a.b", ["a.b: true"]),
        ("none", []),
        ("customer.name", []),
        ("order.id", []),
    ],
)
def test_chosen_metadata(key: str, shown: list[str]) -> None:
    """By its key, which may lead through mappings; nothing is shown of a key that is not there."""
    metadata = {"order": 7, "customer": {"id": "x*y"}, "a.b": True, "none": None}
    found = message("task.succeeded", Additions(metadata=(key,)), watch={**WATCH, "labels": {}, "metadata": metadata})
    assert [text for attachment in found["attachments"] for text in texts(attachment["blocks"])] == shown


@pytest.mark.parametrize(
    ("data", "link"),
    [
        ({"watch": WATCH | {"id": "a/b|c>d e"}}, "https://n.example/#/watch/vidu/a%2Fb%7Cc%3Ed%20e"),
        ({"endpoint": "app"}, "https://n.example/#/endpoints"),
        ({"problems": ["x"]}, None),
        ({"watch": WATCH | {"id": "x" * 600}}, None),
    ],
)
def test_the_link_to_the_status_page(data: dict[str, Any], link: str | None) -> None:
    """Of the watch, or of the endpoints; its characters cannot end the link, and one that is too long is left out."""
    found = message("watch.stalled", Additions(public_url="https://n.example"), **data)
    shown = [text for attachment in found["attachments"] for text in texts(attachment["blocks"]) if "n.example" in text]
    assert shown == ([] if link is None else [f"<{link}|details>"])


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("task.state_changed", {"state": "queueing", "phase": "queued"}, "⏳ *vidu* `2370487727425660`: `queueing`"),
        ("task.state_changed", {"state": "odd`", "phase": "running"}, "▶️ *vidu* `2370487727425660`: `odd'`"),
        (
            "task.succeeded",
            {"phase": "succeeded", "watched_seconds": 3725},
            "✅ *vidu* `2370487727425660`: *succeeded* after 1 h 2 min",
        ),
        (
            "task.canceled",
            {"phase": "canceled", "watched_seconds": 0.26},
            "🚫 *vidu* `2370487727425660`: *canceled* after 0.2 s",
        ),
        ("watch.lost", {"reason": "not_found", "phase": "running"}, "❓ *vidu* `2370487727425660`: *lost*"),
        ("watch.stalled", {"state": "processing"}, "⚠️ *vidu* `2370487727425660`: *stalled* in `processing`"),
    ],
)
def test_headlines_of_tasks(kind: str, data: dict[str, Any], text: str) -> None:
    """One glance tells what happened to whom."""
    assert message(kind, watch=WATCH, **data)["text"] == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("endpoint.disabled", "🔴 Endpoint *app* was disabled; its events are kept until it is enabled"),
        ("endpoint.recovered", "🟢 Endpoint *app* takes deliveries again after 1 min 1 s"),
        ("notifier.reload_failed", "⚠️ A new configuration was refused; the old one stays in force"),
        ("something.new", "🔔 `something.new`"),
    ],
)
def test_messages_to_operators(kind: str, text: str) -> None:
    """Which endpoint, and why."""
    found = message(kind, endpoint="app", reason="http_410", detail="line 3: <unknown>\nline 4", failed_seconds=61)
    assert found["text"] == text
    (attachment,) = found["attachments"]
    assert texts(attachment["blocks"]) == ["line 3: &lt;unknown&gt;\nline 4"]


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("endpoint.disabled", {"reason": "operator"}, ["operator"]),
        ("endpoint.recovered", {"reason": "enabled"}, []),
        ("source.recovered", {"reason": "answers again"}, []),
        ("task.succeeded", {"result_error": "no answer within 2 m"}, ["no answer within 2 m"]),
        ("watch.lost", {"reason": "not_found"}, ["not_found"]),
    ],
)
def test_a_reason_stands_where_nothing_explains_it(kind: str, data: dict[str, Any], shown: list[str]) -> None:
    """And not where the headline has it."""
    found = message(kind, **data)
    assert [text for attachment in found["attachments"] for text in texts(attachment["blocks"])] == shown


def test_every_event_type_has_a_look_of_its_own() -> None:
    """None falls back to the look of unknown types."""
    for kind in EventType:
        assert not message(kind, phase="running")["text"].startswith("🔔")


def test_several_results() -> None:
    """Numbered, as many as fit; the rest is counted and none is cut."""
    long = "https://cdn.example/" + "x" * (LINKS // 2)
    urls = ["https://a.example/1", long, "https://b.example/3", long, "ftp://no.example/", 7, *["https://c"] * 20]
    (attachment,) = message("task.succeeded", result={"urls": urls})["attachments"]
    lines = texts(attachment["blocks"])[0].split(" · ")
    assert lines[:3] == [
        "<https://a.example/1|result 1>",
        f"<{long}|result 2>",
        "<https://b.example/3|result 3>",
    ]
    assert lines[-1] == "… and 16 more in the event"
    (attachment,) = message("task.succeeded", result={"urls": ["https://x/" + "y" * LINKS]})["attachments"]
    assert texts(attachment["blocks"]) == ["… 1 too long to be shown"]


@pytest.mark.parametrize(("count", "last"), [(1, "k0: 0"), (10, "k9: 9"), (11, "… and 2 more"), (100, "… and 91 more")])
def test_ten_labels_are_shown(count: int, last: str) -> None:
    """On one line; the others are counted."""
    labels = {f"k{number}": number for number in range(count)}
    (attachment,) = message("task.succeeded", watch={**WATCH, "labels": labels})["attachments"]
    (facts,) = texts(attachment["blocks"][-1])
    shown = facts.split(" · ")
    assert len(shown) == min(count, 10)
    assert shown[-1] == last


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("a&b", 7, "a&amp;b"),
        ("aa&b", 7, "aa…"),
        ("<<<<", 9, "&lt;&lt;…"),
        ("🎬🎬🎬", 6, "🎬🎬🎬"),
        ("🎬🎬🎬🎬", 6, "🎬🎬…"),
        ("ab\u0301\u0301c", 4, "a…"),  # an accent stays with its letter
        ("x👩\u200d💻y", 5, "x…"),  # and a joined emoji in one piece
        ("x👍🏽y", 4, "x…"),
        ("a" + "\u0301" * 50, 20, "a" + "\u0301" * 18 + "…"),  # but a text of nothing else is cut all the same
        ("a\x00\x1b\r\nb\u202e", 9, "a␀␛\nb�"),
        ("\ud800", 5, "�"),
        ("\r\n" * 9, 5, "\n\n\n\n…"),
        ("", 5, ""),
    ],
)
def test_cutting_is_visible_and_at_a_boundary(text: str, limit: int, cut: str) -> None:
    """Never within an entity, a surrogate pair or what is seen as one character."""
    assert fit(text, limit, ESCAPES) == cut


@given(st.text(max_size=300), st.integers(min_value=1, max_value=200))
def test_a_cut_text_is_within_its_limit(text: str, limit: int) -> None:
    """By the strictest count, always printable and free of markup; whole if it fits."""
    found = fit(text, limit, ESCAPES)
    assert units(found) <= limit
    assert "<" not in found
    assert ">" not in found
    assert found.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0
    if found and not found.endswith("…"):
        assert len(found) >= len("\n".join(text.splitlines()))


@given(BODIES)
def test_slack_would_take_any_event(body: bytes) -> None:
    """Within every limit of Slack, by the strictest count, and with nothing in it that Slack would act upon."""
    found = written(body, Additions(metadata=("a", "b.c"), public_url="https://notifier.example"))
    assert 0 < units(found["text"]) <= 3000
    for attachment in found["attachments"]:
        blocks = attachment["blocks"]
        assert 0 < len(blocks) <= 50
        assert units(json.dumps(blocks, ensure_ascii=False)) <= 13_200
        for text in texts(blocks):
            assert text.strip()
            assert "<!" not in text
        for block in blocks:
            assert units(block.get("text", {}).get("text", "")) <= 3000
            assert all(units(element["text"]) <= 3000 for element in block.get("elements", []))


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"null", b"[1]", b'{"type": 7, "data": []}', b"[" * 100_000])
def test_a_body_that_is_no_event_is_told_by_its_type(body: bytes) -> None:
    """Replayed from elsewhere or damaged: still a message."""
    found = written(body)
    assert found["text"]
    assert found["attachments"] == []


def test_a_digest() -> None:
    """The number of events by what happened, a line for each, failures first; it calls if anything failed."""
    events = [
        {"type": "task.succeeded", "data": {"watch": WATCH, "phase": "succeeded", "watched_seconds": 5}},
        {
            "type": "task.failed",
            "data": {"watch": WATCH | {"id": "*2*"}, "phase": "failed", "error": {"message": "bad\n<x>" + "y" * 500}},
        },
        {"type": "task.succeeded", "data": {"watch": WATCH, "phase": "succeeded"}},
        {"type": "task.state_changed", "data": {"watch": WATCH, "state": "p", "phase": "running"}},
        {"type": "endpoint.disabled", "data": {"endpoint": "app", "reason": "http_410"}},
    ]
    additions = Additions(mentions=("<!here>",), public_url="https://n.example")
    found = message("notifier.digest", additions, events=events)
    assert found["text"] == "🗞️ 5 events: *2 succeeded, 1 failed, 1 running, 1 endpoint.disabled* <!here>"
    lines, page = texts(found["attachments"][0]["blocks"])
    first, second, third, *_ = lines.split("\n")
    assert first.startswith("❌ vidu *2*: failed: bad &lt;x&gt;yyy")
    assert first.endswith("y…")
    assert second == "🔴 Endpoint app was disabled; its events are kept until it is enabled: http_410"
    assert third == "✅ vidu 2370487727425660: succeeded after 5 s"
    assert page == "<https://n.example/#/watches|details>"
    quiet = message("notifier.digest", additions, events=[events[0]] * 25)
    assert quiet["text"] == "🗞️ 25 events: *25 succeeded*"
    assert texts(quiet["attachments"][0]["blocks"])[0].split("\n")[-1] == "… and 5 more"
