"""The URL that a sender sends to, and the settings of its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from yarl import URL

from notifier import __version__
from notifier.core.http_head import VISIBLE
from notifier.runtime.tls import Trust

USER_AGENT = f"notifier/{__version__}"
_PARTS = re.compile(r"(?P<origin>[^:/?#]*://[^/?#]*)(?P<rest>[^#]*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One endpoint's URL, and the settings of every request to it."""

    url: str
    timeout: float  # seconds of one attempt: lookup, connecting, TLS, headers and body
    headers: Mapping[str, str] = field(default_factory=dict)  # of the configuration
    max_in_flight: int = 0  # connections at a time; 0: any number
    user_agent: str = USER_AGENT
    ssl: Trust = True
    proxy: str | None = None  # URL of an HTTP proxy
    signed_with: tuple[str, ...] = field(default=(), repr=False)  # secrets that a reply, too, must not show


def request_url(text: str) -> URL:
    """Return the URL of requests: without user and fragment, and with path and query byte for byte as written.

    A signature may cover the request target, so percent-encodings, dot segments, empty parts and a final `?` stay. Only
    characters that a request line cannot carry are percent-encoded. Raises ValueError if it is no such URL.
    """
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError("not a URL")
    origin = URL(parts["origin"]).with_user(None)
    if origin.scheme not in ("http", "https") or not origin.host:
        raise ValueError("not an HTTP URL")
    rest = quote(parts["rest"], safe=VISIBLE)
    # yarl drops an empty query, so the path holds the query as well.
    path = rest if rest.startswith("/") else f"/{rest}"
    return URL.build(scheme=origin.scheme, authority=origin.raw_authority, path=path, encoded=True)
