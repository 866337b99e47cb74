"""The client of the running daemon's HTTP API."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from notifier.cli.output import EXIT_CONFIG, EXIT_FAILED, fail, refuse
from notifier.core.errors import NotifierError
from notifier.core.model import Json

if TYPE_CHECKING:
    import aiohttp

    from notifier.core.eventstream import StreamEvent

DEFAULT_URL = "http://127.0.0.1:8780"
TIMEOUT = 30.0  # seconds for an answer
ALIVE_EVERY = 10.0  # seconds between questions whether the daemon still works at a long request
SILENCE = 45.0  # seconds without a byte until a stream counts as dead; the daemon sends a comment every 15 s

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="NOTIFIER_CONFIG",
        metavar="FILE",
        help="Read address and token from this configuration.",
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="NOTIFIER_URL", metavar="URL", help=f"The daemon: a URL or unix:PATH; default: {DEFAULT_URL}."
    ),
]
WAYS = "--token, NOTIFIER_TOKEN or -c FILE"
TokenOption = Annotated[
    str | None,
    typer.Option("--token", envvar="NOTIFIER_TOKEN", metavar="TOKEN", help="Its bearer token.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Unreachable(NotifierError):
    """The daemon does not answer."""


class Denied(NotifierError):
    """The daemon refuses a request."""

    def __init__(self, status: int, detail: str, problems: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSession:
    """An open session with the daemon."""

    session: aiohttp.ClientSession
    base: str
    client: Client

    async def ask(self, method: str, path: str, *, query: Sequence[tuple[str, str]] = (), body: Json = None) -> Json:
        """Return the daemon's answer. Raises Unreachable and Denied."""
        return await self._ask(method, path, query=query, json=body)

    async def _ask(self, method: str, path: str, *, query: Sequence[tuple[str, str]] = (), **options: Any) -> Json:
        async with self._request(method, path, query=query, **options) as response:
            answer = await self._json(response)
            if response.status >= 300:
                raise self.client.denied(response.status, answer)
            return answer

    async def ask_patiently(self, method: str, path: str, *, query: Sequence[tuple[str, str]] = ()) -> Json:
        """Return the daemon's answer, for which it may take any time as long as it is alive. Raises as `ask`."""
        import aiohttp

        request = asyncio.create_task(
            self._ask(method, path, query=query, timeout=aiohttp.ClientTimeout(total=None)), name="request"
        )
        try:
            while not request.done():
                await asyncio.wait({request}, timeout=ALIVE_EVERY)
                if not request.done():
                    async with self._request("GET", "/healthz", query=()):
                        pass
            return request.result()
        finally:
            request.cancel()
            await asyncio.wait({request})

    async def events(
        self, path: str, *, query: Sequence[tuple[str, str]], last: str | None
    ) -> AsyncIterator[StreamEvent | None]:
        """Yield None once a stream is open, then its events until it ends. Raises as `ask`."""
        import aiohttp

        from notifier.core.eventstream import Decoder

        decoder = Decoder()
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = aiohttp.ClientTimeout(total=None, connect=TIMEOUT, sock_read=SILENCE)
        async with self._request("GET", path, query=query, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                raise self.client.denied(response.status, await self._json(response))
            yield None
            async for chunk in response.content.iter_any():
                for event in decoder.feed(chunk):
                    yield event

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, *, query: Sequence[tuple[str, str]], **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp
        from yarl import URL

        try:
            url = URL(self.base + path, encoded=True).with_query(list(query) or None)
            async with self.session.request(method, url, allow_redirects=False, **options) as response:
                yield response
        except TimeoutError as exc:
            raise Unreachable(f"the daemon at {self.client.url} does not answer") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise Unreachable(
                f"cannot reach the daemon at {self.client.url}: {_reason(exc)}; is it running? "
                "(--url, --token or -c FILE)"
            ) from exc

    async def _json(self, response: aiohttp.ClientResponse) -> Json:
        text = await response.text(errors="replace")
        try:
            return json.loads(text) if text else None
        except ValueError as exc:
            raise Unreachable(self.client.stranger()) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where the daemon listens."""

    url: str
    token: str | None = None
    options: str = ""  # of the command line that select the daemon, repeated in advice; never the token
    ways: str = WAYS  # how to pass the token

    def get(self, path: str, **query: Any) -> Json:
        """Return the daemon's answer; exits with a message if there is none, or if it is a refusal."""
        parameters = [
            (name, str(each))
            for name, value in query.items()
            for each in (value if isinstance(value, list | tuple) else [value])
            if each is not None
        ]
        return self.run(lambda daemon: daemon.ask("GET", path, query=parameters))

    def post(self, path: str, body: Json = None, *, refused: int = EXIT_FAILED) -> Json:
        """Ask the daemon to do something; `refused` is the exit code if the answer is a list of problems."""
        return self.run(lambda daemon: daemon.ask("POST", path, body=body), refused=refused)

    def run(self, work: Callable[[DaemonSession], Awaitable[T]], *, refused: int = EXIT_FAILED) -> T:
        """Run `work` with an open session; exits with a message if the daemon cannot be reached, or refuses."""

        async def do() -> T:
            async with self._open() as daemon:
                return await work(daemon)

        try:
            return asyncio.run(do())
        except Denied as exc:
            if exc.problems:
                refuse(exc.problems, summary=None if refused == EXIT_CONFIG else str(exc), code=refused)
            fail(str(exc))
        except Unreachable as exc:
            fail(str(exc))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[DaemonSession]:
        import aiohttp  # a lazy import: it is slow to load, and `--help` does not need it

        connector, base = None, self.url.rstrip("/")
        if self.url.startswith("unix:"):
            connector, base = aiohttp.UnixConnector(self.url.removeprefix("unix:")), "http://localhost"
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
            yield DaemonSession(session=session, base=base, client=self)

    def denied(self, status: int, answer: Json) -> Denied:
        """Create the exception for a refusal."""
        problem: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
        if status == 401:
            need = "refuses this bearer token" if self.token else "asks for its bearer token"
            return Denied(status, f"the daemon at {self.url} {need}: {self.ways}")
        return Denied(status, str(problem.get("detail", self.stranger())), problem.get("problems") or ())

    def stranger(self) -> str:
        """Return the message for an answer that is not the daemon's."""
        return f"what answers at {self.url} is not the daemon; say where it is: --url or -c FILE"


def _reason(exc: Exception) -> str:
    """Return in a few words why there is no connection."""
    fault = getattr(exc, "os_error", exc)
    if isinstance(fault, OSError) and fault.errno is not None and fault.errno > 0:
        return os.strerror(fault.errno)
    return str(getattr(fault, "strerror", None) or fault or type(exc).__name__)


def connect(url: str | None, token: str | None, config: Path | None) -> Client:
    """Locate the daemon by --url and --token, or by the configuration's section `http`."""
    ways = WAYS
    options = f" --url {url}" if url is not None and url != os.environ.get("NOTIFIER_URL") else ""
    if url is None and config is not None:
        if str(config) != os.environ.get("NOTIFIER_CONFIG"):
            options = f" -c {config}"
        url, token = _configured(config, token)
        if token is None:
            ways = f"--token or NOTIFIER_TOKEN, as {config} names none that can be read here"
    url = url or DEFAULT_URL
    if not url.startswith(("http://", "https://", "unix:")):
        fail(f"--url {url}: expected http://HOST:PORT or unix:PATH")
    return Client(url=url, token=token, options=options, ways=ways)


def _configured(config: Path, token: str | None) -> tuple[str, str | None]:
    from notifier.config import TcpAddress, UnixAddress, http_section

    if not os.path.exists(config):  # unlike Path.exists, it does not raise without permission
        fail(
            f"{config}: no such file, or none that you may see; say where the daemon is: -c FILE or --url", EXIT_CONFIG
        )
    http = http_section(config)
    token = token or (http.token.reveal() if http.token else None)
    match http.address:
        case None:
            fail(f"{config}: http.listen is null, so the daemon cannot be reached", EXIT_CONFIG)
        case UnixAddress(path=path):
            return f"unix:{path}", token
        case TcpAddress(port=0):
            fail(
                f"{config}: http.listen has port 0, so any free one: use --url with the address that the daemon logged"
                " as `http` of daemon.ready",
                EXIT_CONFIG,
            )
        case TcpAddress(host=host, port=port):  # pragma: no branch  the union has no other member
            reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}", token
