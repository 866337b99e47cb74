"""A whole daemon in this process, and a client that sends exact bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon_rig import serving
from waits import PATIENCE

from notifier.daemon.app import Application

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply to a request."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body's value."""
        return json.loads(self.body)

    def problem(self, status: int) -> str:
        """Check that this is a proper RFC 9457 problem of that status, and return its detail."""
        assert self.status == status, (self.status, self.body)
        assert self.headers["content-type"].startswith("application/problem+json"), self.headers
        told = self.json
        assert told["status"] == status
        assert told["type"] == "about:blank"
        assert told["title"]
        assert "Traceback" not in self.body.decode()
        assert ".py" not in self.body.decode()
        detail: str = told["detail"]
        return detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running daemon."""

    app: Application
    path: Path  # of its configuration
    unix: Path | None = None

    async def ask(self, method: str, target: str, *, body: bytes = b"", **headers: str) -> Reply:
        """Send one request, its target as written, and read the reply to its end."""
        if self.unix is not None:
            reader, writer = await asyncio.open_unix_connection(self.unix)
        else:
            host, _, port = (self.app.address or "").rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        lines = {"host": self.app.address or "", "content-length": str(len(body)), "connection": "close"}
        lines |= {name.replace("_", "-").lower(): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        try:
            async with asyncio.timeout(PATIENCE):
                request = f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape")
                writer.write(request + body)
                return _read(await reader.read())
        finally:
            writer.close()

    async def get(self, target: str, **headers: str) -> Reply:
        """GET."""
        return await self.ask("GET", target, body=b"", **headers)

    async def post(self, target: str, body: bytes = b"", **headers: str) -> Reply:
        """POST."""
        return await self.ask("POST", target, body=body, **headers)


def _read(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Reply(status=int(first.split(" ")[1]), headers=headers, body=body)


def text(
    tmp_path: Path,
    *,
    http: str,
    endpoints: str = "{}",
    watches: str = "[]",
    source: str = "http://127.0.0.1:9",
    queues: str = "[]",
) -> str:
    """Write a configuration."""
    return f"""
sources:
  vidu: {{preset: vidu, base_url: "{source}", token: tok}}
endpoints: {endpoints}
watches: {watches}
queues: {queues}
store: {{url: "sqlite:///{tmp_path}/n.db"}}
http: {http}
shutdown_timeout: 1s
"""


@asynccontextmanager
async def running(
    tmp_path: Path, *, http: str = '{listen: "127.0.0.1:0"}', unix: Path | None = None, **more: str
) -> AsyncIterator[Site]:
    """Run a daemon until the end of the block."""
    path = tmp_path / "config.yaml"
    path.write_text(text(tmp_path, http=http, **more))
    async with serving(path) as app:
        yield Site(app=app, path=path, unix=unix)
