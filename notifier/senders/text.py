"""Texts of strangers, made fit for a message: harmless, escaped, and cut visibly at a character's boundary. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from notifier.senders.reply import visible

LONGEST_CHARACTER = 16  # code points: a family of four with skin tones has eleven
NO_ESCAPES: Mapping[str, str] = {}
# CommonMark, section 2.4: a backslash before punctuation takes its meaning away. `@` begins a mention: the word joiner
# behind it (U+2060, which nobody sees) keeps it from being one.
MARKDOWN: Mapping[str, str] = {char: f"\\{char}" for char in "\\`*_~|#[]()<>!"} | {"@": "@\u2060"}


def fit(text: str, limit: int, escapes: Mapping[str, str] = NO_ESCAPES) -> str:
    """Escape and cut to `limit` UTF-16 units, the strictest way to count, with `…` where it was cut."""
    # A line's end may take two characters; so what is left here is still too long if `text` was.
    text = "\n".join(visible(line) for line in text[: 2 * limit + 4].splitlines())
    escaped = [escapes.get(char, char) for char in text]
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


def line(text: str, limit: int, escapes: Mapping[str, str] = NO_ESCAPES) -> str:
    """Do the same with a text that is to stand on one line."""
    return fit(" ".join(text[: 2 * limit + 4].splitlines()), limit, escapes)


def _joined(left: str, right: str) -> bool:
    """Say whether two code points are seen as one: combining marks, emoji with modifiers or joined ones."""
    joiner = "\u200d"
    marks = unicodedata.category(right).startswith("M") or "\U0001f3fb" <= right <= "\U0001f3ff"
    return marks or joiner in (left, right)
