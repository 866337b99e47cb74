"""Slack's incoming webhooks: Block Kit, and replies of one word.

A headline as `text`, and one coloured attachment of Block Kit with what the headline does not say: error, links, facts.
Texts of others are plain text, which has no markup. Every text is escaped and cut visibly at a character's boundary.
Slack's limits: 3,000 characters of a section or an element, about 13,200 characters of blocks in all. The limits below
stay within these even if JSON escapes each.
https://docs.slack.dev/reference/block-kit/blocks  https://docs.slack.dev/messaging/formatting-message-text/#escaping
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import Block, ContextBlock, MarkdownTextObject, PlainTextObject, SectionBlock

from notifier.core.model import Json, Micros
from notifier.core.retry import Outcome
from notifier.senders.notice import UNKNOWN, Notice, Style, TextSpan, links, missing_words
from notifier.senders.reply import fit, line
from notifier.senders.services.replies import classify_slack

HEADLINE = 150  # characters of a name in the headline; the headline has at most three
TROUBLE = 300  # of an error: its beginning says what is wrong, the page shows the rest
LINKS = 2300  # of all links to results together, without their count
PAGE = 600  # of the link to the status page; a longer one is left out
FACT = 100
DIGEST = 2800  # of all lines of a digest
SEPARATOR = " · "
TEXT = 40_000  # of a text without blocks: https://docs.slack.dev/reference/methods/chat.postMessage#truncating
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Slack:
    """Writes messages for Slack and judges its replies."""

    def message(self, notice: Notice) -> Json:
        """Return text and attachment. The text is also what a phone shows, so it calls those who are mentioned."""
        headline = " ".join([notice.emoji, "".join(map(_span, notice.headline)), *notice.mentions])
        blocks = _blocks(notice)
        attachment: Any = BlockAttachment(blocks=blocks, color=notice.colour)
        return {"text": headline, "attachments": [attachment.to_dict()] if blocks else []}

    def text(self, text: str) -> Json:
        """Return a text alone, in mrkdwn."""
        return {"text": fit(text, TEXT)}

    def judge(
        self, status: int, body: str, headers: Mapping[str, str], *, now: Micros, hide: tuple[str, ...] = ()
    ) -> Outcome:
        """Judge a reply by its word, or by its status if it has none."""
        return classify_slack(status, body, headers, now=now, hide=hide)


SERVICE = Slack()


def _blocks(notice: Notice) -> list[Block]:
    blocks: list[Block] = []
    if text := fit(notice.trouble, TROUBLE, ESCAPES).strip():
        blocks.append(SectionBlock(text=_plain(text)))
    if lines := fit("\n".join(notice.lines), DIGEST, ESCAPES).strip():
        blocks.append(SectionBlock(text=_plain(lines)))
    if results := _links(notice):
        blocks.append(SectionBlock(text=_mrkdwn(results)))
    if facts := SEPARATOR.join(line(fact, FACT, ESCAPES) for fact in notice.facts).strip():
        blocks.append(ContextBlock(elements=[_plain(facts)]))
    return blocks


def _links(notice: Notice) -> str:
    results = links(notice, room=LINKS, size=lambda name, url: len(_link(name, url)) + len(SEPARATOR))
    page = None if notice.page is None else _link("details", notice.page)
    parts = [*(_link(name, url) for name, url in results.shown), missing_words(results)]
    if page is not None and len(page) <= PAGE:
        parts.append(page)
    return SEPARATOR.join(filter(None, parts))


def _link(name: str, url: str) -> str:
    return f"<{url.replace('&', '&amp;')}|{name}>"


def _plain(text: str) -> PlainTextObject:
    return PlainTextObject(text=text, emoji=False)


def _mrkdwn(text: str) -> MarkdownTextObject:
    return MarkdownTextObject(text=text, verbatim=True)  # so that Slack makes no links and mentions of plain text


def _span(span: TextSpan) -> str:
    text = span.text if span.style is Style.PLAIN else line(span.text, HEADLINE, ESCAPES)
    match span.style:
        case Style.PLAIN:
            return text
        case Style.STRONG:
            return f"*{text}*" if text else UNKNOWN
        case Style.CODE:
            return _in_code(text)


def _in_code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else UNKNOWN
