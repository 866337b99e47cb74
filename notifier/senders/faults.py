"""Classifies the exceptions that kept an attempt from getting a reply, and whose fault they are. Pure.

No detail quotes an exception's text that may contain the URL. Faults of our own side cost the endpoint nothing, and
neither do those of a proxy, which is on our side.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl

from notifier.core.retry import Failed
from notifier.runtime.http1 import (
    BadHead,
    BrokenFraming,
    ConnectFault,
    CutShort,
    ForbiddenAddress,
    Lost,
    NameFault,
    TlsFault,
    TunnelRefused,
)
from notifier.senders.reply import visible

_OURS = {  # errno -> reason: faults of this machine
    errno.EAGAIN: "local",  # no thread, no local port (connect(2))
    errno.EMFILE: "too_many_files",
    errno.ENFILE: "too_many_files",
    errno.ENOSPC: "local",
    errno.ENOMEM: "local",
    errno.ENOBUFS: "local",
    errno.EADDRNOTAVAIL: "local",  # no local port is free
    errno.ENETDOWN: "local",
    errno.ENETUNREACH: "local",  # this machine has no route at all
    errno.EPERM: "local",  # refused by a firewall or sandbox of this machine
    errno.EACCES: "local",
}
_THEIR_DNS = frozenset(  # the name servers know no such host; any other error means that they did not answer
    code for name in ("EAI_NONAME", "EAI_NODATA", "EAI_FAIL") if (code := getattr(socket, name, None)) is not None
)
_BAD_GATEWAY = frozenset({502, 503, 504})  # a proxy's word on the endpoint behind it
_LONGEST_DETAIL = 200  # characters kept of a library's explanation


def explain(exc: Exception) -> Failed | None:
    """Return the failure that an exception of an exchange stands for; None if no exchange is known to raise it."""
    match exc:
        case NameFault(proxy=True):
            return Failed(reason="proxy", detail="the proxy's host name cannot be looked up", spend=False)
        case ConnectFault(proxy=True):
            return Failed(reason="proxy", detail="the proxy cannot be connected to", spend=False)
        case TunnelRefused(status=status) if status in _BAD_GATEWAY:
            return Failed(reason="proxy", detail=f"the proxy cannot reach the endpoint: it answered {status}")
        case TunnelRefused(status=status):
            return Failed(reason="proxy", detail=f"the proxy opened no tunnel: it answered {status}", spend=False)
        case NameFault():
            return _dns(exc.error)
        case ConnectFault(error=ForbiddenAddress() as forbidden):
            return Failed(reason="forbidden_address", detail=str(forbidden))
        case ConnectFault():
            return _by_errno(exc.error, "connect")
        case TlsFault():
            return _tls(exc.error)
        case Lost(error=Exception() as error):
            return explain(error)
        case Lost():
            return Failed(reason="reset", detail="the endpoint closed the connection without a reply")
        case CutShort():
            return Failed(reason="reset", detail="the reply's body was cut short")
        case BadHead() | BrokenFraming():
            return Failed(reason="protocol", detail=visible(f"not an HTTP reply: {exc}")[:_LONGEST_DETAIL])
        case ssl.SSLError():
            return _tls(exc)
        case OSError():
            return _by_errno(exc, "reset")
    return None


def _dns(exc: OSError) -> Failed:
    if exc.errno in _THEIR_DNS:
        return Failed(reason="dns", detail="the host name does not exist")
    if exc.errno in _OURS:
        return _by_errno(exc, "dns")
    return Failed(reason="dns", detail="no name server answered", spend=False)


def _tls(exc: Exception) -> Failed:
    text = getattr(exc, "verify_message", None) or getattr(exc, "reason", None) or "the handshake failed"
    return Failed(reason="tls", detail=visible(str(text))[:_LONGEST_DETAIL])


def _by_errno(exc: OSError, reason: str) -> Failed:
    code = exc.errno
    if code in _OURS:
        return Failed(reason=_OURS[code], detail=os.strerror(code), spend=False)
    if code == errno.ETIMEDOUT:
        return Failed(reason="timeout", detail="the endpoint's machine does not answer")
    if code is None and reason == "connect" and isinstance(exc, ConnectionError):
        return Failed(reason=reason, detail="the endpoint closed the connection in the middle of the handshake")
    if code is None:
        broken = (
            "no address of the endpoint could be connected to" if reason == "connect" else "the connection was lost"
        )
        return Failed(reason=reason, detail=broken)
    return Failed(reason=reason, detail=os.strerror(code))
