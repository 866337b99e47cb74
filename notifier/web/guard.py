"""Who may use the HTTP listener.

Without a token it answers those alone who address it by a loopback name or by its own: a page from elsewhere cannot
reach it through a name that it makes point here (DNS rebinding), nor post to it (CSRF).
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from notifier.web.problem import problem

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/"})  # for probes, scrapers and browsers; tell no secret
OPEN_PREFIX = "/static/"  # the parts of the status page, the same for everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Whom the listener answers."""

    token: str | None
    host: str | None  # that it listens on; None: a unix socket

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a request that is not to be served."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower().partition("://")[2] != request.host.lower():
            return problem(403, "requests from pages of other origins are not answered")
        if request.path in OPEN_PATHS or request.path.startswith(OPEN_PREFIX):
            return None
        if self.token is None:
            if self.host is not None and not self._known(request.host):
                return problem(403, "this Host is not answered without a token; use localhost")
            return None
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Bytes that are no UTF-8 arrive as surrogates.
        given_bytes = given.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and hmac.compare_digest(given_bytes, self.token.encode()):
            return None
        refused = problem(401, "a bearer token is needed: http.token of the configuration")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in {"localhost", self.host} or ipaddress.ip_address(name).is_loopback
        except ValueError:  # neither of these names nor an address
            return False
