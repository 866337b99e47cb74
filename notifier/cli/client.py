"""The client of the running daemon's HTTP API."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from notifier.cli.output import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE, fail, refuse
from notifier.cli.process import DEFAULT_FILE, FILE_VARIABLE
from notifier.core.errors import NotifierError

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession
    from notifier.core.model import Json

DEFAULT_URL = "http://127.0.0.1:8780"

# Up to the last `@`: a password that is not percent-encoded may hold slashes, and other marks of a URL's parts.
_CREDENTIALS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)
T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=FILE_VARIABLE,
        metavar="FILE",
        help=f"Read address and token from this configuration; default: ./{DEFAULT_FILE}, if it exists.",
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
    """The daemon refuses a request; `code` is the command's exit code for it."""

    def __init__(
        self,
        status: int,
        detail: str,
        problems: Sequence[str] = (),
        *,
        places: Sequence[Mapping[str, Any]] = (),
        code: int = EXIT_FAILED,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.problems = tuple(problems)
        self.places = tuple(places)  # the problems in parts
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where the daemon listens."""

    url: str
    token: str | None = None
    options: str = ""  # of the command line that select the daemon, repeated in advice; never the token
    ways: str = WAYS  # how to pass the token

    @property
    def place(self) -> str:
        """Return the URL as it may be printed."""
        return without_credentials(self.url)

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

    def run(self, work: Callable[[DaemonSession], T], *, refused: int = EXIT_FAILED) -> T:
        """Run `work` with a session; exits with a message if the daemon cannot be reached, or refuses."""
        from notifier.cli.session import DaemonSession  # here, as help and completion need no HTTP

        try:
            return work(DaemonSession(client=self))
        except Denied as exc:
            if exc.problems:
                refuse(exc.problems, summary=None if refused == EXIT_CONFIG else str(exc), code=refused)
            fail(str(exc), exc.code)
        except Unreachable as exc:
            fail(str(exc))

    def denied(self, status: int, answer: Json) -> Denied:
        """Create the exception for a refusal."""
        problem: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
        if status == 401:
            need = "refuses this bearer token" if self.token else "asks for its bearer token"
            return Denied(status, f"the daemon at {self.place} {need}: {self.ways}")
        if "detail" not in problem:
            return Denied(status, self.stranger())
        # A value of the command line that the daemon does not know is a mistake of use, whoever notices it.
        code = EXIT_USAGE if status == HTTPStatus.BAD_REQUEST else EXIT_FAILED
        told, places = problem.get("problems") or (), problem.get("places") or ()
        return Denied(status, str(problem["detail"]), told, places=places, code=code)

    def stranger(self) -> str:
        """Return the message for an answer that is not the daemon's."""
        return f"what answers at {self.place} is not the daemon; say where it is: --url or -c FILE"


def connect(url: str | None, token: str | None, config: Path | None) -> Client:
    """Locate the daemon by --url and --token, or by the section `http` of a configuration.

    The configuration is ./config.yaml if none is given, as of `notifier run`. One that cannot be read is not used then.
    """
    ways = WAYS
    environment = os.environ.get("NOTIFIER_URL")
    named = config is not None and str(config) != os.environ.get("NOTIFIER_CONFIG")  # on the command line
    if named and url == environment:
        url = None  # an option goes before a variable
    options = f" --url {_quoted(url)}" if url is not None and url != environment else ""
    if url is None and config is None and os.access(DEFAULT_FILE, os.R_OK):
        url, token = _configured(DEFAULT_FILE, token)
    if url is None and config is not None:
        if named:
            options = f" -c {config}"
        url, token = _configured(config, token)
        if token is None:
            ways = f"--token or NOTIFIER_TOKEN, as {config} names none that can be read here"
    url = url or DEFAULT_URL
    if not url.startswith(("http://", "https://", "unix:")):
        fail(f"--url {without_credentials(url)}: expected http://HOST:PORT or unix:PATH", EXIT_USAGE)
    return Client(url=url, token=token, options=options, ways=ways)


def without_credentials(url: str) -> str:
    """Return a URL with `<secret>` in place of user and password, however it is misspelt."""
    return url if url.startswith("unix:") else _CREDENTIALS.sub(r"\1<secret>@", url)


def _quoted(url: str) -> str:
    """Return a URL for advice; what is left out is quoted, since a shell reads `<` otherwise."""
    shown = without_credentials(url)
    return shown if shown == url else f"'{shown}'"


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
