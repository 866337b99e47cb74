"""Mattermost's incoming webhooks: Slack's older attachments, in Markdown, without Block Kit.

https://developers.mattermost.com/integrate/webhooks/incoming/ and .../reference/message-attachments/ : text of 16,383
characters. Attachments are kept among a post's properties, which older servers bound to 8,000 characters. Errors are
JSON with an `id`; the server's `app/webhook.go` (`HandleIncomingWebhook`) lists them.
"""

from __future__ import annotations

from collections.abc import Mapping

from notifier.core.model import Json, Micros
from notifier.core.retry import Gone, Outcome, Rejected
from notifier.senders.notice import UNKNOWN, Notice, Style, TextSpan, plain
from notifier.senders.reply import MARKDOWN, fit, line
from notifier.senders.services import markdown
from notifier.senders.services.replies import classify_slack, json_object

TEXT = 16_383
HEADLINE = 150
TROUBLE = 1200
LINKS = 1500
PAGE = 600  # of the URL of the status page; a longer one is left out
FACT = 100
FACTS = 1500
DIGEST = 3000  # of all lines of a digest

_NO_MENTIONS = {"@": MARKDOWN["@"]}  # where there is no markup
_DEAD = {  # with 4xx, or 501 where webhooks are turned off
    "web.incoming_webhook.invalid.app_error": "the incoming webhook was removed",
    "web.incoming_webhook.disabled.app_error": "incoming webhooks are turned off on the server",
    "web.incoming_webhook.channel.app_error": "the channel does not exist",
    "web.incoming_webhook.channel_locked.app_error": "the webhook is locked to another channel",
    "web.incoming_webhook.permissions.app_error": "the webhook's owner may not post to the channel",
    "web.incoming_webhook.user.app_error": "the webhook's owner does not exist",
    "app.channel.get.existing.app_error": "the channel does not exist",
}
_BAD = {
    "web.incoming_webhook.text.app_error": "the message has no text",
    "web.incoming_webhook.parse.app_error": "the message could not be understood",
    "web.incoming_webhook.decode.app_error": "the message could not be understood",
    "web.incoming_webhook.split_props_length.app_error": "the message's attachments are too long",
}


class Mattermost:
    """Writes messages for Mattermost and judges its replies."""

    def message(self, notice: Notice) -> Json:
        """Return text and attachment."""
        facts = " · ".join(line(fact, FACT, _NO_MENTIONS) for fact in notice.facts)
        attachment = {
            "fallback": line(f"{notice.emoji} {plain(notice.headline)}", HEADLINE * 4, _NO_MENTIONS),
            "color": notice.colour,
            "text": markdown.body(notice, trouble=TROUBLE, lines=DIGEST, room=LINKS, page=PAGE),
            "footer": line(facts, FACTS),
        }
        rich = attachment["text"] or attachment["footer"]
        headline = f"{notice.emoji} {''.join(map(_span, notice.headline))}"
        return {"text": headline} | ({"attachments": [attachment]} if rich else {})

    def text(self, text: str) -> Json:
        """Return a text alone, in Markdown."""
        return {"text": fit(text, TEXT)}

    def judge(
        self, status: int, body: str, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()
    ) -> Outcome:
        """Judge a reply by its `id`, or like one of Slack's if it has none: success is `ok`."""
        word = str(json_object(body).get("id"))
        if word in _DEAD and (400 <= status < 500 or status == 501):
            return Gone(reason=_reason(word), detail=_DEAD[word])
        if word in _BAD and 400 <= status < 500:
            return Rejected(reason=_reason(word), detail=_BAD[word])
        return classify_slack(status, body, headers, now=now, hide=hide)


SERVICE = Mattermost()


def _reason(word: str) -> str:
    """Return a short stable word: `web.incoming_webhook.invalid.app_error` -> `mattermost_invalid`."""
    return f"mattermost_{word.split('.')[-2]}"


def _span(span: TextSpan) -> str:
    match span.style:
        case Style.PLAIN:
            return span.text
        case Style.STRONG:
            text = line(span.text, HEADLINE, MARKDOWN).strip()
            return f"**{text}**" if text else UNKNOWN
        case Style.CODE:
            return _in_code(line(span.text, HEADLINE))


def _in_code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text.strip() else UNKNOWN
