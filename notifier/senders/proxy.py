"""The HTTP proxy that an endpoint is reached through: where it is and how it is asked, and what its refusals mean.

Of the environment nothing is read. To https:// endpoints the proxy opens a tunnel (RFC 9110 section 9.3.6), so TLS is
spoken with the endpoint itself; requests to http:// ones it passes on. It is of our side: what it gets wrong, the
endpoint is not blamed for.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from yarl import URL

from notifier.core.retry import Failed

DENIED = 407  # RFC 9110 section 15.5.8: only a proxy says so


class Proxy:
    """One proxy, as one endpoint's requests are to go through it."""

    def __init__(self, url: str, *, secure: bool) -> None:
        whole = URL(url)
        self.secrets = (whole.user, whole.password)
        self.headers: dict[str, str] = {}  # of each request
        self.options: dict[str, Any] = {"proxy": whole.with_user(None)}  # of each call to aiohttp
        if whole.user or whole.password:
            asked = {"proxy-authorization": aiohttp.encode_basic_auth(whole.user or "", whole.password or "")}
            if secure:
                self.options["proxy_headers"] = asked  # go with CONNECT, never to the endpoint
            else:
                self.headers = asked  # with each request, as proxies want it; aiohttp would with a connection's first


def proxy_fault(exc: Exception) -> Failed | None:
    """Return what an exception of a proxied exchange means if it is the proxy's; None otherwise."""
    match exc:
        case aiohttp.ClientHttpProxyError(status=status) if status in (502, 503, 504):
            return Failed(reason="proxy", detail=f"the proxy cannot reach the endpoint: it answered {status}")
        case aiohttp.ClientHttpProxyError(status=status):
            return Failed(reason="proxy", detail=f"the proxy opened no tunnel: it answered {status}", spend=False)
        case aiohttp.ClientConnectorDNSError():
            return Failed(reason="proxy", detail="the proxy's host name cannot be looked up", spend=False)
        case aiohttp.ClientProxyConnectionError():
            return Failed(reason="proxy", detail="the proxy cannot be connected to", spend=False)
    return None


def denied() -> Failed:
    """Return what a proxy's demand for credentials means."""
    return Failed(reason="proxy", detail=f"the proxy wants other credentials: it answered {DENIED}", spend=False)
