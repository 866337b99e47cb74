"""Turns what an endpoint answered into text that may be logged: bounded, decoded, harmless. Pure."""

from __future__ import annotations

import zlib

READ_LIMIT = 16 * 1024  # bytes of a reply that are read, before and after decompression: more is no reply to a webhook
KEEP_LIMIT = 1024  # characters that are kept in the attempt log
_SHORTEST_SECRET = 8  # characters of a part of the URL that may be a secret; `hooks` and `v1` are none

_CONTROLS = {code: 0x2400 + code for code in range(0x20)}  # U+2400 and on are pictures of the C0 controls
_CONTROLS[0x7F] = 0x2421
_CONTROLS |= dict.fromkeys([*range(0x80, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)], 0xFFFD)
_CONTROLS |= dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)  # bidi


def visible(text: str) -> str:
    """Show control characters, which could end a log's line or rewrite a terminal, as what they are."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS)


def decode(raw: bytes, encoding: str | None) -> str:
    """Return a reply's first bytes as text, never more than READ_LIMIT of it.

    No compression was asked for; what comes all the same is decompressed as far as the limit and no further.
    """
    if encoding is not None and encoding.lower() in ("gzip", "x-gzip", "deflate"):
        try:
            raw = zlib.decompressobj(wbits=47).decompress(raw, READ_LIMIT)  # 47: gzip or zlib, by its header
        except zlib.error:
            return f"({len(raw)} bytes that are not {encoding})"
    return raw[:READ_LIMIT].decode("utf-8", "replace")


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Blot out the parts of the URL that an error page may repeat."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def kept(text: str, secrets: tuple[str, ...]) -> str:
    """Return what of a reply's text is kept."""
    return visible(redact(text, secrets)[:KEEP_LIMIT]) if text else ""


def secrets_of(*parts: str | None) -> tuple[str, ...]:
    """Pick from parts of a URL those that could be secrets; the longest first, since one may hold another."""
    return tuple(sorted({part for part in parts if part and len(part) >= _SHORTEST_SECRET}, key=len, reverse=True))
