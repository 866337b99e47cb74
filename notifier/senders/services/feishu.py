"""Feishu's (Lark's) custom bots: cards of plain text, and replies whose status is 200 and whose `code` counts.

https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot : 20 KB a request, 5 requests a second, 100 a minute;
`{"code": 0}` (or `StatusCode`, of older bots) is success. Card: .../feishu-cards/card-json-structure
"""

from __future__ import annotations

from collections.abc import Mapping

from notifier.core.model import Json, Micros
from notifier.core.retry import Delivered, Failed, Gone, Outcome, Rejected, classify_http
from notifier.senders.notice import Notice, links, missing_words, plain
from notifier.senders.reply import fit, line
from notifier.senders.services.replies import json_object

TEXT = 6000  # UTF-16 units, of at most three bytes each
HEADLINE = 450
TROUBLE = 1500
LINKS = 2800
PAGE = 600  # of the URL of the status page; a longer one is left out
FACT = 100
FACTS = 1000
DIGEST = 2800  # of all lines of a digest

_RATE_LIMITED = frozenset(
    {11232, 11233, 11247, 230020, 99991400}
)  # limits of the gateway, the tenant, the bot and the chat
_BAD_REQUEST = 9499  # the message's form or size; some gateways say "too many request" under the same number
_DEAD = {
    19001: ("feishu_invalid_token", "the bot was removed, or the URL's token is not valid"),
}
_BAD = {
    19002: ("feishu_unsupported", "the kind of message is not supported"),
    19024: ("feishu_keyword", "the message holds none of the bot's keywords; remove them from its security settings"),
}
_SETTINGS = {  # of the bot: once they are corrected, waiting messages are sent
    19021: ("feishu_signature", "the bot asks for a signature; remove it from its security settings"),
    19022: ("feishu_ip", "the bot's security settings do not list this machine's IP address"),
}
_HEADERS = {  # colour -> nearest theme of a card
    "#9AA0A6": "grey", "#1F6FEB": "blue", "#2DA44E": "green", "#CF222E": "red", "#6E7781": "grey", "#BF8700": "yellow",
}  # fmt: skip


class Feishu:
    """Writes messages for Feishu and judges its replies."""

    def message(self, notice: Notice) -> Json:
        """Return a card of plain text, without markup or mentions."""
        elements: list[Json] = []
        if trouble := fit(notice.trouble, TROUBLE).strip():
            elements.append({"tag": "div", "text": _plain(trouble)})
        if lines := fit("\n".join(notice.lines), DIGEST).strip():
            elements.append({"tag": "div", "text": _plain(lines)})
        results = links(notice, room=LINKS, size=lambda name, url: len(name) + len(url) + 80)
        shown = list(results.shown)
        if notice.page is not None and len(notice.page) <= PAGE:
            shown.append(("details", notice.page))
        if shown:
            buttons = [{"tag": "button", "text": _plain(name), "type": "default", "url": url} for name, url in shown]
            elements.append({"tag": "action", "actions": buttons})
        if missing := missing_words(results):
            elements.append({"tag": "div", "text": _plain(missing)})
        if facts := line(" · ".join(line(fact, FACT) for fact in notice.facts), FACTS).strip():
            elements.append({"tag": "note", "elements": [_plain(facts)]})
        title = _plain(line(f"{notice.emoji} {plain(notice.headline)}", HEADLINE))
        header = {"title": title, "template": _HEADERS.get(notice.colour, "blue")}
        return {"msg_type": "interactive", "card": {"header": header, "elements": elements}}

    def text(self, text: str) -> Json:
        """Return a text alone, which may contain Feishu's `<at>` tags."""
        return {"msg_type": "text", "content": {"text": fit(text, TEXT)}}

    def judge(
        self, status: int, body: str, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()
    ) -> Outcome:
        """Judge a reply by its `code`, or by its status if it has no `code` or the service has a fault."""
        outcome = classify_http(status, headers, now=now, hide=hide)
        reply = json_object(body)
        code = reply.get("code", reply.get("StatusCode"))
        if not 200 <= status < 500 or 300 <= status < 400 or status in (410, 429):
            return outcome
        if isinstance(code, bool) or not isinstance(code, int):
            detail = f"the endpoint answered {status}, but without a `code`"
            return Failed(reason="unexpected_reply", detail=detail) if isinstance(outcome, Delivered) else outcome
        if code == 0:
            return outcome
        return _by_code(code, str(reply.get("msg", "")))


SERVICE = Feishu()


def _by_code(code: int, message: str) -> Outcome:
    if code in _RATE_LIMITED or "too many" in message.lower():
        detail = f"the endpoint answered with code {code}: too many messages"
        return Failed(reason="rate_limited", detail=detail, throttle=True, spend=False)
    if code == _BAD_REQUEST:
        return Rejected(reason="feishu_bad_request", detail="the message could not be understood, or is too long")
    if code in _DEAD:
        reason, detail = _DEAD[code]
        return Gone(reason=reason, detail=detail)
    if code in _BAD:
        reason, detail = _BAD[code]
        return Rejected(reason=reason, detail=detail)
    if code in _SETTINGS:
        reason, detail = _SETTINGS[code]
        return Failed(reason=reason, detail=detail)
    return Failed(reason="unexpected_reply", detail=f"the endpoint answered with code {code}")


def _plain(text: str) -> Json:
    return {"tag": "plain_text", "content": text}
