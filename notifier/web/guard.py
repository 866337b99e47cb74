"""Access to the HTTP listener.

Without a token it answers only requests that address it by a loopback name or by its own host: a page of another site
cannot reach it through a name that resolves to it (DNS rebinding), and cannot post to it (CSRF).
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from notifier.web.refusals import problem

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/"})  # for probes and browsers; they show no secret
HEALTH_PATHS = OPEN_PATHS - {"/"}
OPEN_PREFIX = "/static/"  # the parts of the status page, the same for everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The rules by which the listener answers."""

    token: str | None
    host: str | None  # on which it listens; None: a unix socket

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a refused request; None: serve it."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower().partition("://")[2] != request.host.lower():
            return problem(403, "requests from pages of other origins are not answered")
        if self._is_open(request):
            return None
        if self.token is None:
            if self.host is not None and not self._known(request.host):
                return problem(403, "this Host is not answered without a token; use localhost")
            return None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        # Bytes that are not UTF-8 arrive as surrogates.
        token_bytes = token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and hmac.compare_digest(token_bytes, self.token.encode()):
            return None
        refusal = problem(401, "a bearer token is needed: http.token of the configuration")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    def is_operator(self, request: web.Request, *, local: bool) -> bool:
        """Return whether a request that is not refused is an operator's or a probe's; `local`: from this machine."""
        return local or request.path in HEALTH_PATHS or (self.token is not None and not self._is_open(request))

    def _is_open(self, request: web.Request) -> bool:
        return request.path in OPEN_PATHS or request.path.startswith(OPEN_PREFIX)

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in {"localhost", self.host} or ipaddress.ip_address(name).is_loopback
        except ValueError:  # not one of these names, and not an address
            return False
