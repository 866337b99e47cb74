"""The HTTP listener: its socket, and what all requests have in common."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from aiohttp import web

from notifier.core.errors import NotifierError, StoreUnavailable
from notifier.web import openapi
from notifier.web.api import API, Api
from notifier.web.guard import Guard
from notifier.web.handlers import DOCUMENT
from notifier.web.operations import OPERATIONS
from notifier.web.page import page
from notifier.web.protocol import Runner
from notifier.web.refusals import Refusal, problem

log = structlog.get_logger(__name__)

LINGER = 1.0  # seconds of reading the rest of a refused request, so that its sender can read the answer
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ListenFailed(NotifierError):
    """The HTTP listener could not be opened."""


def application(api: Api, guard: Callable[[], Guard]) -> web.Application:
    """Create the web application; `guard` is called for each request, because a reload may change the token."""

    @web.middleware
    async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = guard().refusal(request)
        return refusal if refusal is not None else await _answer(request, handler)

    app = web.Application(middlewares=[protect])
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


class Listener:
    """The open socket."""

    def __init__(self, app: web.Application, listen: str) -> None:
        self._runner = Runner(app, shutdown_timeout=2.0, access_log=None, auto_decompress=False, lingering_time=LINGER)
        self._listen = listen
        self.address = listen

    async def start(self) -> None:
        """Listen. Raises ListenFailed."""
        await self._runner.setup()
        path = unix_path(self._listen)
        try:
            if path is not None:
                _remove_dead_socket(path)
                await web.UnixSite(self._runner, str(path)).start()
                path.chmod(0o660)
                return
            host, port = split(self._listen)
            await web.TCPSite(self._runner, host, port, reuse_address=True).start()
        except OSError as exc:
            await self._runner.cleanup()
            reason = exc.strerror or str(exc)
            raise ListenFailed(
                f"http.listen: cannot listen on {self._listen}: {reason}; stop what uses it, or choose another"
            ) from exc
        bound = self._runner.addresses[0]
        self.address = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    async def stop(self) -> None:
        """Close the socket and its connections."""
        await self._runner.cleanup()
        path = unix_path(self._listen)
        if path is not None:
            path.unlink(missing_ok=True)


def _remove_dead_socket(path: Path) -> None:
    """Remove the socket that a killed daemon left. Raises OSError if it is in use, or is not a socket."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # another process listens, and is busy
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def unix_path(listen: str) -> Path | None:
    """Return the path of `unix:/path`; None for another address."""
    return Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None


def split(listen: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
