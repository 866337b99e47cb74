"""The status page as people meet it: a real daemon, a simulated upstream, a receiver, and Chromium looking at it.

What the browser complains of is kept: a test ends well only if nothing is left of it (see `conftest.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import waits
import yaml
from daemon_rig import serving
from playwright.async_api import BrowserContext, Page, Request, Response, expect
from waits import PATIENCE

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the example of the Standard Webhooks specification

until = partial(waits.until, timeout=PATIENCE)

expect.set_options(timeout=PATIENCE * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running daemon with its upstream and its receiver."""

    url: str
    simulator: Simulator
    listener: Listener
    token: str | None

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API; return its answer."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.url}/{path}", json=body) as reply,
        ):
            assert reply.status < 400, await reply.text()
            return None if reply.status == 204 else await reply.json(content_type=None)

    async def watch(self, task_id: str, **more: Any) -> None:
        """Add a watch."""
        await self.api("POST", "v1/watches", {"id": task_id, "source": "vidu", **more})

    async def phase(self, task_id: str, phase: str) -> None:
        """Return once a watch is in that phase."""

        async def there() -> bool:
            return bool((await self.api("GET", f"v1/watches/vidu/{task_id}"))["phase"] == phase)

        await until(there)

    async def status(self, wanted: str, *, count: int = 1) -> list[Any]:
        """Return the deliveries of a status, once there are that many."""
        items: list[Any] = []

        async def there() -> bool:
            items[:] = (await self.api("GET", f"v1/deliveries?status={wanted}"))["items"]
            return len(items) >= count

        await until(there)
        return items


def settings(simulator: Simulator, endpoints: Mapping[str, Any], *, token: str | None, source: Any) -> dict[str, Any]:
    """Make a configuration."""
    vidu = {"preset": "vidu", "base_url": simulator.base_url, "token": "t0p", "default": True}
    return {
        "sources": {"vidu": {**vidu, **source}, "other": {**vidu, "default": False}},
        "endpoints": dict(endpoints),
        "store": {"url": "sqlite:///./notifier.db"},
        "http": {"listen": "127.0.0.1:0", "token": token},
        "shutdown_timeout": "1s",
    }


def write(path: Path, given: Mapping[str, Any]) -> Path:
    """Write a configuration; return where it is."""
    path.write_text(yaml.safe_dump(given))
    return path


def webhook(url: str, **more: Any) -> dict[str, Any]:
    """Describe an endpoint that gives up after two attempts."""
    return {"type": "webhook", "url": url, "secrets": [SECRET], "retry_schedule": ["0s", "50ms"], **more}


@asynccontextmanager
async def daemon(
    directory: Path,
    *,
    token: str | None = None,
    respond: str = "200",
    source: Mapping[str, Any] | None = None,
    app: str | None = None,
) -> AsyncIterator[Site]:
    """Run a daemon with the endpoints `app` and `spare` until the end of the block; tasks are moved by hand.

    `app` is the URL of that endpoint, by default the listener's.
    """
    async with (
        Simulator(transcripts={"*": Transcript(snapshots=())}, keep_open=True) as simulator,
        Listener(secrets=[SECRET], respond=respond) as listener,
    ):
        endpoints = {"app": webhook(app or listener.url), "spare": webhook(listener.url, events=["watch.lost"])}
        given = settings(simulator, endpoints, token=token, source=source or {})
        given["store"]["url"] = f"sqlite:///{directory}/notifier.db"
        async with serving(write(directory / "config.yaml", given)) as running:
            yield Site(url=f"http://{running.address}", simulator=simulator, listener=listener, token=token)


@dataclass
class Complaints:
    """The errors of a browser."""

    found: list[str] = field(default_factory=list)
    allowed: set[int] = field(default_factory=set)  # statuses that the test provokes

    def watch(self, page: Page, origin: str) -> None:
        """Hear of everything that goes wrong on a page."""
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.found.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._request(request, origin))
        page.on("response", self._response)

    def _console(self, kind: str, text: str) -> None:
        # A bad status is told by the browser in words of its own; `_response` knows which.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.found.append(f"console {kind}: {text}")

    def _request(self, request: Request, origin: str) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob") and not request.url.startswith(f"{origin}/"):
            self.found.append(f"request to elsewhere: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.allowed:
            self.found.append(f"{response.status} of {response.url}")


async def visit(context: BrowserContext, site: Site, complaints: Complaints, *, view: str = "") -> Page:
    """Open the page; return once it is live."""
    page = await context.new_page()
    complaints.watch(page, site.url)
    await page.goto(f"{site.url}/{view}")
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    return page
