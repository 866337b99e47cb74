"""The web application: what all requests have in common.

Requests begin one after another, and everything else that is due comes between two of them. Many clients may send
hundreds of requests at once, each on its connection: their answers would follow each other without a pause, and
streams, deliveries and probes would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from notifier.config import ConfigInForce
from notifier.core.errors import StoreUnavailable
from notifier.web import openapi
from notifier.web.api import API, Api
from notifier.web.connections import ClientConnection, connection_of
from notifier.web.guard import PROBES, Guard
from notifier.web.handlers import DOCUMENT
from notifier.web.operations import OPERATIONS
from notifier.web.page import page
from notifier.web.refusals import Refusal, problem

log = structlog.get_logger(__name__)

PATIENCE = 20.0  # seconds that a client may take to read an answer
SLOWEST = 16 << 10  # bytes a second; a large answer has more time, at this rate
_SAFE = frozenset({"GET", "HEAD"})  # methods that change nothing (RFC 9110 section 9.2.1)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Turns:
    """Gives one turn in each round of the loop, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._given = False  # in this round

    async def wait(self) -> None:
        """Return when it is the caller's turn: at once, if this round's is left."""
        loop = asyncio.get_running_loop()
        if self._given:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
            return
        self._given = True
        loop.call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # it was not cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._given = False


def application(api: Api, in_force: ConfigInForce, *, host: str | None) -> web.Application:
    """Create the web application of a listener on `host`; None: on a unix socket."""
    probes, others = Turns(), Turns()  # a probe waits for no other kind of request

    @web.middleware
    async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = connection_of(request)
        await (probes if request.path in PROBES else others).wait()
        if connection.lost and request.method in _SAFE:
            return web.Response()  # nobody reads it; of an exception the HTTP library would make an error in the log
        http = in_force.config.http  # a reload may have changed it
        rules = Guard(token=http.token.reveal() if http.token else None, host=host, public_url=http.public_url)
        refusal = rules.refusal(request)
        if refusal is None and connection.reserved and not rules.is_operator(request, local=connection.local):
            refusal = problem(503, "too many connections are open; try again later")
            refusal.headers["Retry-After"] = "1"
        answer = await _answer(request, handler) if refusal is None else refusal
        if connection.reserved:
            answer.force_close()
        await _send(request, answer, connection)
        return answer

    async def name(_: web.Request, answer: web.StreamResponse) -> None:
        answer.headers["Server"] = "notifier"  # the versions of Python and of the library concern nobody

    app = web.Application(middlewares=[protect])
    app.on_response_prepare.append(name)
    app[API] = api
    app[DOCUMENT] = openapi.encoded
    app.add_routes([operation.route() for operation in OPERATIONS])
    app.router.add_get("/static/{name}", page.static)
    return app


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request, with a problem if it fails; the boundary that keeps one request's error from the others."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else {}
        answer = problem(exc.status, exc.text or exc.reason)
        answer.headers.update(allow)
        return answer
    except Refusal as exc:
        return exc.answer()
    except StoreUnavailable as exc:
        answer = problem(503, f"the store cannot be used for now: {exc}")
        answer.headers["Retry-After"] = "1"
        return answer
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return problem(500, "an internal error; see the log")


async def _send(request: web.Request, answer: web.StreamResponse, connection: ClientConnection) -> None:
    """Send an answer; cut a client off that does not read it in time."""
    size = len(answer.body) if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else 0
    try:
        async with asyncio.timeout(PATIENCE + size / SLOWEST):
            await answer.prepare(request)
            await answer.write_eof()
    except TimeoutError:
        connection.abort("the client does not read its answer")
    except ConnectionError:
        pass  # the client has gone
