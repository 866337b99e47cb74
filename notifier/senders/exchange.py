"""One POST and its reply, over kept connections: bounded in time and size, with every fault as an outcome.

This module knows HTTP. The body, the headers of an attempt and the judge of the reply are arguments. It is on the hot
path: whatever can be computed once is computed once, head and body are written together, and phases are measured only
where that is free.

An endpoint may be reached through an HTTP proxy. The environment's proxy variables are not read. The proxy opens a
tunnel to https:// endpoints, so TLS is spoken with the endpoint itself; it forwards requests to http:// ones. The proxy
is on our side: the endpoint is not blamed for its faults.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from time import perf_counter  # the clock of uvloop's loop stands still within a round, and counts milliseconds

import structlog
from multidict import CIMultiDict
from yarl import URL

from notifier.core import http_head
from notifier.core.http_head import Fields
from notifier.core.model import Micros
from notifier.core.retry import Attempt, Failed, Outcome
from notifier.core.signing import SECRET_PREFIX, SIGNING_PREFIX
from notifier.runtime.http1 import BadHead, BrokenFraming, Connection, Lost, Proxy, Route, basic
from notifier.senders.connections import Connections, StillOurs, always
from notifier.senders.faults import explain
from notifier.senders.reply import READ_LIMIT, decode, kept, secrets_of
from notifier.senders.target import Target, request_url

PROXY_DENIED = 407  # RFC 9110 section 15.5.8: only a proxy answers so

_TARGET_PARTS = re.compile(r"[/?&=]")  # separates the parts of a request target that may be secret

Judge = Callable[[int, str, Mapping[str, str], Micros], Outcome]  # status, text, headers, now
Headers = Sequence[tuple[str, str]]

log = structlog.stdlib.get_logger()


class ClaimLost(Exception):
    """The delivery may be another node's by now."""


class Closed(Exception):
    """No attempt is made any more."""


class Exchange:
    """Makes attempts at one target. A kept reply never repeats a part of the URL, of the proxy's URL or of a header.

    The target's headers replace those of the program, except for `accept-encoding`, and except for those that Standard
    Webhooks defines, which only an attempt may bring.
    """

    def __init__(
        self,
        target: Target,
        *,
        content_type: str,
        clock: Callable[[], Micros],
        connections: Connections | None = None,
    ) -> None:
        """Use `connections`, where given, with their TLS and their vetting; they are released by `close`."""
        if connections is not None and target.proxy is not None:
            raise ValueError("a proxy resolves names itself: it might connect to an address that was not vetted")
        url, requested = URL(target.url), request_url(target.url)
        proxy = URL(target.proxy) if target.proxy is not None else None
        self._proxied = proxy is not None
        self._connections = connections or Connections(limit=target.max_in_flight, ssl=target.ssl)
        self._route = Route.to(
            requested, tls=self._connections.ssl, proxy=None if target.proxy is None else Proxy.at(target.proxy)
        )
        self._headers = CIMultiDict({"content-type": content_type, "user-agent": target.user_agent, "accept": "*/*"})
        if url.user or url.password:
            self._headers["authorization"] = basic(url.user, url.password)
        self._headers.update((name, value) for name, value in target.headers.items() if not _is_ours(name))
        self._headers["accept-encoding"] = "identity"
        path = requested.raw_path
        if self._route.proxy is not None and self._route.tls is None:
            path = str(requested)  # RFC 9112 section 3.2.2
            if self._route.proxy.authorization is not None:
                self._headers["proxy-authorization"] = self._route.proxy.authorization
        self._line = f"POST {path} HTTP/1.1\r\nhost: {requested.host_port_subcomponent}\r\n"
        self._head: bytes | None = None  # of every request; written out for the first
        self.secrets = secrets_of(
            *((proxy.user, proxy.password) if proxy is not None else ()),
            *(url.user, url.password, url.raw_query_string, *url.query.values()),
            *(*url.raw_path.split("/"), *url.path.split("/")),
            *_TARGET_PARTS.split(requested.raw_path),
            *(part for text in self._secret_headers(target) for part in (text, *text.split())),
            *(
                part
                for text in target.signed_with
                for part in (text, text.removeprefix(SECRET_PREFIX).removeprefix(SIGNING_PREFIX))
            ),
        )
        self._timeout = target.timeout
        self._clock = clock
        self._closed = False

    async def post(
        self, body: bytes, headers: Headers, judge: Judge, *, at: Micros, still_ours: StillOurs = always
    ) -> Attempt:
        """POST, and judge the reply; `at` is only recorded. Raises nothing but CancelledError."""
        trace = AttemptTrace(perf_counter())
        fault: Failed | None = None
        try:
            await self._exchange(body, headers, trace, still_ours)
        except Exception as exc:  # the one boundary of an attempt
            fault = self._fault(exc, trace)
        ended = perf_counter()
        status = trace.status
        text = decode(trace.body, trace.fields.get("content-encoding")) if trace.body else ""
        outcome: Outcome
        if status == PROXY_DENIED and self._proxied:
            outcome = _denied()
        elif status is not None and (fault is None or not 200 <= status < 300):
            # A refusal counts even if the rest of the reply never came; an acceptance must be complete.
            outcome = judge(status, text, trace.fields, self._clock())
        else:
            outcome = fault or Failed(reason="internal", proves=False)
        return Attempt(
            at=at,
            outcome=outcome,
            status=status,
            seconds=ended - trace.began,
            phases=_phases(trace, ended),
            address=trace.address,
            reply=kept(text, self.secrets) if text else "",
        )

    def close(self) -> None:
        """Release the connections; later attempts fail at no cost. The caller has waited for earlier ones."""
        if not self._closed:
            self._closed = True
            self._connections.release()

    async def _exchange(self, body: bytes, headers: Headers, trace: AttemptTrace, still_ours: StillOurs) -> None:
        """Send a request once, and once more if a kept connection had died unnoticed; all within the one deadline.

        An endpoint may close an idle connection while a request is on its way to it; then no reply begins, and the
        request may be repeated (RFC 9112 section 9.3.1; a receiver drops what was handled after all by its id).
        """
        if self._closed:
            raise Closed
        request = self._request(body, headers)
        pool, route = self._connections.pool, self._route
        deadline = asyncio.get_running_loop().time() + self._timeout
        connection = pool.idle(route)
        while True:
            if connection is None:
                async with asyncio.timeout_at(deadline):
                    connection = await pool.dial(route)
            try:
                trace.take_connection(connection, perf_counter())
                if not still_ours():  # the process may have been stopped since; nothing comes between this and writing
                    raise ClaimLost
                connection.ask(request)
                await connection.wait(READ_LIMIT, deadline)
                return
            except Lost as exc:
                if exc.begun or not connection.used:
                    raise
                pool.forget(route)  # they were idle for as long, and are probably closed as well
            except BadHead as exc:  # the receiver has answered, whatever it wrote after its status
                if not trace.take_refused(exc.raw, perf_counter()):
                    raise
                return
            except BrokenFraming:  # likewise
                return
            finally:
                trace.take_reply(connection)
                pool.give_back(route, connection)
            connection = None

    def _fault(self, exc: Exception, trace: AttemptTrace) -> Failed:
        """Return what an exception means, which is handled now."""
        match exc:
            case Closed():
                detail = "the endpoint was closed or its configuration replaced"
                return Failed(reason="closed", detail=detail, spend=False)
            case TimeoutError():
                return Failed(reason="timeout", detail=f"{self._stage(trace)} after {self._timeout:g} s")
            case ClaimLost():
                return Failed(reason="claim_lost", detail="nothing was sent: it is another node's by now", spend=False)
        if (fault := explain(exc)) is not None:
            return fault
        log.exception("sender.unexpected_error", host=self._route.host)
        return Failed(reason="internal", detail=f"a fault of this program: {type(exc).__name__}", proves=False)

    def _stage(self, trace: AttemptTrace) -> str:
        """Say what was waited for; a server without TLS at a port for https answers nothing, and is connected to."""
        if not trace.connected:
            return "not connected" if self._route.tls is None else "no TLS connection"
        return "the reply was not complete" if trace.replied else "no reply"

    def _request(self, body: bytes, headers: Headers) -> bytes:
        head = self._head
        if head is None:
            head = self._head = (self._line + _lines(self._headers.items())).encode()
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (head, _lines(headers).encode(), len(body), body)

    def _secret_headers(self, target: Target) -> list[str]:
        return [self._headers.get("authorization", ""), *target.headers.values()]


class AttemptTrace:
    """The progress of one attempt. It is filled in on the way, so that a timeout can also report it."""

    __slots__ = ("address", "began", "body", "connected", "dns", "fields", "replied", "reused", "status")

    def __init__(self, began: float) -> None:
        self.began = began
        self.dns = 0.0  # seconds of the lookup that it waited for
        self.connected = 0.0  # when the request could be written
        self.replied = 0.0  # when the reply's head was complete
        self.reused = False  # whether the connection had been used before
        self.address: str | None = None
        self.status: int | None = None
        self.fields: Mapping[str, str] = {}
        self.body = b""

    def take_connection(self, connection: Connection, now: float) -> None:
        """Record the connection that the request goes over."""
        self.connected, self.address, self.reused = now, connection.address, connection.used
        self.dns = 0.0 if connection.used else connection.looked_up

    def take_reply(self, connection: Connection) -> None:
        """Record the reply as far as it came."""
        reply = connection.reply
        if reply.status:
            self.status, self.replied = reply.status, connection.replied
            self.fields = reply.fields
            self.body = reply.take()[:READ_LIMIT] if reply.size else b""

    def take_refused(self, raw: bytes, now: float) -> bool:
        """Record a reply whose head was refused; return False if not even its status can be read."""
        self.status = http_head.status_of(raw)
        if self.status is None:
            return False
        end = http_head.find_end(raw)
        end = len(raw) if end < 0 else end
        self.replied, self.fields, self.body = now, Fields(raw[:end]), raw[end : end + READ_LIMIT]
        return True


def _is_ours(name: str) -> bool:
    return name.lower().startswith("webhook-")


def _lines(headers: Collection[tuple[str, str]]) -> str:
    """Write headers. Raises ValueError if one of them would end before its end."""
    text = ""
    for name, value in headers:
        text += f"{name}: {value}\r\n"
    if not len(headers) == text.count("\n") == text.count("\r") or "\0" in text:
        raise ValueError("a header holds a line end")
    return text


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


def _denied() -> Failed:
    """Return the failure that a proxy's demand for credentials stands for."""
    return Failed(reason="proxy", detail=f"the proxy wants other credentials: it answered {PROXY_DENIED}", spend=False)
