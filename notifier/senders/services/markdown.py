"""A message in Markdown below its headline, for services that read it."""

from __future__ import annotations

from notifier.senders.notice import Notice, links, missing_words
from notifier.senders.reply import MARKDOWN, fit


def body(notice: Notice, *, trouble: int, lines: int, room: int, page: int) -> str:
    """Return the trouble, the lines of a digest, and the links; each fits into so many characters.

    A URL of the status page that is longer than `page` is left out.
    """
    results = links(notice, room=room, size=lambda name, url: len(_link(name, url)) + 1)
    parts = [
        fit(notice.trouble, trouble, MARKDOWN).strip(),
        fit("\n".join(notice.lines), lines, MARKDOWN),
        *(_link(name, url) for name, url in results.shown),
        missing_words(results),
    ]
    if notice.page is not None and len(notice.page) <= page:
        parts.append(_link("details", notice.page))
    return "\n".join(filter(None, parts))


def _link(name: str, url: str) -> str:
    return f"[{name}]({url})"
