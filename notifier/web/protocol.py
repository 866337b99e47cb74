"""What is answered to what is no HTTP, or too much of it: a problem as for all else, and nothing in the log.

aiohttp refuses these before there is a request to route: in plain text, and with a traceback in the log, which anybody
who can reach the port could fill with them.
"""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web

from notifier.runtime.aiohttp_private import event_loop
from notifier.web.problem import problem

log = structlog.get_logger(__name__)

MAX_TOLD = 200  # characters of what aiohttp says is wrong; it may quote what was sent


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
        """Answer what could not be read; what is our fault is left to aiohttp, which logs it."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun; there cannot be another")
        why = ((message or str(exc)).splitlines() or [""])[0][:MAX_TOLD]
        log.debug("http.refused", peer=request.remote, status=status, reason=why)
        answer = problem(status, f"this is no HTTP request that can be taken: {why}")
        answer.force_close()
        return answer


class Runner(web.AppRunner):
    """An aiohttp runner whose connections are of this kind."""

    __slots__ = ("_options",)

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, handle_signals=False, shutdown_timeout=options.pop("shutdown_timeout"), **options)
        self._options = options

    @property
    def server(self) -> Any:
        """Return what makes a connection's protocol; None before the start."""
        made = super().server
        return None if made is None else lambda: Protocol(made, loop=event_loop(made), **self._options)
