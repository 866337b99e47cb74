"""Discord's webhooks: embeds, replies with numbered errors, and waits that are fractions of a second.

https://discord.com/developers/docs/resources/webhook#execute-webhook : success is 204 without a body (200 with `wait`).
https://discord.com/developers/docs/resources/message#embed-object-embed-limits : title 256, description 4,096, footer
2,048, together 6,000; content 2,000. `allowed_mentions` keeps texts from mentioning anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from notifier.core.model import Json, Micros
from notifier.core.retry import Delivered, Failed, Gone, Outcome, Rejected, classify_http
from notifier.senders.notice import Notice, plain
from notifier.senders.reply import MARKDOWN, fit, line
from notifier.senders.services import markdown
from notifier.senders.services.replies import json_object, longer

TEXT = 2000
TITLE = 256
TROUBLE = 1500
LINKS = 1500
PAGE = 600  # of the URL of the status page; a longer one is left out
FACT = 100
FOOTER = 2048
DIGEST = 2000  # of all lines of a digest, which has neither trouble nor results

# https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
_DEAD = {
    10003: ("discord_unknown_channel", "the channel does not exist"),
    10015: ("discord_unknown_webhook", "the webhook was deleted"),
    50027: ("discord_invalid_token", "the URL's token is not valid"),
}
_BAD = {
    50006: ("discord_empty_message", "the message is empty"),
    50035: ("discord_invalid_form", "the message could not be understood"),
    50109: ("discord_invalid_json", "the message could not be understood"),
}
_UNKNOWN_WEBHOOK = frozenset({401, 404})


class Discord:
    """Writes messages for Discord and judges its replies."""

    def message(self, notice: Notice) -> Json:
        """Return one embed; its title has no markup."""
        embed: dict[str, Json] = {
            "title": line(f"{notice.emoji} {plain(notice.headline)}", TITLE, MARKDOWN),
            "color": int(notice.colour.removeprefix("#"), 16),
        }
        if description := markdown.body(notice, trouble=TROUBLE, lines=DIGEST, room=LINKS, page=PAGE):
            embed["description"] = description
        if footer := line(" · ".join(line(fact, FACT) for fact in notice.facts), FOOTER).strip():
            embed["footer"] = {"text": footer}
        return {"embeds": [embed], "allowed_mentions": {"parse": []}}

    def text(self, text: str) -> Json:
        """Return a text alone, in Markdown."""
        return {"content": fit(text, TEXT), "allowed_mentions": {"parse": []}}

    def judge(
        self, status: int, body: str, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()
    ) -> Outcome:
        """Judge a reply by its status, and by its `code` where the status is ambiguous."""
        outcome = classify_http(status, headers, now=now, hide=hide)
        if isinstance(outcome, Delivered | Gone) or status >= 500 or status < 400:
            return outcome
        reply = json_object(body)
        if status == 429 and isinstance(outcome, Failed):
            return replace(outcome, retry_after=longer(outcome.retry_after, reply.get("retry_after")))
        code = reply.get("code")
        if not isinstance(code, int):
            return outcome
        if code in _DEAD:
            reason, detail = _DEAD[code]
            return Gone(reason=reason, detail=detail)
        if code in _BAD:
            reason, detail = _BAD[code]
            return Rejected(reason=reason, detail=detail)
        return replace(outcome, detail=f"{outcome.detail}: code {code}") if isinstance(outcome, Failed) else outcome


SERVICE = Discord()
