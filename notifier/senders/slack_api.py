"""Judges replies of Slack's Web API. Pure.

A reply is JSON with `ok`; a refusal has the status 200 and a word as `error`, and only a rate limit has one of its own.
https://docs.slack.dev/apis/web-api/#slack-web-api__responses
https://docs.slack.dev/reference/methods/chat.postMessage#errors  https://docs.slack.dev/reference/methods/chat.update#errors
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from notifier.core.model import Micros
from notifier.core.retry import Delivered, Failed, Gone, Outcome, Rejected, classify_http
from notifier.senders.services.replies import json_object, longer

DEAD_TOKEN = {  # every message meets it, until the operator changes the token
    "invalid_auth": "the token is not valid",
    "not_authed": "the token is missing",
    "token_revoked": "the token was revoked",
    "token_expired": "the token has expired",
    "account_inactive": "the bot or its workspace was removed",
    "not_allowed_token_type": "the token is of a kind that may not post; use a bot's, xoxb-...",
}
SET_UP = {  # the channel or its workspace has to be set up; messages wait for that
    "channel_not_found": "the bot sees no such channel: check `channel`, and invite the bot if it is private",
    "not_in_channel": "the bot is not in the channel: type /invite @BOT there",
    "is_archived": "the channel was archived: unarchive it, or set another `channel`",
    "missing_scope": "the app lacks a scope: add chat:write and install it again",
    "no_permission": "the app may not post: add the scope chat:write and install it again",
    "restricted_action": "the workspace's settings forbid the bot to post",
    "restricted_action_read_only_channel": "the channel is read-only for the bot",
    "access_denied": "the workspace denies the bot access",
    "ekm_access_denied": "the workspace's administrators have suspended access",
    "team_access_not_granted": "the bot has no access to the workspace",
    "org_login_required": "the workspace is being moved to an organization",
}
BAD_MESSAGE = {  # this message only
    "msg_too_long": "the message is too long",
    "msg_blocks_too_long": "the message's blocks are too long",
    "no_text": "the message has no text",
    "invalid_blocks": "the message's blocks are not valid",
    "invalid_blocks_format": "the message's blocks are not valid",
    "invalid_attachments": "the message's attachments are not valid",
    "too_many_attachments": "the message has too many attachments",
    "attachment_payload_limit_exceeded": "the message's attachments are too long",
    "invalid_arguments": "the message could not be understood",
    "invalid_form_data": "the message could not be understood",
    "invalid_post_type": "the message could not be understood",
    "thread_not_found": "the thread is gone",
    "cannot_reply_to_message": "the message takes no replies",
}
NOT_THERE = {  # of an edit: the message is gone or fixed, and another one takes its place
    "message_not_found": "the message was deleted",
    "cant_update_message": "the message may not be edited",
    "edit_window_closed": "the message is too old to be edited",
    "message_not_owned_by_app": "the message is another app's",
}
RATE_LIMITED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
FAULTS = frozenset(
    {"fatal_error", "internal_error", "service_unavailable", "request_timeout", "external_channel_migrating"}
)

_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TS = re.compile(r'"ts"\s*:\s*"(?P<ts>[0-9]{1,12}\.[0-9]{1,9})"')  # the first is the reply's own, before the message
_CHANNEL = re.compile(r'"channel"\s*:\s*"(?P<channel>[A-Z0-9]{1,32})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePlace:
    """The place of a message that was posted."""

    channel: str
    ts: str


def classify(status: int, body: str, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()) -> Outcome:
    """Judge a reply; arguments as for `classify_http`.

    An edit of a message that is not there is `Failed` with a reason of NOT_THERE. Reasons are labels of metrics, so a
    word that is not in the tables appears in the detail only.
    """
    outcome = classify_http(status, headers, now=now, hide=hide)
    if not isinstance(outcome, Delivered):
        if isinstance(outcome, Gone):  # an API is not gone; its address is wrong, or a proxy answers
            return Failed(reason=outcome.reason, detail=f"{outcome.detail}: check `api_url`")
        return outcome
    reply = json_object(body)
    if reply.get("ok") is True or (not reply and placed(body) is not None):  # a long reply is cut, and no JSON then
        return outcome
    word = reply.get("error")
    if not reply or not isinstance(word, str) or not _WORD.fullmatch(word):
        return Failed(reason="unexpected_reply", detail="the answer is not one of Slack's Web API: check `api_url`")
    return _by_word(word, longer(None, reply.get("retry_after")), headers, outcome_at=now)


def placed(body: str) -> MessagePlace | None:
    """Return the place of the message that a good reply tells; None if it tells none."""
    channel, ts = _CHANNEL.search(body), _TS.search(body)
    return None if channel is None or ts is None else MessagePlace(channel=channel["channel"], ts=ts["ts"])


def _by_word(word: str, hint: float | None, headers: Mapping[str, str], *, outcome_at: Micros) -> Outcome:
    if word in RATE_LIMITED:
        limited = classify_http(429, headers, now=outcome_at)
        assert isinstance(limited, Failed)
        wait = max(filter(None, (hint, limited.retry_after)), default=None)
        return replace(limited, reason="rate_limited", detail=f"Slack answered {word}", retry_after=wait)
    if word in DEAD_TOKEN:
        return Gone(reason=word, detail=DEAD_TOKEN[word])
    if word in BAD_MESSAGE:
        return Rejected(reason=word, detail=BAD_MESSAGE[word])
    if word in SET_UP or word in NOT_THERE:
        return Failed(reason=word, detail=SET_UP.get(word) or NOT_THERE[word])
    if word in FAULTS:
        return Failed(reason=word, detail=f"Slack answered {word}", retry_after=hint, throttle=True)
    return Failed(reason="unexpected_reply", detail=f"Slack answered {word}", retry_after=hint)
