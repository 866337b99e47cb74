"""The HTTP listener: routes, and who may use them. It knows nothing of how the daemon works, only `Control`.

Without a token it answers those alone who address it by a loopback name or by its own: a page from elsewhere cannot
reach it through a name that it makes point here (DNS rebinding), nor post to it (CSRF).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from notifier.core.errors import NotifierError, StoreUnavailable
from notifier.core.model import Json
from notifier.web.control import Control, Unknown
from notifier.web.query import BadRequest

log = structlog.get_logger(__name__)

MAX_BODY = 1 << 20  # bytes of a request; none that we take is near it
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})  # for probes and scrapers; they tell no secret

CONTROL = web.AppKey("control", Control)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ListenFailed(NotifierError):
    """The HTTP listener could not be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Whom the listener answers."""

    token: str | None
    host: str | None  # that it listens on; None: a unix socket

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a request that is not to be served."""
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return problem(403, "requests from pages of other origins are not answered")
        if request.path in OPEN_PATHS:
            return None
        if self.token is None:
            if self.host is not None and not self._known(request.host):
                return problem(403, "this Host is not answered without a token; use localhost")
            return None
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return None
        refused = problem(401, "a bearer token is needed: http.token of the configuration")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    def _known(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        if name in {"localhost", self.host}:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def problem(status: int, detail: str, **more: Json) -> web.Response:
    """Make an RFC 9457 problem."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return web.json_response(body, status=status, content_type="application/problem+json")


def application(control: Control, guard: Callable[[], Guard]) -> web.Application:
    """Make the web application; `guard` is asked anew for each request, as a reload may change the token."""
    from notifier.web import routes  # the handlers import this module's `problem`

    @web.middleware
    async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = guard().refusal(request)
        return refusal if refusal is not None else await _answer(request, handler)

    app = web.Application(middlewares=[protect], client_max_size=MAX_BODY)
    app[CONTROL] = control
    app.add_routes(routes.ROUTES)
    return app


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into a problem; the boundary that keeps one request's fault from the rest."""
    try:
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
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        self._listen = listen
        self.address = listen

    async def start(self) -> None:
        """Listen. Raises ListenFailed."""
        await self._runner.setup()
        path = unix_path(self._listen)
        try:
            if path is not None:
                path.unlink(missing_ok=True)
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


def unix_path(listen: str) -> Path | None:
    """Return the path of `unix:/path`."""
    return Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None


def split(listen: str) -> tuple[str, int]:
    """Take `host:port` or `[v6]:port` apart."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
