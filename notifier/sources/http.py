"""Sends a source's request and reads the head of the reply, through redirects and a proxy.

Messages name no path, no query and no credential.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

from multidict import CIMultiDict
from yarl import URL

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.http_head import REDIRECTS, VISIBLE, Fields
from notifier.core.retry import parse_retry_after
from notifier.runtime.http1 import Connection, Lost, Pool, Proxy, Route, basic
from notifier.runtime.tls import Trust
from notifier.sources.body import BodyReader, Turns, can_read
from notifier.sources.faults import FAULTS, translated
from notifier.sources.request import Request, redacted

MAX_REDIRECTS = 5  # a longer chain is a loop
KEEP_ALIVE = 75.0  # seconds for which an idle connection is kept for the next poll
MAX_WORDS = 1 << 10  # characters kept of an error's body
WORDS_READ = 4 << 10  # bytes read of it, so that no credential is cut in two before it is found
WORDS_TIMEOUT = 2.0  # seconds

_NOT_FOUND = frozenset({404, 410})
_TRY_AGAIN = frozenset({408, 425, 429})
_OF_BODY = frozenset({"content-type"})  # headers that go with the body, where a redirect drops it


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a source's requests travel."""

    tls: Trust = True
    proxy: Proxy | None = None
    credentials: tuple[str, ...] = ()  # to be taken out of the upstream's words


DIRECT = Way()
_NO_FIELDS = Fields(b"")


class Reply:
    """A reply whose head is in. Its body is read from the connection, which `close` gives back."""

    __slots__ = ("_once", "_pool", "_route", "connection", "fields", "status")

    def __init__(self, connection: Connection, *, route: Route, pool: Pool, once: bool = False) -> None:
        """Take a connection whose reply's head is in. `once`: it serves no other request afterwards."""
        self.connection = connection
        self.status = connection.reply.status
        self.fields = connection.reply.fields
        self._route = route
        self._pool = pool
        self._once = once

    def body(self, turns: Turns) -> BodyReader:
        """Return a reader of the body. Raises Unavailable for a packing that cannot be unpacked."""
        encoding = ", ".join(self.fields.values_of("content-encoding"))
        if not can_read(encoding):
            raise Unavailable(
                "the upstream compresses its reply in a form that cannot be read, though it was asked not to",
                status=self.status,
            )
        return BodyReader(self.connection, encoding, turns)

    def forget_head(self) -> None:
        """Free the memory of the head, once everything in it was looked at."""
        self.fields = _NO_FIELDS
        self.connection.reply.forget_head()

    def close(self) -> None:
        """Give the connection back. It is closed at once if it was for a stream, or was not read to the reply's end."""
        if self._once:
            self.connection.abort()
        self._pool.give_back(self._route, self.connection)


def new_pool() -> Pool:
    """Create the connections of a source, which is used on one loop. Idle ones are for the next poll."""
    return Pool(keep=KEEP_ALIVE)


class Trail:
    """Where redirects have led a request. Every error of its block names it, for they explain most of them."""

    __slots__ = ("_bare", "note", "url")

    def __init__(self) -> None:
        self.url: URL | None = None  # that answered, behind all redirects
        self.note = ""  # for the end of a message
        self._bare = False  # the request has lost the source's credentials on its way

    def lead(self, url: URL, target: URL) -> None:
        """Go from one URL to another."""
        self._bare |= not may_know_secrets(url, target)
        self.note = f"; redirected to {target.origin()}"
        if self._bare:
            self.note += ", which does not get the source's credentials"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, SourceError):
            exc.behind(self.note)


async def fetch(pool: Pool, request: Request, way: Way, trail: Trail) -> Reply:
    """Return the reply once its head is in and says 2xx; the caller closes it. Raises SourceError.

    Its connection is new.
    """
    reply = await send(pool, request, way, trail, fresh=True)
    try:
        await _check(reply, way)
    except BaseException:
        reply.close()
        raise
    return reply


async def send(pool: Pool, request: Request, way: Way, trail: Trail, *, fresh: bool = False) -> Reply:
    """Return the reply once its head is in, whatever its status; the caller closes it, and calls in the trail's block.

    Raises SourceError. `fresh`: only over new connections. A redirect to another origin does not take along the headers
    that are for the source's own.
    """
    method, url, headers, body = request.method, request.url, request.headers, request.body
    for _ in range(MAX_REDIRECTS + 1):
        try:
            reply = await _ask(pool, _written(method, url, headers, way, body), url, way, fresh=fresh)
        except FAULTS as exc:
            raise translated(exc) from exc
        location = reply.fields.get("location")
        if reply.status not in REDIRECTS or location is None:
            trail.url = url
            return reply
        reply.close()
        target = _target(url, location)
        if reply.status == 303 or (reply.status != 307 and reply.status != 308 and method == "POST"):
            method, body = "GET", b""
            headers = _without(headers, _OF_BODY)
        trail.lead(url, target)
        if may_know_secrets(url, target):
            target = target.with_user(url.user).with_password(url.password)
        else:
            headers = _without(headers, request.private | {"host"})
        url = target
    raise Unreadable(f"the upstream redirects more than {MAX_REDIRECTS} times")


async def _ask(pool: Pool, request: bytes, url: URL, way: Way, *, fresh: bool) -> Reply:
    """Return the reply to one request. A kept connection that was closed meanwhile is replaced, once."""
    route = Route.to(url, tls=way.tls, proxy=way.proxy)
    connection = None if fresh else pool.idle(route)
    while True:
        connection = connection or await pool.dial(route)
        try:
            connection.ask(request)
            await connection.wait(0)
            return Reply(connection, route=route, pool=pool, once=fresh)
        except BaseException as exc:
            pool.give_back(route, connection)
            if not isinstance(exc, Lost) or exc.begun or not connection.used:
                raise
        pool.forget(route)
        connection = None


def _written(method: str, url: URL, headers: CIMultiDict[str], way: Way, body: bytes = b"") -> bytes:
    """Return a request as it is sent. Raises ValueError for a URL that cannot be used."""
    target = url.raw_path_qs
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    if way.proxy is not None and url.scheme == "http":
        target = f"{url.origin()}{target}"  # RFC 9112 section 3.2.2
        if way.proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {way.proxy.authorization}\r\n")
    if not (target.isascii() and target.isprintable()) or " " in target:
        target = quote(target, safe=VISIBLE)
    if "Host" not in headers:
        lines.insert(0, f"Host: {url.host_port_subcomponent}\r\n")
    if url.user or url.password:
        if "Authorization" in headers:
            raise ValueError("credentials in the URL and in a header")
        lines.append(f"Authorization: {basic(url.user, url.password)}\r\n")
    if method != "GET":
        lines.append(f"Content-Length: {len(body)}\r\n")  # RFC 9110 section 8.6
    return f"{method} {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


def may_know_secrets(url: URL, target: URL) -> bool:
    """Return whether a redirect keeps credentials: within an origin, and from HTTP to HTTPS on a host's usual ports."""
    upgraded = (url.scheme, url.port, target.scheme, target.port) == ("http", 80, "https", 443)
    return target.origin() == url.origin() or (upgraded and target.host == url.host)


def _without(headers: CIMultiDict[str], names: frozenset[str]) -> CIMultiDict[str]:
    headers = headers.copy()
    for name in names:
        headers.popall(name, None)
    return headers


def _target(url: URL, location: str) -> URL:
    try:
        well_formed = location.isascii() and " " not in location  # such a URL stays as it is: it may be signed
        target = url.join(URL(location, encoded=well_formed)).with_fragment(None)
        if target.scheme in {"http", "https"} and target.host and target.port:  # a bad port raises when it is read
            return target.with_user(None)
    except ValueError as exc:
        raise Unreadable("the upstream redirects to something that is no URL") from exc
    raise Unreadable("the upstream redirects to something that is no HTTP URL")


async def _check(reply: Reply, way: Way) -> None:
    if reply.status == 204:
        raise NoContent(status=reply.status)
    if not 200 <= reply.status < 300:
        raise _refused(reply, await _beginning(reply), way)


def _refused(reply: Reply, body: bytes, way: Way) -> SourceError:
    error = refusal(reply.status, reply.fields, brief(body, way.credentials))
    error.body = body
    return error  # a frame that raised what it keeps would stay until a garbage collection


def asked_pause(fields: Fields, hint: str | None = None) -> float | None:
    """Return the seconds that a reply asks to wait before the next request: by Retry-After or the header `hint`.

    That is a provider's own: seconds, or milliseconds if its name ends in -ms.
    """
    pause: float | None = None
    if (asked := fields.get("retry-after")) is not None:
        pause = parse_retry_after(asked, time.time_ns() // 1000, fields.get("date", ""))
    if hint is not None and (asked := fields.get(hint.lower())) is not None:
        theirs = parse_retry_after(asked, time.time_ns() // 1000)
        if theirs is not None:
            pause = max(pause or 0.0, theirs / 1000 if hint.lower().endswith("-ms") else theirs)
    return pause


def refusal(status: int, fields: Fields, words: str, hint: str | None = None) -> SourceError:
    """Return the error that a status other than 2xx stands for. `words` are the upstream's own, `hint` its header."""
    message = f"the upstream answers {status}" + (f": {words}" if words else "")
    if status in _NOT_FOUND:
        return TaskNotFound(message, status=status)
    if status in _TRY_AGAIN or status >= 500:
        return Unavailable(message, status=status, retry_after=asked_pause(fields, hint))
    if 400 <= status < 500:
        return Refused(message, status=status)
    return Unreadable(message, status=status)


async def _beginning(reply: Reply) -> bytes:
    """Return the beginning of an error's body, as it came."""
    body = b""
    try:
        reader = reply.body(Turns())
        async with asyncio.timeout(WORDS_TIMEOUT):
            while len(body) < WORDS_READ and (chunk := await reader.read()):
                body += chunk
    except (*FAULTS, SourceError, TimeoutError):  # the status says enough; the words are those that came
        pass
    return body[:WORDS_READ]


def brief(body: bytes, credentials: Sequence[str]) -> str:
    """Return the beginning of a body, on one line and without credentials."""
    text = redacted(body[:WORDS_READ].decode("utf-8", "replace"), credentials)
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:MAX_WORDS]
