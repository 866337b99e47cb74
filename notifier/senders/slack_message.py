"""Writes an event as a Slack message that Slack will take, whatever is in the event. Pure.

A headline as `text`, and one coloured attachment of Block Kit with the details. Every text is escaped and cut visibly
at a character's boundary. Slack's limits: 3,000 characters of a section, 2,000 of a field, 10 fields, 10 elements of a
context, about 13,200 characters of blocks in all, of which the limits below keep clear even where JSON doubles each.
https://docs.slack.dev/reference/block-kit/blocks  https://docs.slack.dev/messaging/formatting-message-text/#escaping
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from itertools import islice
from urllib.parse import quote

from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import Block, ContextBlock, MarkdownTextObject, SectionBlock

from notifier.core.model import Delivery, EventType, Json, Phase
from notifier.senders.reply import visible

HEADLINE = 150  # characters of a name in the headline; the headline has at most three
FIELD = 160
TEXT = 1500  # of an error or explanation
LINKS = 2800  # of all links together
LABEL = 100
LONGEST_CHARACTER = 16  # code points: a family of four with skin tones has eleven
MAX_LINKS = 10
MAX_LABELS = 10  # elements that a context block holds

_LOOK = {  # what was reached -> emoji and colour
    Phase.QUEUED: ("⏳", "#9AA0A6"),
    Phase.RUNNING: ("▶️", "#1F6FEB"),
    Phase.SUCCEEDED: ("✅", "#2DA44E"),
    Phase.FAILED: ("❌", "#CF222E"),
    Phase.CANCELED: ("🚫", "#6E7781"),
    EventType.LOST: ("❓", "#BF8700"),
    EventType.STALLED: ("⚠️", "#BF8700"),
    EventType.ENDPOINT_DISABLED: ("🔴", "#CF222E"),
    EventType.ENDPOINT_RECOVERED: ("🟢", "#2DA44E"),
    EventType.RELOAD_FAILED: ("⚠️", "#CF222E"),
}
_PLAIN_LOOK = ("🔔", "#9AA0A6")


def build(delivery: Delivery) -> bytes:
    """Return the JSON to POST for a delivery. Takes any body, also one that is no JSON."""
    try:
        payload = json.loads(delivery.body)
    except (ValueError, RecursionError):
        payload = {}
    event = _mapping(payload)
    data = _mapping(event.get("data"))
    kind = _string(event.get("type")) or delivery.event_type
    emoji, colour = _look(kind, data)
    headline = f"{emoji} {_headline(kind, data)}"
    blocks = _blocks(data)
    plain = headline.replace("*", "").replace("`", "")  # shown where blocks are not, without markup
    attachments = [BlockAttachment(blocks=blocks, color=colour, fallback=plain).to_dict()] if blocks else []
    return json.dumps({"text": headline, "attachments": attachments}, ensure_ascii=False).encode()


def escape(text: str, limit: int) -> str:
    """Escape for mrkdwn and cut to `limit` UTF-16 units, the strictest way to count, with `…` where it was cut."""
    # A line's end may take two characters; so what is left here is still too long if `text` was.
    text = "\n".join(visible(line) for line in text[: 2 * limit + 4].splitlines())
    escaped = [{"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(char, char) for char in text]
    sizes = [len(part) + (part > "\uffff") for part in escaped]
    if sum(sizes) <= limit:
        return "".join(escaped)
    end, room = 0, limit - 1
    while sizes[end] <= room:
        room -= sizes[end]
        end += 1
    whole = end
    while whole > 0 and _joined(text[whole - 1], text[whole]):
        whole -= 1
    # What never ends is no character, but a text made to be cut to nothing.
    return "".join(escaped[: whole if 0 < end - whole < LONGEST_CHARACTER else end]) + "…"


def _joined(left: str, right: str) -> bool:
    """Say whether two code points are seen as one: combining marks, emoji with modifiers or joined ones."""
    joiner = "\u200d"
    marks = unicodedata.category(right).startswith("M") or "\U0001f3fb" <= right <= "\U0001f3ff"
    return marks or joiner in (left, right)


def _look(kind: str, data: Mapping[str, Json]) -> tuple[str, str]:
    if kind.startswith("task."):
        kind = _string(data.get("phase"))
    return next((look for name, look in _LOOK.items() if name == kind), _PLAIN_LOOK)


def _headline(kind: str, data: Mapping[str, Json]) -> str:
    watch = _mapping(data.get("watch"))
    if kind.startswith(("task.", "watch.")) and not watch:
        return _code(kind, HEADLINE)
    task = f"{_name(watch.get('source'))} {_code(watch.get('id'), HEADLINE)}"
    after = f" after {elapsed}" if (elapsed := _duration(data.get("watched_seconds"))) else ""
    match kind:
        case EventType.STATE_CHANGED:
            return f"{task}: {_code(data.get('state'), HEADLINE)}"
        case EventType.SUCCEEDED | EventType.FAILED | EventType.CANCELED:
            return f"{task}: *{kind.removeprefix('task.')}*{after}"
        case EventType.LOST:
            return f"{task}: *lost*{after}"
        case EventType.STALLED:
            return f"{task}: *stalled* in {_code(data.get('state'), HEADLINE)}"
        case EventType.ENDPOINT_DISABLED:
            return f"Endpoint {_name(data.get('endpoint'))} was disabled; its events are kept until it is enabled"
        case EventType.ENDPOINT_RECOVERED:
            return f"Endpoint {_name(data.get('endpoint'))} takes deliveries again"
        case EventType.RELOAD_FAILED:
            return "A new configuration was refused; the old one stays in force"
    return _code(kind, HEADLINE)


def _blocks(data: Mapping[str, Json]) -> list[Block]:
    watch, error = _mapping(data.get("watch")), _mapping(data.get("error"))
    blocks: list[Block] = []
    if fields := _fields(data, watch):
        blocks.append(SectionBlock(fields=[_mrkdwn(field) for field in fields]))
    code, message = _string(error.get("code")), _string(error.get("message"))
    trouble = ": ".join(part for part in (code, message) if part) or _string(data.get("detail"))
    if text := escape(trouble, TEXT).strip():
        blocks.append(SectionBlock(text=_mrkdwn(text)))
    if links := _links(_mapping(data.get("result")).get("urls")):
        blocks.append(SectionBlock(text=_mrkdwn(links)))
    if labels := _labels(_mapping(watch.get("labels"))):
        blocks.append(ContextBlock(elements=[_mrkdwn(label) for label in labels]))
    return blocks


def _fields(data: Mapping[str, Json], watch: Mapping[str, Json]) -> list[str]:
    previous = _string(data.get("previous_state"))
    state = _string(data.get("state"))
    rows = [
        ("Source", _line(watch.get("source"), FIELD)),
        ("Task", _code(watch.get("id"), FIELD) if watch.get("id") else ""),
        ("State", _line(f"{state} (was {previous})" if state and previous else state, FIELD)),
        ("Elapsed", _duration(data.get("watched_seconds"))),
        ("Endpoint", _line(data.get("endpoint"), FIELD)),
        ("Reason", _line(data.get("reason"), FIELD)),
    ]
    return [f"*{title}*\n{value}" for title, value in rows if value]


def _links(urls: Json) -> str:
    """Return links to the results; a URL cannot be cut, so those that do not fit are counted."""
    found = [url for url in urls if isinstance(url, str) and url] if isinstance(urls, list) else []
    written: list[str] = []
    room = LINKS - 40  # for the count
    for number, url in enumerate(islice(found, MAX_LINKS), start=1):
        # Nothing may stay that ends a link's address (`|`, `>`, blanks) or that JSON would double.
        address = quote(url[:LINKS], safe="!#$%&'()*+,/:;=?@[]~", errors="replace").replace("&", "&amp;")
        link = f"<{address}|{'result' if len(found) == 1 else f'result {number}'}>"
        if url.startswith(("https://", "http://")) and len(link) < room:
            room -= len(link) + 1
            written.append(link)
    missing = len(found) - len(written)
    if missing:
        written.append(f"… and {missing} more in the event" if written else f"… {missing} too long for Slack")
    return "\n".join(written)


def _labels(labels: Mapping[str, Json]) -> list[str]:
    shown = MAX_LABELS if len(labels) <= MAX_LABELS else MAX_LABELS - 1
    texts = [_line(f"{key}: {_string(value)}", LABEL) for key, value in islice(labels.items(), shown)]
    return texts if len(labels) == shown else [*texts, f"… and {len(labels) - shown} more"][: len(labels)]


def _mrkdwn(text: str) -> MarkdownTextObject:
    return MarkdownTextObject(text=text, verbatim=True)  # no links and names made of what only looks like them


def _name(value: Json) -> str:
    return f"*{name}*" if (name := _line(value, HEADLINE)) else "?"


def _code(value: Json, limit: int) -> str:
    line = _line(value, limit).replace("`", "'")
    return f"`{line}`" if line else "?"


def _line(value: Json, limit: int) -> str:
    return escape(" ".join(_string(value)[: 2 * limit + 4].splitlines()), limit)


def _duration(value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        return ""
    if value < 60:
        return f"{math.floor(value * 10) / 10:g} s"
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _string(value: Json) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
    return "{…}" if isinstance(value, dict) else "[…]"
