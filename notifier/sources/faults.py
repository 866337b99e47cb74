"""What each fault of a connection to an upstream means."""

from __future__ import annotations

import re
import socket
import ssl

import aiohttp

from notifier.core.errors import SourceError, Unavailable, Unreadable

# Everything that aiohttp raises: a URL that it cannot use is ValueError, a read from a closed connection RuntimeError.
FAULTS = (aiohttp.ClientError, OSError, ValueError, RuntimeError)

_QUOTED = re.compile(r"""b?['"].*|:.*""", re.DOTALL)  # from where a parser's message quotes the reply


def translated(exc: Exception, note: str = "") -> SourceError:
    """Return the error that a fault means. `note` is put behind its message."""
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            reason = f"the upstream's certificate is not accepted: {_certificate(exc.certificate_error)}"
        case aiohttp.ClientProxyConnectionError():
            reason = f"cannot connect to the proxy: {_reason(exc.os_error)}"
        case aiohttp.ClientHttpProxyError():
            reason = f"the proxy opens no tunnel: it answers {exc.status}"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            reason = "TLS failed"
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            reason = "the upstream's host name cannot be resolved"
        case aiohttp.ClientConnectorError():
            reason = f"cannot connect: {_reason(exc.os_error)}"
        case aiohttp.ClientPayloadError():
            reason = "the connection broke before the reply was complete"
        case aiohttp.ServerDisconnectedError():
            reason = "the upstream closed the connection"
        case aiohttp.ClientResponseError():
            reason = _not_http(exc.message)
        case OSError():
            reason = f"the connection broke: {_reason(exc)}"
        case aiohttp.ClientError() | RuntimeError():
            reason = "the connection broke"
        case _:
            return Unreadable(f"the source's URL cannot be used ({type(exc).__name__}){note}")
    return Unavailable(reason + note)


def _not_http(message: str) -> str:
    """Return why a reply's head could not be read, without the part of it that the parser quotes."""
    if "content-encoding" in message.lower():
        return "the upstream compresses its reply in a form that cannot be read, though it was asked not to"
    detail = " ".join(_QUOTED.sub("", message).split())[:100]
    return "the upstream's reply is not HTTP" + (f" ({detail})" if detail else "")


def _reason(exc: OSError) -> str:
    return (exc.strerror or type(exc).__name__).lower()


def _certificate(exc: Exception) -> str:
    return exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else type(exc).__name__
