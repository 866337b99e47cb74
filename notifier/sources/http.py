"""Sends a source's request and reads the head of the reply, through redirects and a proxy.

Messages name no path, no query and no credential.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.retry import parse_retry_after
from notifier.runtime.aiohttp_private import NormalisingConnector, disable_retries, read_buffered
from notifier.sources.faults import FAULTS, translated
from notifier.sources.request import Request

MAX_REDIRECTS = 5  # a longer chain is a loop
KEEP_ALIVE = 75.0  # seconds for which an idle connection is kept for the next poll
READ_BUFFER = 16 << 10  # bytes held for a reader that is slow; thousands of streams share the memory
MAX_HEADER = 64 << 10  # bytes of one header: policies and cookies of gateways exceed the usual 8 KiB
MAX_HEADERS = 1000
MAX_HEAD = 256 << 10  # bytes of all headers
MAX_WORDS = 1 << 10  # characters kept of an error's body
WORDS_READ = 4 << 10  # bytes read of it, so that no credential is cut in two before it is found
WORDS_TIMEOUT = 2.0  # seconds

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_FOUND = frozenset({404, 410})
_TRY_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a source's requests travel."""

    tls: ssl.SSLContext | bool = True
    proxy: URL | None = None  # with its credentials
    redact: Callable[[str], str] = lambda text: text  # takes credentials out of the upstream's words


DIRECT = Way()


def new_session() -> aiohttp.ClientSession:
    """Create a session for streams: no limits of its own, no cookies, every connection used once."""
    session = aiohttp.ClientSession(
        connector=NormalisingConnector(max_head=MAX_HEAD),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        read_bufsize=READ_BUFFER,
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
        max_headers=MAX_HEADERS,
        skip_auto_headers=("Content-Type",),
    )
    # aiohttp retries once a request that failed on a connection that may have been stale. Ours are new, and when to try
    # again is not decided here.
    disable_retries(session)
    return session


def new_polling_session() -> aiohttp.ClientSession:
    """Create a session for polls: no limits of its own, no cookies, connections that are used again."""
    return aiohttp.ClientSession(
        connector=NormalisingConnector(max_head=MAX_HEAD, keepalive=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
        max_headers=MAX_HEADERS,
        skip_auto_headers=("Content-Type",),
    )


async def fetch(session: aiohttp.ClientSession, request: Request, way: Way) -> aiohttp.ClientResponse:
    """Return the reply once its head is in and says 2xx; the caller closes it. Raises SourceError."""
    response, note = await send(session, request, way)
    try:
        await _check(response, way, note)
    except BaseException:
        response.close()
        raise
    return response


async def send(session: aiohttp.ClientSession, request: Request, way: Way) -> tuple[aiohttp.ClientResponse, str]:
    """Return the reply once its head is in, whatever its status, and a note on redirects; the caller closes it.

    Raises SourceError. Redirects are followed here, since aiohttp drops only the headers that it knows from a request
    to another origin.
    """
    method, url, headers = request.method, request.url, request.headers
    note = ""  # on redirects, for the error's message
    for _ in range(MAX_REDIRECTS + 1):
        try:
            response = await session.request(
                method, url, headers=headers, allow_redirects=False, ssl=way.tls, proxy=way.proxy
            )
        except FAULTS as exc:
            raise translated(exc, note) from exc
        if response.status not in _REDIRECTS or "Location" not in response.headers:
            return response, note
        response.close()
        target = _target(url, response.headers["Location"])
        if response.status == 303 or (response.status != 307 and response.status != 308 and method == "POST"):
            method = "GET"
        note = f"; redirected to {target.origin()}"
        if not may_know_secrets(url, target):
            headers = _public(headers, request.private)
            note += ", which does not get the source's credentials"
        url = target
    raise Unreadable(f"the upstream redirects more than {MAX_REDIRECTS} times")


def may_know_secrets(url: URL, target: URL) -> bool:
    """Return whether a redirect keeps credentials: within an origin, and from HTTP to HTTPS on a host's usual ports."""
    upgraded = (url.scheme, url.port, target.scheme, target.port) == ("http", 80, "https", 443)
    return target.origin() == url.origin() or (upgraded and target.host == url.host)


def _public(headers: CIMultiDict[str], private: frozenset[str]) -> CIMultiDict[str]:
    headers = headers.copy()
    for name in private:
        headers.popall(name, None)
    return headers


def _target(url: URL, location: str) -> URL:
    try:
        well_formed = location.isascii() and " " not in location  # such a URL stays as it is: it may be signed
        target = url.join(URL(location, encoded=well_formed)).with_fragment(None)
        if target.scheme in {"http", "https"} and target.host:
            return target.with_user(None)
    except ValueError as exc:
        raise Unreadable("the upstream redirects to something that is no URL") from exc
    raise Unreadable("the upstream redirects to something that is no HTTP URL")


async def _check(response: aiohttp.ClientResponse, way: Way, note: str) -> None:
    check_head(response)
    status = response.status
    if status == 204:
        raise NoContent(status=status)
    if not 200 <= status < 300:
        raise refusal(response, await _words(response, way.redact), note)


def check_head(response: aiohttp.ClientResponse) -> None:
    """Raise Unavailable for a head that is too large."""
    if sum(len(name) + len(value) for name, value in response.raw_headers) > MAX_HEAD:
        raise Unavailable(
            f"the head of the upstream's reply is larger than {MAX_HEAD >> 10} KiB", status=response.status
        )


def refusal(response: aiohttp.ClientResponse, words: str, note: str = "") -> SourceError:
    """Return the error that a status other than 2xx stands for. `words` are the upstream's own."""
    return _refusal(response, f"the upstream answers {response.status}{note}" + (f": {words}" if words else ""))


def _refusal(response: aiohttp.ClientResponse, message: str) -> SourceError:
    status = response.status
    if status in _NOT_FOUND:
        return TaskNotFound(message, status=status)
    if status in _TRY_AGAIN or status >= 500:
        hint = response.headers.get("Retry-After", "")
        return Unavailable(message, status=status, retry_after=parse_retry_after(hint, time.time_ns() // 1000))
    if 400 <= status < 500:
        return Refused(message, status=status)
    return Unreadable(message, status=status)


async def _words(response: aiohttp.ClientResponse, redact: Callable[[str], str]) -> str:
    """Return the beginning of an error's body, on one line and without credentials."""
    body = b""
    try:
        async with asyncio.timeout(WORDS_TIMEOUT):
            while len(body) < WORDS_READ and (chunk := await response.content.read(WORDS_READ - len(body))):
                body += chunk
    except (*FAULTS, TimeoutError):  # the status says enough; the words are those that came
        body += read_buffered(response.content)[:WORDS_READ]
    return brief(body, redact)


def brief(body: bytes, redact: Callable[[str], str]) -> str:
    """Return the beginning of a body, on one line and without credentials."""
    text = redact(body[:WORDS_READ].decode("utf-8", "replace"))
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:MAX_WORDS]
