"""Writes a notice as plain text with a title, for services that are reached through Apprise. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from notifier.core.model import EventType
from notifier.senders.notice import Notice, is_failure, links, missing_words, plain
from notifier.senders.reply import fit, line

TITLE = 200
TROUBLE = 300  # of an error: its beginning says what is wrong
LINKS = 2000  # of all links together; the shortest messages that services take are longer
PAGE = 600  # of the URL of the status page; a longer one is left out
FACT = 100
DIGEST = 3000  # of all lines of a digest

Kind = Literal["info", "success", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A message."""

    title: str
    body: str
    kind: Kind  # chooses a colour or a sign, where a service has them


def written(notice: Notice, event_type: str) -> Text:
    """Return the message; its body is never empty, and then it has no title."""
    title = line(f"{notice.emoji} {plain(notice.headline)}", TITLE)
    results = links(notice, room=LINKS, size=lambda name, url: len(name) + len(url) + 3)
    page = [f"details: {notice.page}"] if notice.page is not None and len(notice.page) <= PAGE else []
    lines = [
        fit(notice.trouble, TROUBLE).strip(),
        fit("\n".join(notice.lines), DIGEST).strip(),
        *(f"{name}: {url}" for name, url in results.shown),
        missing_words(results),
        *page,
        " · ".join(line(fact, FACT) for fact in notice.facts),
    ]
    body = "\n".join(filter(None, lines))
    return (
        Text(title=title, body=body, kind=_kind(event_type))
        if body
        else Text(title="", body=title, kind=_kind(event_type))
    )


def _kind(event_type: str) -> Kind:
    if is_failure(event_type):
        return "failure"
    return "success" if event_type == EventType.SUCCEEDED else "info"
