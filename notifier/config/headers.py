"""Names of HTTP header fields, and those that are not the user's to set on a delivery."""

from __future__ import annotations

import re

from notifier.config.problems import error

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
# RFC 9110, section 7.6.1, and what it took over from RFC 2616, section 13.5.1
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "trailers", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_SIGNATURES = frozenset({"x-hub-signature-256", "stripe-signature"})  # `webhook-signature` goes by its beginning
_OURS = frozenset({"host", "content-length", "content-type", "content-encoding", "expect"})


def header_name(name: str) -> str:
    """Refuse what is no name of a header field."""
    if not _TOKEN.fullmatch(name):
        raise error("not the name of a header: letters, digits and - only")
    return name


def delivery_header(name: str) -> str:
    """Refuse a header that a delivery's sender sets itself, or that is about the connection only."""
    lowered = header_name(name).lower()
    if lowered.startswith("webhook-") or lowered in _OURS or lowered in _SIGNATURES:
        raise error("this header is set by notifier itself; remove it")
    if lowered in _HOP_BY_HOP:
        raise error("this header is about the connection, not the message; remove it")
    return name
