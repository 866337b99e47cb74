"""Where the results of a task are kept: paths that its source, its id and a URL cannot lead astray. Pure.

A name of others becomes one part of a path: percent-encoded but for plain characters, never hidden, never `..`, and of
bounded length. Two different names become two different parts.
"""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import quote

MAX_PART = 120  # characters; file systems take 255 bytes
_DIGEST = 16  # characters of the digest that tells long names apart
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


def part(name: str) -> str:
    """Return a name as one part of a path."""
    text = quote(name, safe="-_.~", errors="surrogatepass")
    if text.startswith("."):
        text = "%2E" + text[1:]
    if len(text) <= MAX_PART:
        return text
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{text[: MAX_PART - _DIGEST - 1]}~{digest}"  # quoting leaves `~`, but no short part ends like this


def file_name(number: int, url: str) -> str:
    """Return the name of a result's file: its number from 1, and the suffix of its URL's path."""
    found = _SUFFIX.search(url.partition("?")[0].partition("#")[0].rpartition("/")[2])
    return f"{number}{found[0].lower()}" if found else str(number)
