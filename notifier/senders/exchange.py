"""One POST and its reply, over connections that are kept: bounded in time and size, every fault an outcome.

Knows HTTP and nothing of what is sent or what a reply means; those enter as bytes, headers and a judge. The hot path:
whatever can be computed once is computed in the constructor, and phases are noted only where that costs nothing.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter  # the time of uvloop's loop stands still within a round, and counts milliseconds
from typing import Any

import aiohttp
import structlog
from multidict import CIMultiDict
from yarl import URL

from notifier.core.model import Micros
from notifier.core.retry import Attempt, Failed, Outcome
from notifier.senders.body import ClaimLost, StillOurs, always, payload
from notifier.senders.connections import Connections, Course, course_of
from notifier.senders.faults import explain
from notifier.senders.proxy import DENIED, Proxy, denied, proxy_fault
from notifier.senders.reply import READ_LIMIT, decode, kept, secrets_of
from notifier.senders.vetting import Vet

Judge = Callable[[int, str, Mapping[str, str], Micros], Outcome]  # status, text, headers, now

log = structlog.stdlib.get_logger()


class Exchange:
    """The way to one endpoint. No reply that repeats a part of the URL, or of `hide`, is kept with it.

    `connections`, where given, are used in the place of connections of its own, with their TLS and their vetting.
    """

    def __init__(
        self,
        *,
        url: str,
        timeout: float,
        max_in_flight: int,
        ssl: tls.SSLContext | bool,
        clock: Callable[[], Micros],
        vet: Vet | None = None,
        proxy: str | None = None,
        hide: Iterable[str] = (),
        connections: Connections | None = None,
    ) -> None:
        if (vet is not None or connections is not None) and proxy is not None:
            raise ValueError("a proxy looks up names by itself: what was vetted would not be what is connected to")
        whole = URL(url)
        known = whole.user or whole.password
        self.authorization = aiohttp.encode_basic_auth(whole.user or "", whole.password or "") if known else None
        self._proxy = Proxy(proxy, secure=whole.scheme == "https") if proxy is not None else None
        self.secrets = secrets_of(
            *(self._proxy.secrets if self._proxy is not None else ()),
            *(whole.user, whole.password, whole.raw_query_string, *whole.query.values()),
            *(*whole.raw_path.split("/"), *whole.path.split("/")),
            *(part for text in (self.authorization or "", *hide) for part in (text, *text.split())),
        )
        self._url = whole.with_user(None).with_fragment(None)
        self._timeout = timeout
        self._clock = clock
        self._shared = connections is not None
        self._connections = connections or Connections(limit=max_in_flight, ssl=ssl, vet=vet)
        self._closed = False

    async def post(
        self,
        body: bytes,
        headers: CIMultiDict[str],
        judge: Judge,
        *,
        at: Micros,
        still_ours: StillOurs = always,
    ) -> Attempt:
        """POST, and judge the reply; `at` is for the record. Raises nothing but CancelledError."""
        course = Course(perf_counter())
        fault = await self._guarded(body, headers, course, still_ours)
        ended = perf_counter()
        status, raw = course.status, bytes(course.body)
        text = decode(raw, course.headers.get("content-encoding")) if raw else ""
        outcome: Outcome
        if status == DENIED and self._proxy is not None:
            outcome = denied()
        elif status is not None and (fault is None or not 200 <= status < 300):
            # A no is a no, also when the rest of the reply never came; a yes must be whole to count.
            outcome = judge(status, text, course.headers, self._clock())
        else:
            outcome = fault or Failed(reason="internal", asked=False)
        return Attempt(
            at=at,
            outcome=outcome,
            status=status,
            seconds=ended - course.began,
            phases=_phases(course, ended),
            address=course.address,
            reply=kept(text, self.secrets),
        )

    async def close(self) -> None:
        """Close every connection; attempts after this fail at no cost. The caller has waited for those before."""
        self._closed = True
        if not self._shared:
            await self._connections.close()

    async def _guarded(
        self, body: bytes, headers: CIMultiDict[str], course: Course, still_ours: StillOurs
    ) -> Failed | None:
        """Make the exchange within the one deadline; return what went wrong, if anything did."""
        if self._closed:
            return Failed(reason="closed", detail="the endpoint was closed or its configuration replaced", spend=False)
        token = course_of.set(course)
        try:
            async with asyncio.timeout(self._timeout):
                await self._exchange(body, headers, course, still_ours)
        except TimeoutError:
            return Failed(reason="timeout", detail=f"{_stage(course)} after {self._timeout:g} s")
        except Exception as exc:  # the one boundary of an attempt
            if isinstance(exc.__cause__, ClaimLost):
                return Failed(reason="claim_lost", detail="nothing was sent: it is another node's by now", spend=False)
            fault = proxy_fault(exc) if self._proxy is not None else None
            if fault is not None or (fault := explain(exc)) is not None:
                return fault
            log.exception("sender.unexpected_error", host=self._url.host)
            return Failed(reason="internal", detail=f"a fault of this program: {type(exc).__name__}", asked=False)
        finally:
            course_of.reset(token)
        return None

    async def _exchange(self, body: bytes, headers: CIMultiDict[str], course: Course, still_ours: StillOurs) -> None:
        """POST once, and once more if a kept connection had died unnoticed.

        An endpoint may close an idle connection while a request is on its way to it; then no reply begins, and the
        request may be repeated (RFC 9112 section 9.3.1; a receiver drops what was handled after all by its id).
        """
        session = self._connections.session()
        options: dict[str, Any] = {}
        if self._proxy is not None:
            options = self._proxy.options
            headers.update(self._proxy.headers)
        while True:
            try:
                reply = await session.post(
                    self._url, data=payload(body, still_ours), headers=headers, allow_redirects=False, **options
                )
                break
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError) as exc:
                begun = isinstance(exc, aiohttp.ServerDisconnectedError) and not isinstance(exc.message, str)
                if begun or not course.reused:
                    raise
                course.fresh_only = True
        course.replied = perf_counter()
        course.status, course.headers = reply.status, reply.headers
        try:
            content = reply.content
            while len(course.body) < READ_LIMIT and not content.at_eof():
                course.body += await content.readany()
        finally:
            reply.close()  # of a reply that was read to its end, the connection is back in the pool already


def _stage(course: Course) -> str:
    if not course.connected:
        return "not connected"
    return "the reply was not complete" if course.replied else "no reply"


def _phases(course: Course, ended: float) -> dict[str, float]:
    """Return the seconds of each phase that took place; a kept connection has neither `dns` nor `connect`."""
    phases: dict[str, float] = {}
    if course.dns:
        phases["dns"] = course.dns
    if not course.reused:
        phases["connect"] = (course.connected or ended) - course.began - course.dns
    if course.connected:
        phases["first_byte"] = (course.replied or ended) - course.connected
    if course.replied:
        phases["body"] = ended - course.replied
    return phases
