"""The HTTP listener: its socket, and what every request has in common. It knows the daemon only as `Control`."""

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
from notifier.web import routes
from notifier.web.body import NotJson, TooLarge
from notifier.web.control import CONTROL, Control, Refused, Unknown
from notifier.web.guard import Guard
from notifier.web.operations import PARAMETERS, REPEATABLE
from notifier.web.problem import problem
from notifier.web.protocol import Runner
from notifier.web.query import BadRequest, check

log = structlog.get_logger(__name__)

LINGER = 1.0  # seconds of reading on what was refused, so that whoever sends it can read why
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ListenFailed(NotifierError):
    """The HTTP listener could not be opened."""


def application(control: Control, guard: Callable[[], Guard]) -> web.Application:
    """Make the web application; `guard` is asked anew for each request, as a reload may change the token."""

    @web.middleware
    async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = guard().refusal(request)
        return refusal if refusal is not None else await _answer(request, handler)

    app = web.Application(middlewares=[protect])
    app[CONTROL] = control
    app.add_routes(routes.ROUTES)
    return app


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into a problem; the boundary that keeps one request's fault from the rest."""
    try:
        _check_query(request)
        return await handler(request)
    except web.HTTPException as exc:
        allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else {}
        answer = problem(exc.status, exc.text or exc.reason)
        answer.headers.update(allow)
        return answer
    except BadRequest as exc:
        return problem(400, str(exc))
    except Unknown as exc:
        return problem(404, str(exc))
    except TooLarge as exc:
        return problem(413, str(exc))
    except NotJson as exc:
        return problem(415, str(exc))
    except Refused as exc:
        return problem(422, "refused; nothing was changed", problems=list(exc.problems))
    except StoreUnavailable as exc:
        answer = problem(503, f"the store cannot be used for now: {exc}")
        answer.headers["Retry-After"] = "1"
        return answer
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return problem(500, "an internal error; see the log")


def _check_query(request: web.Request) -> None:
    """Refuse parameters that are not for this path; probes and browsers may send what they like."""
    resource = request.match_info.route.resource
    if resource is None:
        return
    method = "get" if request.method == "HEAD" else request.method.lower()
    known = PARAMETERS.get((method, resource.canonical))
    if known is not None:
        check(request.query, known, repeatable=REPEATABLE)


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
                _make_way(path)
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


def _make_way(path: Path) -> None:
    """Remove the socket that a killed daemon left behind. Raises OSError if it is in use, or is no socket."""
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
        except BlockingIOError:  # somebody listens, and is busy
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def unix_path(listen: str) -> Path | None:
    """Return the path of `unix:/path`."""
    return Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None


def split(listen: str) -> tuple[str, int]:
    """Take `host:port` or `[v6]:port` apart."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
