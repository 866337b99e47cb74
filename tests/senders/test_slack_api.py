"""Replies of Slack's Web API, one case for each word that it documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.retry import Delivered, Failed, Gone, Outcome, Rejected
from notifier.senders.slack_api import DEAD_TOKEN, NOT_THERE, SET_UP, MessagePlace, classify, placed

NOW = 1_700_000_000_000_000
GOOD = '{"ok":true,"channel":"C0OPS","ts":"1503435956.000247","message":{"ts":"1.1","text":"x"}}'


def refused(word: str, **more: object) -> str:
    return json.dumps({"ok": False, "error": word, **more})


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (200, GOOD, Delivered, None),
        (200, GOOD[:70], Delivered, None),  # a long reply is cut
        *((200, refused(word), Gone, word) for word in DEAD_TOKEN),
        *((200, refused(word), Failed, word) for word in (*SET_UP, *NOT_THERE)),
        (200, refused("ratelimited"), Failed, "rate_limited"),
        (200, refused("fatal_error"), Failed, "fatal_error"),
        (200, refused("internal_error"), Failed, "internal_error"),
        (200, refused("msg_too_long"), Rejected, "msg_too_long"),
        (200, refused("invalid_blocks"), Rejected, "invalid_blocks"),
        (200, refused("something_new"), Failed, "unexpected_reply"),
        (200, '{"ok":false}', Failed, "unexpected_reply"),
        (200, "ok", Failed, "unexpected_reply"),
        (200, "<html>", Failed, "unexpected_reply"),
        (429, refused("ratelimited"), Failed, "http_429"),
        (500, refused("invalid_auth"), Failed, "http_500"),
        (503, "", Failed, "http_503"),
        (404, "", Failed, "http_404"),
        (410, "", Failed, "http_410"),
        (302, "", Failed, "redirect"),
    ],
)
def test_words_are_told_apart(status: int, body: str, kind: type, reason: str | None) -> None:
    """A dead token disables, a channel to set up waits, a bad message is dead, anything else is tried again."""
    outcome = classify(status, body, {}, now=NOW)
    assert (type(outcome), getattr(outcome, "reason", None)) == (kind, reason)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [(429, {"retry-after": "30"}, 30.0), (429, {}, None), (200, {"retry-after": "2"}, 2.0), (200, {}, None)],
)
def test_a_rate_limit_costs_nothing(status: int, headers: dict[str, str], seconds: float | None) -> None:
    """As a status or as a word; the header says how long."""
    outcome = classify(status, refused("ratelimited"), headers, now=NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.throttle, outcome.spend, outcome.retry_after) == (True, False, seconds)


@pytest.mark.parametrize(("word", "part"), [("not_in_channel", "/invite"), ("missing_scope", "chat:write")])
def test_a_refusal_says_what_to_do(word: str, part: str) -> None:
    """In the words of the log and of `delivery show`."""
    outcome = classify(200, refused(word), {}, now=NOW)
    assert isinstance(outcome, Failed)
    assert part in outcome.detail


def test_the_place_is_that_of_the_reply() -> None:
    """And not one that the text of a message imitates."""
    assert placed(GOOD) == MessagePlace(channel="C0OPS", ts="1503435956.000247")
    text = {"ok": True, "message": {"text": '"ts":"6.6" "channel":"CEVIL"'}, "channel": "C1", "ts": "1.5"}
    assert placed(json.dumps(text)) == MessagePlace(channel="C1", ts="1.5")
    assert placed('{"ok": true}') is None


@given(st.text(), st.sampled_from([200, 302, 400, 410, 429, 500]))
def test_no_reply_is_too_strange(body: str, status: int) -> None:
    """Whatever arrives is judged."""
    outcome: Outcome = classify(status, body, {}, now=NOW)
    assert isinstance(outcome, Delivered | Failed | Rejected)
