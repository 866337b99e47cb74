"""Text that both databases can hold: PostgreSQL refuses NUL, and neither can write half of a surrogate pair."""

from __future__ import annotations

import re
from typing import TypeVar

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

T = TypeVar("T", str, str | None)


def storable(text: T) -> T:
    """Return the text with U+FFFD in place of each character that a database refuses; None stays None."""
    return text if text is None or (text.isascii() and "\0" not in text) else _UNSTORABLE.sub("\ufffd", text)
