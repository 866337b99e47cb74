"""Where a sender sends, and how it connects."""

from __future__ import annotations

import ssl as tls
from collections.abc import Mapping
from dataclasses import dataclass, field

from notifier import __version__

USER_AGENT = f"notifier/{__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One endpoint's URL, and the settings of every request to it."""

    url: str
    timeout: float  # seconds of one attempt: lookup, connecting, TLS, headers and body
    headers: Mapping[str, str] = field(default_factory=dict)  # of the configuration
    max_in_flight: int = 0  # connections at a time; 0: any number
    user_agent: str = USER_AGENT
    ssl: tls.SSLContext | bool = True  # as aiohttp takes it; True: the system's authorities
    proxy: str | None = None  # URL of an HTTP proxy
