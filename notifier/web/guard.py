"""Access to the HTTP listener.

Without a token it answers only requests that address it by a loopback name, by its own host, or by that of its public
URL: a page of another site cannot reach it through a name that resolves to it (DNS rebinding), nor post to it (CSRF).
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from notifier.web.refusals import problem

PROBES = frozenset({"/healthz", "/readyz"})
OPEN_PATHS = PROBES | {"/metrics", "/"}  # for probes and browsers; they show no secret
HEALTH_PATHS = OPEN_PATHS - {"/"}
PORTS = {"http": 80, "https": 443}  # the default ones, which a Host may name and an Origin never does
OPEN_PREFIX = "/static/"  # the parts of the status page, the same for everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The rules by which the listener answers."""

    token: str | None
    host: str | None  # on which it listens; None: a unix socket
    public_url: str | None = None  # by which browsers reach it through a proxy

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a refused request; None: serve it."""
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_own(origin.lower(), request.host.lower()):
            hint = "behind a proxy, set http.public_url"
            return problem(403, f"requests from pages of other origins are not answered; {hint}")
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

    def _is_own(self, origin: str, host: str) -> bool:
        """Return whether an origin is the listener's own: the Host of the request, or the public URL's."""
        public = None if self.public_url is None else _origin(self.public_url)
        scheme, _, place = origin.partition("://")
        return place in (host, host.removesuffix(f":{PORTS.get(scheme)}")) or origin == public

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            public = None if self.public_url is None else urlsplit(self.public_url).hostname
            return name in {"localhost", self.host, public} or ipaddress.ip_address(name).is_loopback
        except ValueError:  # not one of these names, and not an address
            return False


def _origin(url: str) -> str:
    """Return the origin of a URL as browsers write it: in lower case, without a default port (RFC 6454 section 6.2)."""
    parts = urlsplit(url.lower())
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    default = parts.port in (None, PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" if default else f"{parts.scheme}://{host}:{parts.port}"
