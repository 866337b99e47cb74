"""Destinations that come with a watch: a URL of the user's own, and what signs for it. Pure.

A destination is named by its content, so that the same URL and secret are one wherever they come from; deliveries carry
the name in the place of an endpoint's. Neither URL nor secret is ever printed.
"""

from __future__ import annotations

import re
from base64 import b32encode
from dataclasses import dataclass, field
from hashlib import sha256

LABEL = "callback"  # what all of them together go by, in metrics and filters
PREFIX = f"{LABEL}:"  # of a name; no endpoint's may begin so
_NAME_BYTES = 15  # of the hash: 120 bits, which nobody finds twice, and which need no padding in base 32
_AFTER_AUTHORITY = re.compile(r"[/?#]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A destination."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)  # whsec_...; None: the configured one signs
    kept_as: str | None = field(default=None, compare=False)  # its name in the store, that its deliveries carry

    @property
    def name(self) -> str:
        """Return what it is called; where it is kept, by that name, though its row may have been mended by hand."""
        if self.kept_as is not None:
            return self.kept_as
        digest = sha256(f"{self.url}\n{self.secret or ''}".encode()).digest()
        return PREFIX + b32encode(digest[:_NAME_BYTES]).decode().lower()

    @property
    def origin(self) -> str:
        """Return as much of the URL as may be shown."""
        return origin(self.url)


def is_callback(endpoint: str) -> bool:
    """Say whether a delivery's endpoint is a destination that came with a watch."""
    return endpoint.startswith(PREFIX)


def origin(url: str) -> str:
    """Return scheme, host and port of a URL that a `CallbackPolicy` accepted: it holds no user name."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{_AFTER_AUTHORITY.split(rest, 1)[0]}".lower()
