"""Reads the pairs of escapes by which JSON writes a character beyond U+FFFF (RFC 8259, section 7); YAML has no such.

Only a text in double quotes has escapes. Anywhere else, as in a template of several lines, the same letters are text.
"""

from __future__ import annotations

import re

import yaml

from notifier.config import tree
from notifier.config.excerpt import LINE_BREAK

_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ESCAPE = re.compile(rf"{_PAIR.pattern}|\\.", re.DOTALL)


def join_surrogates(text: str) -> str:
    """Write the character in the place of each pair of escapes. Every value begins at the same line and column."""
    if not _PAIR.search(text):
        return text
    readable, _ = tree.protect(_HALF.sub(r"\\u0041", text))  # of the same length, and with the same values in quotes
    parts: list[str] = []
    end = 0
    try:
        for token in yaml.scan(readable, Loader=tree.LOADER):
            if isinstance(token, yaml.ScalarToken) and token.style == '"':
                begin, after = token.start_mark.index, token.end_mark.index
                if "\\u" in (written := text[begin:after]):
                    parts += text[end:begin], _joined(written)
                    end = after
    except yaml.YAMLError:
        pass  # the parser tells of it
    return "".join((*parts, text[end:]))


def _joined(written: str) -> str:
    """Join the pairs of a text in quotes; blanks behind it keep the place of what follows on its last line."""
    joined = _ESCAPE.sub(_character, written)
    return joined + " " * (len(LINE_BREAK.split(written)[-1]) - len(LINE_BREAK.split(joined)[-1]))


def _character(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return escape[0]
    return chr(0x10000 + (int(escape[1], 16) - 0xD800 << 10) + int(escape[2], 16) - 0xDC00)
