"""Sends a source's request and reads the reply's head: redirects, and what each status and fault means.

The kinds of SourceError are decided here and nowhere else. Messages name no URL and no credential.
"""

from __future__ import annotations

import socket
import ssl
import time

import aiohttp
from yarl import URL

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.retry import parse_retry_after
from notifier.runtime.aiohttp_private import disable_retries
from notifier.sources.request import Request

MAX_REDIRECTS = 5  # a chain that is longer is a loop
READ_BUFFER = 16 << 10  # bytes held for a reader that is slow; thousands of streams share the memory

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_FOUND = frozenset({404, 410})
_TRY_AGAIN = frozenset({408, 425, 429})

# All that aiohttp raises: a URL that it cannot use is a ValueError, a read from a connection that is gone RuntimeError.
FAULTS = (aiohttp.ClientError, OSError, ValueError, RuntimeError)


def new_session() -> aiohttp.ClientSession:
    """Make a session for streams: no limits of its own, no cookies, every connection used once."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        read_bufsize=READ_BUFFER,
        skip_auto_headers=("Content-Type",),
    )
    # It retries once what failed on a connection that may have been stale; ours are new, and when to try again is
    # not decided here.
    disable_retries(session)
    return session


async def fetch(
    session: aiohttp.ClientSession, request: Request, *, tls: ssl.SSLContext | bool = True
) -> aiohttp.ClientResponse:
    """Return the reply once its head is in and says 2xx; the caller closes it. Raises SourceError.

    Redirects are followed here, as aiohttp takes only the headers that it knows from a request to another origin.
    """
    method, url, headers = request.method, request.url, request.headers
    for _ in range(MAX_REDIRECTS + 1):
        try:
            response = await session.request(method, url, headers=headers, allow_redirects=False, ssl=tls)
        except FAULTS as exc:
            raise translated(exc) from exc
        if response.status not in _REDIRECTS or "Location" not in response.headers:
            try:
                _check(response)
            except SourceError:
                response.close()
                raise
            return response
        response.close()
        target = _target(url, response.headers["Location"])
        if response.status == 303 or (response.status != 307 and response.status != 308 and method == "POST"):
            method = "GET"
        if target.origin() != url.origin():
            headers = headers.copy()
            for name in request.private:
                headers.popall(name, None)
        url = target
    raise Unreadable(f"the upstream redirects more than {MAX_REDIRECTS} times")


def _target(url: URL, location: str) -> URL:
    try:
        written_well = location.isascii() and " " not in location  # then it is taken as it is: it may be signed
        target = url.join(URL(location, encoded=written_well)).with_fragment(None)
        if target.scheme in {"http", "https"} and target.host:
            return target.with_user(None)
    except ValueError as exc:
        raise Unreadable("the upstream redirects to something that is no URL") from exc
    raise Unreadable("the upstream redirects to something that is no HTTP URL")


def _check(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 204:
        raise NoContent(status=status)
    if 200 <= status < 300:
        return
    said = f"the upstream answers {status}"
    if status in _NOT_FOUND:
        raise TaskNotFound(said, status=status)
    if status in _TRY_AGAIN or status >= 500:
        hint = response.headers.get("Retry-After", "")
        raise Unavailable(said, status=status, retry_after=parse_retry_after(hint, time.time_ns() // 1000))
    if 400 <= status < 500:
        raise Refused(said, status=status)
    raise Unreadable(said, status=status)


def translated(exc: Exception) -> SourceError:
    """Say what a fault of the connection means."""
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return Unavailable(f"the upstream's certificate is not accepted: {_certificate(exc.certificate_error)}")
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return Unavailable("TLS failed")
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return Unavailable("the upstream's host name cannot be resolved")
        case aiohttp.ClientConnectorError():
            return Unavailable(f"cannot connect: {_reason(exc.os_error)}")
        case aiohttp.ClientPayloadError():
            return Unavailable("the connection broke before the reply was complete")
        case aiohttp.ServerDisconnectedError():
            return Unavailable("the upstream closed the connection")
        case aiohttp.ClientResponseError():
            return Unavailable("the upstream's reply is not HTTP")
        case OSError():
            return Unavailable(f"the connection broke: {_reason(exc)}")
        case aiohttp.ClientError() | RuntimeError():
            return Unavailable("the connection broke")
        case _:
            return Unreadable(f"the source's URL cannot be used ({type(exc).__name__})")


def _reason(exc: OSError) -> str:
    return (exc.strerror or type(exc).__name__).lower()


def _certificate(exc: Exception) -> str:
    return exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else type(exc).__name__
