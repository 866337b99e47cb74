"""Classifies replies of Slack's incoming webhooks and of services that copied their form. Pure.

Slack answers in text (`ok`, `no_service`) or JSON (`{"ok": false, "error": ..., "retry_after": ...}`); the word says
more than the status. Words: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#errors
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from notifier.core.model import Micros
from notifier.core.retry import LONGEST_HINT, Delivered, Failed, Gone, Outcome, Rejected, classify_http

DEAD_URL = {  # Slack's errors that every message meets; the channel or its owner has to act
    "invalid_token": "the URL's token is not valid",
    "no_service": "the incoming webhook was removed or disabled",
    "no_service_id": "the URL lacks the id of the incoming webhook",
    "no_active_hooks": "the incoming webhook was disabled",
    "no_team": "the workspace does not exist",
    "team_disabled": "the workspace was disabled",
    "channel_is_archived": "the channel was archived",
    "channel_not_found": "the channel does not exist",
    "action_prohibited": "an administrator forbids this webhook to post",
}
BAD_MESSAGE = {  # Slack's errors that say nothing about the next message
    "invalid_payload": "the message could not be understood",
    "invalid_blocks": "the message's blocks are not valid",
    "invalid_attachments": "the message's attachments are not valid",
    "msg_too_long": "the message is too long",
    "msg_blocks_too_long": "the message's blocks are too long",
    "no_text": "the message has no text",
    "too_many_attachments": "the message has too many attachments",
}
RATE_LIMITED = frozenset(  # with a good status; otherwise it is a 429
    {"rate_limited", "ratelimited", "errcode 130101", "errcode 410100", "errcode 45009"}  # DingTalk's two, and WeCom's
)
_CODES = ("errcode", "errno", "StatusCode")  # keys of a number that is 0 for success
_WORD = re.compile(r"[a-z][a-z_]{0,63}")


def classify_slack(
    status: int, body: str, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()
) -> Outcome:
    """Judge a reply by its word, or by its status if it has none; arguments as for `classify_http`.

    A word that is not in the tables appears in the detail only: reasons are labels of metrics, and must be bounded.
    """
    outcome = classify_http(status, headers, now=now, hide=hide)
    reply = json_object(body)
    word = _word(reply, body)
    if isinstance(outcome, Gone):
        return Gone(reason=word, detail=DEAD_URL[word]) if word in DEAD_URL else outcome
    if status == 429 and isinstance(outcome, Failed):
        return replace(outcome, retry_after=longer(outcome.retry_after, reply.get("retry_after")))
    if status < 500:  # from 500 on the service has a fault, and its word about the message cannot be trusted
        if word in DEAD_URL:
            return Gone(reason=word, detail=DEAD_URL[word])
        if word in BAD_MESSAGE:
            return Rejected(reason=word, detail=BAD_MESSAGE[word])
    if not isinstance(outcome, Delivered):
        return replace(outcome, detail=f"{outcome.detail}: {word}") if word and isinstance(outcome, Failed) else outcome
    code = _failure_code(reply)
    if word == "ok" or not body.strip() or (reply and code is None and not _denied(reply)):
        return outcome
    hint = longer(None, reply.get("retry_after"))
    what = word or code
    detail = f"the endpoint answered {status}" + (f" with {what}" if what else ", but not `ok`")
    if what in RATE_LIMITED:
        return Failed(reason="rate_limited", detail=detail, retry_after=hint, throttle=True, spend=False)
    return Failed(reason="unexpected_reply", detail=detail, retry_after=hint)


def _word(reply: Mapping[str, Any], body: str) -> str:
    """Return the reply's one word; empty if it has none."""
    word = reply.get("error") if reply else body.strip()
    return word if isinstance(word, str) and _WORD.fullmatch(word) else ""


def json_object(text: str) -> Mapping[str, Any]:
    """Return the JSON object that a reply holds; empty if it holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _denied(reply: Mapping[str, Any]) -> bool:
    """Return whether a JSON reply with a good status reports a failure: `ok`, `success`, `error`, Lark's `code`."""
    if reply.get("ok") is False or reply.get("success") is False or reply.get("error"):
        return True
    return reply.get("code", 0) not in (0, None, "0")


def _failure_code(reply: Mapping[str, Any]) -> str | None:
    """Return the number of a failure with its key, for example `errcode` of DingTalk and WeCom; None for success."""
    for key in _CODES:
        value = reply.get(key)
        if value not in (None, 0, "0", "") and value is not False:
            return f"{key} {value}" if isinstance(value, int) else key
    return None


def longer(hint: float | None, value: object) -> float | None:
    """Return the longer of a header's hint and a JSON reply's `retry_after`, which may be a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:  # `not >=` is true for NaN
        return hint
    return max(hint or 0.0, min(float(min(value, LONGEST_HINT)), LONGEST_HINT))
