"""Slack's incoming webhooks: Block Kit, and replies of one word.

A headline as `text`, and one coloured attachment of Block Kit with the details. Every text is escaped and cut visibly
at a character's boundary. Slack's limits: 3,000 characters of a section, 2,000 of a field, 10 fields, 10 elements of a
context, about 13,200 characters of blocks in all. The limits below stay within these even if JSON escapes each.
https://docs.slack.dev/reference/block-kit/blocks  https://docs.slack.dev/messaging/formatting-message-text/#escaping
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import Block, ContextBlock, MarkdownTextObject, SectionBlock

from notifier.core.model import Json, Micros
from notifier.core.retry import Outcome
from notifier.senders.notice import UNKNOWN, Field, Notice, Span, Style, links, missing_words
from notifier.senders.reply import fit, line
from notifier.senders.services.replies import classify_slack

HEADLINE = 150  # characters of a name in the headline; the headline has at most three
FIELD = 160
TROUBLE = 1500
LINKS = 2760  # of all links together, without their count
LABEL = 100
TEXT = 40_000  # of a text without blocks: https://docs.slack.dev/reference/methods/chat.postMessage#truncating
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Slack:
    """Writes messages for Slack and judges its replies."""

    def message(self, notice: Notice) -> Json:
        """Return text and attachment."""
        headline = f"{notice.emoji} {''.join(map(_span, notice.headline))}"
        blocks = _blocks(notice)
        fallback = headline.replace("*", "").replace("`", "")  # shown where blocks are not, without markup
        attachment: Any = BlockAttachment(blocks=blocks, color=notice.colour, fallback=fallback)
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
    if notice.fields:
        blocks.append(SectionBlock(fields=[_mrkdwn(_field(field)) for field in notice.fields]))
    if text := fit(notice.trouble, TROUBLE, ESCAPES).strip():
        blocks.append(SectionBlock(text=_mrkdwn(text)))
    if results := _links(notice):
        blocks.append(SectionBlock(text=_mrkdwn(results)))
    if notice.labels:
        blocks.append(ContextBlock(elements=[_mrkdwn(line(label, LABEL, ESCAPES)) for label in notice.labels]))
    return blocks


def _field(field: Field) -> str:
    text = line(field.text, FIELD, ESCAPES)
    return f"*{field.title}*\n" + (_in_code(text) if field.code else text)


def _links(notice: Notice) -> str:
    results = links(notice, room=LINKS, size=lambda name, url: len(_link(name, url)) + 1)
    return "\n".join([*(_link(name, url) for name, url in results.shown), *filter(None, [missing_words(results)])])


def _link(name: str, url: str) -> str:
    return f"<{url.replace('&', '&amp;')}|{name}>"


def _mrkdwn(text: str) -> MarkdownTextObject:
    return MarkdownTextObject(text=text, verbatim=True)  # so that Slack makes no links and mentions of plain text


def _span(span: Span) -> str:
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
