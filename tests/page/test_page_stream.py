"""The page's stream: it shows when it is not live, reconnects by itself, and shows the events of the outage."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from page_rig import Complaints, Site, daemon, visit
from playwright.async_api import BrowserContext, Request, Route, expect
from ports import free_port


class Cable:
    """A way to the daemon that can be cut: it passes bytes on as they come."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = free_port()

    async def plug(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def pull(self) -> None:
        """Cut every connection, and take no other."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, back))
                both.create_task(self._copy(there, writer))
        finally:
            self._writers -= {writer, back}

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65536):
                sink.write(piece)
                await sink.drain()
        except ConnectionError:
            pass  # cut, which is what it is for
        finally:
            sink.transport.abort()


@asynccontextmanager
async def cable(site: Site) -> AsyncIterator[Cable]:
    """Lay a cable to a daemon."""
    made = Cable(urlsplit(site.url).port or 0)
    await made.plug()
    yield made
    await made.pull()


async def test_it_comes_back_after_a_cut(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """Reconnecting, which is shown; then live, with the changes of the outage; the page was not loaded again."""
    async with daemon(tmp_path) as site, cable(site) as wire:
        await site.watch("clip-1")
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{wire.port}/")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await page.evaluate("window.same = true")
        await wire.pull()
        await expect(page.locator("#connection")).to_contain_text("reconnecting")
        site.simulator.push("clip-1", "success")
        await site.phase("clip-1", "succeeded")
        await site.watch("clip-2")
        await expect(page.get_by_role("button", name="Try now")).to_be_visible()
        await wire.plug()
        await page.locator("#retry-now").dispatch_event("click")  # it is hidden if a try of the page's own came first
        await expect(page.locator("#connection")).to_have_text("live")
        await expect(page.locator("#watch-rows tr")).to_have_count(2)
        await expect(page.locator("#watch-rows .c-phase").last).to_contain_text("succeeded")
        assert await page.evaluate("window.same")


async def test_tries_grow_apart(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """A server that takes connections and gives nothing is not asked ever more often: the pauses grow."""
    async with daemon(tmp_path) as site:
        await site.watch("clip-1")
        page = await context.new_page()
        tried: list[Request] = []
        await page.clock.install()

        async def refuse(route: Route) -> None:
            tried.append(route.request)
            await route.fulfill(status=200, content_type="text/event-stream", body="")

        await page.route("**/v1/stream", refuse)
        await page.goto(site.url)
        for _ in range(100):
            await page.clock.run_for(2000)
        await page.unroute("**/v1/stream")
        assert 4 <= len(tried) <= 30  # 200 s; without growth it would be more than 150


async def test_counts_and_rates_are_shown(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """By phase as words, shapes and numbers; rates as lines with a description in words."""
    async with daemon(tmp_path) as site:
        for task in ("a", "b", "c"):
            await site.watch(task)
        site.simulator.push("a", "success")
        site.simulator.push("b", "failed")
        page = await visit(context, site, complaints)
        await expect(page.locator("#total")).to_have_text("3")
        await expect(page.locator("#phase-list")).to_contain_text("succeeded 1")
        await expect(page.locator("#phase-list")).to_contain_text("failed 1")
        await expect(page.locator("#phase-list")).to_contain_text("new 1")
        assert await page.locator("#phase-list svg").count() == 3
        await expect(page.locator("#streams")).to_have_text("1")
        await expect(page.locator("#chart-events path.stroke")).to_have_attribute("d", re.compile("M.*L"))


async def test_watches_that_wait_for_a_stream_are_shown(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Beside the number of open streams, and only while there are any."""
    async with daemon(tmp_path, source={"max_streams": 1}) as site:
        for task in ("a", "b", "c"):
            await site.watch(task)
        page = await visit(context, site, complaints)
        await expect(page.locator("#streams-unit")).to_have_text("open, 2 waiting")
        site.simulator.push("a", "success")
        site.simulator.push("b", "success")
        await expect(page.locator("#streams-unit")).to_have_text("open")
