"""What Slack's replies mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.retry import LONGEST_HINT, Delivered, Failed, Gone, Rejected
from notifier.senders.services.replies import BAD_MESSAGE, DEAD_URL, classify_slack

NOW = 1_700_000_000_000_000


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "ok"),
        (200, " ok\n"),
        (200, '{"ok": true}'),
        (204, ""),
        (200, '{"success": true}'),
        (200, '{"code": 0, "msg": "success"}'),
        (200, '{"errcode": 0, "errmsg": "ok"}'),  # DingTalk, WeCom
        (200, '{"StatusCode": 0, "StatusMessage": "success"}'),  # older bots of Feishu
        (200, '{"ok": true, "error": null, "code": "0"}'),
    ],
)
def test_success_is_said_in_the_body(status: int, body: str) -> None:
    """`ok` as text or JSON, nothing at all, and the success of services of the same shape."""
    assert classify_slack(status, body, {}, now=NOW) == Delivered()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"ok": false, "error": "fatal_error"}', "the endpoint answered 200 with fatal_error"),
        ('{"success": false}', "the endpoint answered 200, but not `ok`"),
        ('{"code": 9499, "msg": "Bad Request"}', "the endpoint answered 200, but not `ok`"),
        ('{"errcode": 310000, "errmsg": "sign not match"}', "the endpoint answered 200 with errcode 310000"),
        ('{"errcode": 93000, "errmsg": "invalid webhook url"}', "the endpoint answered 200 with errcode 93000"),
        ('{"errcode": "x"}', "the endpoint answered 200 with errcode"),
        ('{"errno": 2, "data": null}', "the endpoint answered 200 with errno 2"),
        ('{"StatusCode": 19001}', "the endpoint answered 200 with StatusCode 19001"),
        ('{"error": {"message": "no such channel"}}', "the endpoint answered 200, but not `ok`"),
        ("<html>Please log in</html>", "the endpoint answered 200, but not `ok`"),
        ('{"ok": false, "error": ["odd"]}', "the endpoint answered 200, but not `ok`"),
        ("[1]", "the endpoint answered 200, but not `ok`"),
    ],
)
def test_a_good_status_can_be_a_failure(body: str, detail: str) -> None:
    """200 with JSON `ok: false` is not delivered, nor is a login page."""
    assert classify_slack(200, body, {}, now=NOW) == Failed(reason="unexpected_reply", detail=detail)


@pytest.mark.parametrize("word", sorted(DEAD_URL))
@pytest.mark.parametrize("status", [200, 403, 404, 410])
def test_a_dead_url_disables(word: str, status: int) -> None:
    """As text or JSON, with any status."""
    expected = Gone(reason=word, detail=DEAD_URL[word])
    assert classify_slack(status, word, {}, now=NOW) == expected
    assert classify_slack(status, json.dumps({"ok": False, "error": word}), {}, now=NOW) == expected


def test_the_documented_dead_urls_are_known() -> None:
    """The words of Slack's documentation."""
    assert {"invalid_token", "no_service", "no_team", "team_disabled", "channel_is_archived"} <= DEAD_URL.keys()
    assert {"channel_not_found", "action_prohibited"} <= DEAD_URL.keys()


@pytest.mark.parametrize("word", ["invalid_payload", "invalid_blocks", "no_text", "too_many_attachments"])
def test_a_bad_message_fails_alone(word: str) -> None:
    """The message is dead, the endpoint is well."""
    assert classify_slack(400, word, {}, now=NOW) == Rejected(reason=word, detail=BAD_MESSAGE[word])


def test_410_is_gone_whatever_it_says() -> None:
    """An unknown word does not become a reason."""
    assert classify_slack(410, "surprise", {}, now=NOW) == Gone(
        reason="http_410", detail="the endpoint answered 410 Gone"
    )


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        ('{"retry_after":1,"ok":false,"error":"rate_limited"}', None, 1.0),
        ('{"retry_after":0.65,"message":"You are being rate limited."}', None, 0.65),
        ('{"retry_after":1}', "30", 30.0),
        ('{"retry_after":45}', "30", 45.0),
        ("rate_limited", "1.5", 1.5),
        ("rate_limited", None, None),
        ('{"retry_after":-1}', None, None),
        ('{"retry_after":NaN}', None, None),
        ('{"retry_after":Infinity}', None, LONGEST_HINT),
        ('{"retry_after":' + "9" * 400 + "}", None, LONGEST_HINT),
        ('{"retry_after":true}', None, None),
        ('{"retry_after":"1"}', None, None),
    ],
)
def test_429_waits_as_long_as_header_or_body_ask(body: str, header: str | None, seconds: float | None) -> None:
    """Fractions too; the longer of both; it costs neither the message nor the endpoint."""
    headers = {} if header is None else {"retry-after": header}
    outcome = classify_slack(429, body, headers, now=NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.throttle, outcome.spend) == ("http_429", True, False)
    assert outcome.retry_after == seconds


@pytest.mark.parametrize("code", [130101, 410100, 45009])
def test_a_number_may_say_that_there_were_too_many_messages(code: int) -> None:
    """It costs no attempt of the schedule."""
    outcome = classify_slack(200, json.dumps({"errcode": code, "errmsg": "send too fast"}), {}, now=NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.throttle, outcome.spend) == ("rate_limited", True, False)


def test_rate_limited_with_a_good_status_waits_too() -> None:
    """The word counts for what the status does not say."""
    outcome = classify_slack(200, '{"retry_after":2,"ok":false,"error":"rate_limited"}', {}, now=NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.throttle, outcome.spend, outcome.retry_after) == ("rate_limited", True, False, 2.0)


@pytest.mark.parametrize(("status", "body"), [(500, "rollup_error"), (503, "no_service"), (500, "invalid_payload")])
def test_an_unwell_service_is_retried(status: int, body: str) -> None:
    """5xx never disables and never drops the message; its word is told."""
    outcome = classify_slack(status, body, {}, now=NOW)
    assert isinstance(outcome, Failed)
    assert outcome.reason == f"http_{status}"
    assert outcome.detail == f"the endpoint answered {status}: {body}"


def test_other_errors_are_as_for_any_endpoint() -> None:
    """An unknown 404 page is retried, a redirect not followed."""
    assert classify_slack(404, "<html>", {}, now=NOW) == Failed(reason="http_404", detail="the endpoint answered 404")
    assert classify_slack(302, "", {"location": "https://x/"}, now=NOW) == Failed(
        reason="redirect", detail="302 to https://x/"
    )


@given(st.integers(min_value=100, max_value=999), st.text(max_size=40) | st.just("[" * 100_000))
def test_no_reply_is_too_strange(status: int, body: str) -> None:
    """Whatever arrives is judged."""
    assert isinstance(classify_slack(status, body, {}, now=NOW), Delivered | Failed | Gone | Rejected)
