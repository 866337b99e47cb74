"""What each fault of a connection to an upstream means."""

from __future__ import annotations

import os
import re
import ssl

from notifier.core.errors import SourceError, Unavailable, Unreadable
from notifier.runtime.http1 import (
    BadHead,
    ConnectFault,
    HttpFault,
    Lost,
    NameFault,
    TlsFault,
    TunnelRefused,
)
from notifier.sources.body import BadPacking

FAULTS = (HttpFault, OSError, ValueError)  # the last: a URL that cannot be used

_QUOTED = re.compile(r"""b?['"].*|:.*""", re.DOTALL)  # from where a parser's message quotes the reply


def translated(exc: Exception, peer: str = "upstream") -> SourceError:
    """Return the error that a fault means. `peer` is what it calls the other side."""
    match exc:
        case TlsFault(error=ssl.SSLCertVerificationError() as error):
            reason = f"the {peer}'s certificate is not accepted: {error.verify_message}"
        case TlsFault() | ssl.SSLError() | Lost(error=ssl.SSLError()):
            reason = "TLS failed"
        case NameFault(proxy=True):
            reason = "the proxy's host name cannot be resolved"
        case ConnectFault(proxy=True):
            reason = f"cannot connect to the proxy: {_reason(exc.error)}"
        case TunnelRefused():
            reason = f"the proxy opens no tunnel: it answers {exc.status}"
        case NameFault():
            reason = f"the {peer}'s host name cannot be resolved"
        case ConnectFault():
            reason = f"cannot connect: {_reason(exc.error)}"
        case BadHead():
            reason = _not_http(str(exc), peer)
        case BadPacking():
            reason = f"the {peer}'s reply is not packed as its head says"
        case Lost(error=OSError() as error):
            reason = f"the connection broke: {_reason(error)}"
        case Lost():
            reason = f"the {peer} closed the connection"
        case HttpFault():
            reason = "the connection broke before the reply was complete"
        case OSError():
            reason = f"the connection broke: {_reason(exc)}"
        case _:
            return Unreadable(f"the source's URL cannot be used ({type(exc).__name__})")
    return Unavailable(reason)


def _not_http(message: str, peer: str) -> str:
    """Return why a reply's head could not be read, without the part of it that the parser quotes."""
    detail = " ".join(_QUOTED.sub("", message).split())[:100]
    return f"the {peer}'s reply is not HTTP" + (f" ({detail})" if detail else "")


def _reason(exc: OSError) -> str:
    if exc.errno is not None and exc.errno > 0 and not isinstance(exc, ssl.SSLError):
        return os.strerror(exc.errno).lower()  # asyncio's own text has none of the reason
    return (exc.strerror or type(exc).__name__).lower()
