"""The page's deliveries: found by status, endpoint, task and time; each with its payload, attempts and replies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from page_rig import Complaints, daemon, visit
from playwright.async_api import BrowserContext, Page, expect

ROWS = "#outbox-rows tr"
TO = "\N{EN DASH}"


async def test_deliveries_are_filtered_by_status_endpoint_task_and_time(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Alone and together; the filters stand in the address, and a reload and a link show the same."""
    async with daemon(tmp_path, respond="500x2,200") as site:  # the first delivery dies
        await site.watch("clip-1")
        site.simulator.push("clip-1", "success")
        await site.status("dead")
        await site.watch("clip-2")
        for state, phase in (("queueing", "queued"), ("success", "succeeded")):
            site.simulator.push("clip-2", state)
            await site.phase("clip-2", phase)
        await site.status("delivered", count=2)
        await site.api("POST", "v1/watches", {"id": "clip-1", "source": "other"})
        await site.status("delivered", count=3)
        page = await visit(context, site, complaints, view="#/deliveries")
        await expect(page.locator(ROWS)).to_have_count(4)
        await expect(page.locator("#outbox-range")).to_have_text(f"1{TO}4, newest first")
        await choose(page, "Status", "delivered", 3)
        await expect(page.locator(f"{ROWS} .c-told").first).to_contain_text("after the event")
        await choose(page, "Status", "dead", 1)
        await expect(page.locator(ROWS)).to_contain_text("2 attempts · HTTP 500")
        await choose(page, "Endpoint", "spare", 0)
        await expect(page.get_by_text("No dead deliveries")).to_be_visible()
        assert page.url.endswith("#/deliveries?status=dead&endpoint=spare")
        await page.get_by_role("button", name="Clear the filters").click()
        await expect(page.locator(ROWS)).to_have_count(4)
        for task, count in (("clip-2", 2), ("vidu/clip-2", 2), ("other/clip-2", 0), ("clip-1", 2), ("other/clip-1", 1)):
            await page.locator("#o-task").fill(task)
            await expect(page.locator(ROWS)).to_have_count(count)
        await page.locator("#o-task").fill("none")
        await expect(page.get_by_text("No delivery matches all filters.")).to_be_visible()
        await page.locator("#o-filters").get_by_role("button", name="Clear").click()
        await choose(page, "Created", "1h", 4)
        await choose(page, "Created", "between", 4)
        await page.get_by_label("to", exact=True).fill("2001-01-01T10:00")
        await expect(page.locator(ROWS)).to_have_count(0)
        assert "until=2001-01-01T" in page.url
        await page.reload()
        await expect(page.get_by_text("No delivery matches all filters.")).to_be_visible()
        await expect(page.get_by_label("to", exact=True)).to_have_value("2001-01-01T10:00")
        await page.get_by_label("to", exact=True).fill("")
        await page.get_by_label("from", exact=True).fill("2001-01-01T10:00")
        await expect(page.locator(ROWS)).to_have_count(4)


async def choose(page: Page, name: str, value: str, count: int) -> None:
    """Choose one of a filter's values, and see that many rows."""
    await page.locator("#o-filters").get_by_role("combobox", name=name).select_option(value)
    await expect(page.locator(ROWS)).to_have_count(count)


@asynccontextmanager
async def broken_receiver() -> AsyncIterator[str]:
    """Run a receiver that answers 500 with a reason until the end of the block; return its URL."""

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=500, text="the database is away")

    app = web.Application()
    app.router.add_post("/hooks", refuse)
    async with TestServer(app) as server:
        yield str(server.make_url("/hooks"))


async def test_a_delivery_says_what_it_waits_for(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """For its endpoint to be enabled, or for the event before it."""
    async with daemon(tmp_path) as site:
        await site.api("POST", "v1/endpoints/app/disable")
        await site.watch("clip-1")
        for state, phase in (("queueing", "queued"), ("success", "succeeded")):
            site.simulator.push("clip-1", state)
            await site.phase("clip-1", phase)
        page = await visit(context, site, complaints, view="#/deliveries?endpoint=app")
        told = page.locator(f"{ROWS} .c-told")
        await expect(told.first).to_contain_text("waits for the event before it")
        await expect(told.last).to_contain_text("no attempt yet · waits until app is enabled")


async def test_counts_filter_and_a_row_opens_what_was_sent(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """From the endpoint's card and above the list; the panel has the payload, and each attempt with its reply."""
    async with broken_receiver() as url, daemon(tmp_path, app=url) as site:
        await site.watch("clip-1")
        site.simulator.push("clip-1", "success")
        await site.status("dead")
        page = await visit(context, site, complaints, view="#/endpoints")
        await page.get_by_role("link", name="1 dead delivery").click()
        await expect(page.locator(f"{ROWS} .c-watch a")).to_have_text("clip-1")
        assert page.url.endswith("#/deliveries?status=dead&endpoint=app")
        await page.locator("#outbox-counts a", has_text="dead").click()  # what is chosen is unchosen
        await expect(page.get_by_role("combobox", name="Status")).to_have_value("")
        await page.locator("#outbox-counts a", has_text="pending").click()
        await expect(page.locator(ROWS)).to_have_count(0)
        await expect(page.get_by_text("No delivery matches all filters.")).to_be_visible()
        await page.locator("#outbox-counts a", has_text="dead").click()
        await page.get_by_role("link", name="Delivery 1, dead").click()
        panel = page.locator("#panel")
        await expect(panel.locator(".attempts li")).to_have_count(2)
        await expect(panel.locator(".attempts li").first).to_contain_text("HTTP 500")
        await expect(panel.get_by_label("The reply").first).to_have_text("the database is away")
        await expect(panel.get_by_label("What is sent")).to_contain_text('"type": "task.succeeded"')
        await panel.get_by_role("link", name="clip-1").click()
        await expect(panel.locator(".timeline > li")).to_have_count(1)
        await page.keyboard.press("Escape")
        assert page.url.endswith("#/deliveries?status=dead&endpoint=app")
        await page.locator(f"{ROWS} .c-watch a").click()  # over the row, not below its link
        await expect(page.locator("#panel-kind")).to_have_text("Watch")


async def test_dead_deliveries_are_retried(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """One by one, and all of an endpoint; each is sent again and leaves the list. The earlier address still works."""
    async with daemon(tmp_path, respond="500x6,200") as site:  # two attempts each, three deliveries
        for task in ("clip-1", "clip-2", "clip-3"):
            await site.watch(task)
            site.simulator.push(task, "success")
        await site.status("dead", count=3)
        page = await visit(context, site, complaints, view="#/dead/app")
        rows = page.locator(ROWS)
        await expect(rows).to_have_count(3)
        assert page.url.endswith("#/deliveries?status=dead&endpoint=app")
        await expect(page.locator("#n-dead")).to_have_text("3 dead")
        await rows.first.get_by_role("button", name="Retry delivery").click()
        await expect(rows).to_have_count(2)
        await site.status("delivered", count=1)
        await expect(page.get_by_role("button", name="Retry all 2 dead of app")).to_be_visible()
        await page.locator("#o-task").fill("clip-2")
        await expect(page.locator("#retry-all")).to_be_hidden()  # it would retry more than is listed
        await page.locator("#o-filters").get_by_role("button", name="Clear").click()
        await expect(rows).to_have_count(3)
        await page.get_by_role("button", name="Retry all 2 dead", exact=True).click()
        await page.get_by_role("dialog").get_by_role("button", name="Retry all").click()
        await site.status("delivered", count=3)
        await expect(rows.locator(".word")).to_have_text(["delivered"] * 3)
        await expect(page.locator("#n-dead")).to_be_hidden()
        await expect(page.locator("#retry-all")).to_be_hidden()


async def test_paths_of_the_api_lead_to_the_same_on_the_page(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """A watch and a delivery are found by them; the list alone would be no answer."""
    async with daemon(tmp_path) as site:
        await site.watch("clip-1")
        site.simulator.push("clip-1", "success")
        await site.status("delivered")
        page = await visit(context, site, complaints, view="#/watches/vidu/clip-1")
        await expect(page.locator("#panel-title")).to_have_text("clip-1")
        await page.evaluate("location.hash = '#/deliveries/1'")
        await expect(page.locator("#panel-title")).to_have_text("1")
