"""One POST and its reply, over kept connections: bounded in time and size, with every fault as an outcome.

This module knows HTTP. The request's bytes, its headers and the judge of the reply are arguments. It is on the hot
path: whatever can be computed once is computed in the constructor, and phases are measured only where that is free.

An endpoint may be reached through an HTTP proxy. The environment's proxy variables are not read. The proxy opens a
tunnel to https:// endpoints (RFC 9110 section 9.3.6), so TLS is spoken with the endpoint itself; it forwards requests
to http:// ones. The proxy is on our side: the endpoint is not blamed for its faults.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from time import perf_counter  # the clock of uvloop's loop stands still within a round, and counts milliseconds
from typing import Any

import aiohttp
import structlog
from multidict import CIMultiDict
from yarl import URL

from notifier.core.model import Micros
from notifier.core.retry import Attempt, Failed, Outcome
from notifier.runtime.aiohttp_private import BrokenFraming
from notifier.senders.connections import (
    AttemptTrace,
    ClaimLost,
    Connections,
    StillOurs,
    always,
    current_trace,
    request_body,
)
from notifier.senders.faults import explain
from notifier.senders.reply import READ_LIMIT, decode, kept, read_head, secrets_of
from notifier.senders.target import Target, request_url

PROXY_DENIED = 407  # RFC 9110 section 15.5.8: only a proxy answers so

_TARGET_PARTS = re.compile(r"[/?&=]")  # separates the parts of a request target that may be secret

Judge = Callable[[int, str, Mapping[str, str], Micros], Outcome]  # status, text, headers, now

log = structlog.stdlib.get_logger()


class Exchange:
    """Makes attempts at one target. A kept reply never repeats a part of the URL, of the proxy's URL or of a header."""

    def __init__(self, target: Target, *, clock: Callable[[], Micros], connections: Connections | None = None) -> None:
        """Use `connections`, where given, with their TLS and their vetting; they are released by `close`."""
        if connections is not None and target.proxy is not None:
            raise ValueError("a proxy resolves names itself: it might connect to an address that was not vetted")
        url = URL(target.url)
        has_user = url.user or url.password
        self.authorization = aiohttp.encode_basic_auth(url.user or "", url.password or "") if has_user else None
        self._url = request_url(target.url)
        self._proxy = Proxy(target.proxy, secure=url.scheme == "https") if target.proxy is not None else None
        self.secrets = secrets_of(
            *(self._proxy.secrets if self._proxy is not None else ()),
            *(url.user, url.password, url.raw_query_string, *url.query.values()),
            *(*url.raw_path.split("/"), *url.path.split("/")),
            *_TARGET_PARTS.split(self._url.raw_path),
            *(part for text in (self.authorization or "", *target.headers.values()) for part in (text, *text.split())),
        )
        self._timeout = target.timeout
        self._clock = clock
        self._connections = connections or Connections(limit=target.max_in_flight, ssl=target.ssl)
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
        """POST, and judge the reply; `at` is only recorded. Raises nothing but CancelledError."""
        trace = AttemptTrace(perf_counter())
        fault = await self._guarded(body, headers, trace, still_ours)
        ended = perf_counter()
        refused_head = fault is not None and fault.reason == "protocol" and _read_refused_head(trace)
        status, raw = trace.status, bytes(trace.body)
        text = decode(raw, trace.headers.get("content-encoding")) if raw else ""
        outcome: Outcome
        if status == PROXY_DENIED and self._proxy is not None:
            outcome = _denied()
        elif status is not None and (fault is None or refused_head or not 200 <= status < 300):
            # A refusal counts even if the rest of the reply never came; an acceptance must be complete. If the parser
            # refuses the head, the status line counts: the receiver has answered, whatever it wrote after that.
            outcome = judge(status, text, trace.headers, self._clock())
        else:
            outcome = fault or Failed(reason="internal", asked=False)
        return Attempt(
            at=at,
            outcome=outcome,
            status=status,
            seconds=ended - trace.began,
            phases=_phases(trace, ended),
            address=trace.address,
            reply=kept(text, self.secrets),
        )

    async def close(self) -> None:
        """Release the connections; later attempts fail at no cost. The caller has waited for earlier ones."""
        if not self._closed:
            self._closed = True
            await self._connections.release()

    async def _guarded(
        self, body: bytes, headers: CIMultiDict[str], trace: AttemptTrace, still_ours: StillOurs
    ) -> Failed | None:
        """Make the exchange within the one deadline; return what went wrong, if anything did."""
        if self._closed:
            return Failed(reason="closed", detail="the endpoint was closed or its configuration replaced", spend=False)
        token = current_trace.set(trace)
        try:
            async with asyncio.timeout(self._timeout):
                await self._exchange(body, headers, trace, still_ours)
        except TimeoutError:
            return Failed(reason="timeout", detail=f"{_stage(trace)} after {self._timeout:g} s")
        except Exception as exc:  # the one boundary of an attempt
            if isinstance(exc.__cause__, ClaimLost):
                return Failed(reason="claim_lost", detail="nothing was sent: it is another node's by now", spend=False)
            fault = _proxy_fault(exc) if self._proxy is not None else None
            if fault is not None or (fault := explain(exc)) is not None:
                return fault
            log.exception("sender.unexpected_error", host=self._url.host)
            return Failed(reason="internal", detail=f"a fault of this program: {type(exc).__name__}", asked=False)
        finally:
            current_trace.reset(token)
        return None

    async def _exchange(
        self, body: bytes, headers: CIMultiDict[str], trace: AttemptTrace, still_ours: StillOurs
    ) -> None:
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
                    self._url, data=request_body(body, still_ours), headers=headers, allow_redirects=False, **options
                )
                break
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError) as exc:
                begun = isinstance(exc, aiohttp.ServerDisconnectedError) and not isinstance(exc.message, str)
                if begun or not trace.reused:
                    raise
                trace.fresh_only = True
        trace.replied = perf_counter()
        trace.status, trace.headers = reply.status, reply.headers
        try:
            content = reply.content
            while len(trace.body) < READ_LIMIT and not content.at_eof():
                trace.body += await content.readany()
        except BrokenFraming:
            return  # like a head that the parser refuses: the status counts
        finally:
            reply.close()  # a reply that was read to its end has given its connection back already


def _read_refused_head(trace: AttemptTrace) -> bool:
    """Fill in the status of a reply whose head the parser refused; return whether there is one."""
    reply = read_head(bytes(trace.head))
    if reply is None:
        return False
    trace.status, trace.headers, body = reply
    trace.body += body[:READ_LIMIT]
    return True


def _stage(trace: AttemptTrace) -> str:
    if not trace.connected:
        return "not connected"
    return "the reply was not complete" if trace.replied else "no reply"


def _phases(trace: AttemptTrace, ended: float) -> dict[str, float]:
    """Return the seconds of each phase that took place; a kept connection has neither `dns` nor `connect`."""
    phases: dict[str, float] = {}
    if trace.dns:
        phases["dns"] = trace.dns
    if not trace.reused:
        phases["connect"] = (trace.connected or ended) - trace.began - trace.dns
    if trace.connected:
        phases["first_byte"] = (trace.replied or ended) - trace.connected
    if trace.replied:
        phases["body"] = ended - trace.replied
    return phases


class Proxy:
    """One endpoint's proxy."""

    def __init__(self, url: str, *, secure: bool) -> None:
        whole = URL(url)
        self.secrets = (whole.user, whole.password)
        self.headers: dict[str, str] = {}  # for each request
        self.options: dict[str, Any] = {"proxy": whole.with_user(None)}  # for each call of aiohttp
        if whole.user or whole.password:
            credentials = {"proxy-authorization": aiohttp.encode_basic_auth(whole.user or "", whole.password or "")}
            if secure:
                self.options["proxy_headers"] = credentials  # go with CONNECT, never to the endpoint
            else:
                self.headers = credentials  # with each request, as proxies expect; aiohttp sends it with the first only


def _proxy_fault(exc: Exception) -> Failed | None:
    """Return the failure that an exception stands for if the proxy caused it; None otherwise."""
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


def _denied() -> Failed:
    """Return the failure that a proxy's demand for credentials stands for."""
    return Failed(reason="proxy", detail=f"the proxy wants other credentials: it answered {PROXY_DENIED}", spend=False)
