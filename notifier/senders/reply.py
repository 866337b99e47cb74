"""Limits what is read and kept of an endpoint's reply, and makes strangers' text harmless. Pure.

Replies are decoded, bounded and redacted for the log. Texts of events are escaped and cut for messages to
people, visibly and at a character's boundary.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Mapping

READ_LIMIT = 16 * 1024  # bytes of a reply that are read, before and after decompression
KEEP_LIMIT = 1024  # characters that are kept in the attempt log
_SHORTEST_SECRET = 8  # characters of a part of the URL that may be a secret: `hooks` and `v1` are too short

LONGEST_CHARACTER = 16  # code points: a family of four with skin tones has eleven
NO_ESCAPES: Mapping[str, str] = {}
# CommonMark, section 2.4: a backslash removes the meaning of punctuation. `@` begins a mention; the invisible word
# joiner after it (U+2060) prevents that.
MARKDOWN: Mapping[str, str] = {char: f"\\{char}" for char in "\\`*_~|#[]()<>!"} | {"@": "@\u2060"}

# Controls, separators of lines, surrogates, and what turns the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Replace control characters, which could end a log's line or rewrite a terminal, by visible signs."""
    return text if text.isascii() and text.isprintable() else _CONTROL.sub(_sign, text)


def _sign(control: re.Match[str]) -> str:
    code = ord(control[0])
    if code < 0x20:
        return chr(0x2400 + code)  # its picture
    return "\u2421" if code == 0x7F else "\ufffd"


def decode(raw: bytes, encoding: str | None) -> str:
    """Return a reply's first bytes as text, never more than READ_LIMIT of it.

    No compression was requested. A compressed reply is decompressed only up to the limit.
    """
    if encoding is not None and encoding.lower() in ("gzip", "x-gzip", "deflate"):
        try:
            raw = zlib.decompressobj(wbits=47).decompress(raw, READ_LIMIT)  # 47: gzip or zlib, by its header
        except zlib.error:
            return f"({len(raw)} bytes that are not {encoding})"
    return raw[:READ_LIMIT].decode("utf-8", "replace")


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Replace the secrets, which an error page may repeat, by asterisks."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def kept(text: str, secrets: tuple[str, ...]) -> str:
    """Return the part of a reply's text that is kept."""
    return visible(redact(text, secrets)[:KEEP_LIMIT])


def secrets_of(*parts: str | None) -> tuple[str, ...]:
    """Return the parts that could be secrets; the longest first, since one may contain another."""
    return tuple(sorted({part for part in parts if part and len(part) >= _SHORTEST_SECRET}, key=len, reverse=True))


def fit(text: str, limit: int, escapes: Mapping[str, str] = NO_ESCAPES) -> str:
    """Escape and cut to `limit` UTF-16 units, the strictest way to count, with `…` where it was cut."""
    # A line end may take two characters, so the slice is still too long if `text` was.
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
    # A longer sequence is no character, but a text made to be cut to nothing.
    return "".join(escaped[: whole if 0 < end - whole < LONGEST_CHARACTER else end]) + "…"


def line(text: str, limit: int, escapes: Mapping[str, str] = NO_ESCAPES) -> str:
    """Do the same, with the text on one line."""
    return fit(" ".join(text[: 2 * limit + 4].splitlines()), limit, escapes)


def _joined(left: str, right: str) -> bool:
    """Return whether two code points look like one: combining marks, emoji with modifiers, joined emoji."""
    joiner = "\u200d"
    marks = unicodedata.category(right).startswith("M") or "\U0001f3fb" <= right <= "\U0001f3ff"
    return marks or joiner in (left, right)
