"""How commands reach the running daemon: its HTTP API."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from notifier.cli.output import EXIT_CONFIG, fail, refuse
from notifier.core.model import Json

DEFAULT_URL = "http://127.0.0.1:8780"
TIMEOUT = 30.0  # seconds for an answer; a reload of many watches takes some

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="NOTIFIER_CONFIG", help="Read address and token from this configuration."),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="NOTIFIER_URL", help=f"The daemon: a URL or unix:PATH; default: {DEFAULT_URL}."),
]
TokenOption = Annotated[
    str | None, typer.Option("--token", envvar="NOTIFIER_TOKEN", help="Its bearer token.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where the daemon listens."""

    url: str
    token: str | None = None

    def get(self, path: str, **query: Any) -> Json:
        """Return what the daemon answers; exits with a message when it does not, or refuses."""
        return self._call("GET", path, params={name: str(value) for name, value in query.items() if value is not None})

    def post(self, path: str, body: Json = None) -> Json:
        """Ask for something to be done."""
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **options: Any) -> Json:
        status, answer = asyncio.run(self._request(method, path, options))
        if status >= 400:
            told = answer if isinstance(answer, dict) else {}
            if told.get("problems"):
                refuse(told["problems"])
            fail(told.get("detail", f"the daemon answered {status}"))
        return answer

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> tuple[int, Json]:
        import aiohttp  # takes a while to load, which `--help` need not wait for

        connector, base = None, self.url.rstrip("/")
        if self.url.startswith("unix:"):
            connector, base = aiohttp.UnixConnector(self.url.removeprefix("unix:")), "http://localhost"
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT)
                ) as session,
                session.request(method, base + path, **options) as response,
            ):
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            reason = str(exc) or type(exc).__name__
            fail(f"cannot reach the daemon at {self.url}: {reason}; is it running? (--url, --token or -c FILE)")


def connect(url: str | None, token: str | None, config: Path | None) -> Client:
    """Find the daemon: by --url and --token, or else by the configuration's http section."""
    if url is None and config is not None:
        from notifier.config import TcpAddress, UnixAddress, http_section

        http = http_section(config)
        token = token or (http.token.reveal() if http.token else None)
        match http.address:
            case TcpAddress(host=host, port=port):
                reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
                url = f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
            case UnixAddress(path=path):
                url = f"unix:{path}"
            case None:
                fail(f"{config}: http.listen is null, so the daemon cannot be reached", EXIT_CONFIG)
    return Client(url=url or DEFAULT_URL, token=token)
