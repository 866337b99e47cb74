"""The answer to bytes that are not HTTP, or too many of them: a problem like any other, and no traceback in the log.

aiohttp refuses them before there is a request to route: in plain text, and with a traceback in the log. Anybody who
can reach the port could fill the log with tracebacks.
"""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web

from notifier.runtime.aiohttp_private import event_loop
from notifier.web.refusals import problem

log = structlog.get_logger(__name__)

MAX_REASON = 200  # characters of aiohttp's message, which may quote the request


class Protocol(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be read; aiohttp answers and logs the daemon's own errors."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        reason = ((message or str(exc)).splitlines() or [""])[0][:MAX_REASON]
        log.debug("http.refused", peer=request.remote, status=status, reason=reason)
        answer = problem(status, f"this is no HTTP request that can be taken: {reason}")
        answer.force_close()
        return answer


class Runner(web.AppRunner):
    """An aiohttp runner that makes connections of this kind."""

    __slots__ = ("_options",)

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, handle_signals=False, shutdown_timeout=options.pop("shutdown_timeout"), **options)
        self._options = options

    @property
    def server(self) -> Any:
        """Return the factory of a connection's protocol; None before the start."""
        made = super().server
        return None if made is None else lambda: Protocol(made, loop=event_loop(made), **self._options)
