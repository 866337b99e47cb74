"""The list of watches: the server searches, filters and pages, so that 20,000 cost the page no more than 50."""

from __future__ import annotations

from pathlib import Path

from page_rig import Complaints, Site, daemon, visit
from playwright.async_api import BrowserContext, Page, expect

ROWS = "#watch-rows tr"
TO = "\N{EN DASH}"


async def many(site: Site, count: int, *, first: int = 0) -> None:
    """Add watches; every tenth has another label."""
    for start in range(first, first + count, 5000):
        numbers = range(start, min(start + 5000, first + count))
        labels = [{"team": "music" if n % 10 == 0 else "video"} for n in numbers]
        body = [{"id": f"task-{n:05}", "source": "vidu", "labels": of} for n, of in zip(numbers, labels, strict=True)]
        await site.api("POST", "v1/watches", body)


async def test_a_column_sorts_the_page_that_is_shown(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Up, down, and back to the server's order; numbers in texts as numbers; what is missing last, each way."""
    async with daemon(tmp_path) as site:
        for task in ("task-10", "task-9", "Task-1"):
            await site.watch(task)
        site.simulator.push("task-9", "processing")
        await site.phase("task-9", "running")
        page = await visit(context, site, complaints)
        await expect(page.locator(f"{ROWS} a")).to_have_text(["Task-1", "task-9", "task-10"])
        by = page.locator("#watch-table").get_by_role("columnheader", name="Watch")
        for turn, ids in (
            ("ascending", ["Task-1", "task-9", "task-10"]),
            ("descending", ["task-10", "task-9", "Task-1"]),
            ("none", ["Task-1", "task-9", "task-10"]),
        ):
            await by.get_by_role("button").click()
            await expect(by).to_have_attribute("aria-sort", turn)
            await expect(page.locator(f"{ROWS} a")).to_have_text(ids)
        state = page.get_by_role("button", name="State", exact=True)
        for _ in range(2):
            await state.click()
            await expect(page.locator(f"{ROWS} a").first).to_have_text("task-9")
        await expect(page.locator("#watch-range")).to_have_text(f"1{TO}3 of 3, this page by state")
        await site.watch("task-2")
        await expect(page.locator(f"{ROWS} a")).to_have_text(["task-9", "task-2", "Task-1", "task-10"])
        site.simulator.push("task-10", "queueing")
        await expect(page.locator(f"{ROWS} a").first).to_have_text("task-10")
        await page.get_by_role("link", name="Deliveries").click()
        await page.locator("#outbox-table").get_by_role("button", name="Watch").click()
        await expect(page.locator("#outbox-rows .c-watch")).to_have_text(["task-9", "task-10"])


async def test_filters_are_the_servers_and_stand_in_the_address(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Text, source, phase, ended and label, alone and together; a reload and a link show the same."""
    async with daemon(tmp_path) as site:
        await many(site, 20)
        await site.api("POST", "v1/watches", {"id": "task-00007", "source": "other"})
        site.simulator.push("task-00003", "success")
        site.simulator.push("task-00004", "processing")
        await site.phase("task-00003", "succeeded")
        await site.phase("task-00004", "running")
        page = await visit(context, site, complaints)
        await expect(page.locator(ROWS)).to_have_count(21)
        await page.get_by_label("Find by id").fill("0007")
        await expect(page.locator(ROWS)).to_have_count(2)
        await page.get_by_role("combobox", name="Source").select_option("other")
        await expect(page.locator(ROWS)).to_have_count(1)
        assert "q=0007" in page.url
        assert "source=other" in page.url
        await page.reload()
        await expect(page.locator(ROWS)).to_have_count(1)
        await expect(page.get_by_label("Find by id")).to_have_value("0007")
        await page.get_by_role("button", name="Clear").click()
        await expect(page.locator(ROWS)).to_have_count(21)
        for choice, ids in (
            ("succeeded", ["task-00003"]),
            ("ended", ["task-00003"]),
            ("running", ["task-00004"]),
        ):
            await page.get_by_role("combobox", name="Phase").select_option(choice)
            await expect(page.locator(f"{ROWS} a")).to_have_text(ids)
        await page.get_by_role("combobox", name="Phase").select_option("open")
        await expect(page.locator(ROWS)).to_have_count(20)
        await page.locator("#phase-list a", has_text="succeeded").click()
        await expect(page.locator(f"{ROWS} a")).to_have_text(["task-00003"])
        await page.locator(f"{ROWS} a").click()
        await page.locator("#panel").get_by_role("button", name="team: video").click()
        await expect(page.locator(ROWS)).to_have_count(18)
        await page.get_by_role("button", name="Remove the filter team:video").click()
        await expect(page.locator(ROWS)).to_have_count(21)
        await page.get_by_label("Find by id").fill("nothing like it")
        await expect(page.get_by_text("Nothing matches")).to_be_visible()
        await page.get_by_role("button", name="Clear the filters").click()
        await expect(page.locator(ROWS)).to_have_count(21)


async def test_twenty_thousand_watches_are_fifty_rows(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """The document stays small; pages turn both ways; a watch on the current page changes in place."""
    async with daemon(tmp_path, source={"max_streams": 1}) as site:
        await many(site, 20_000)
        page = await visit(context, site, complaints)
        await expect(page.locator(ROWS)).to_have_count(50)
        await expect(page.locator("#watch-range")).to_have_text(f"1{TO}50 of 20,000, open ones first")
        assert await page.evaluate("document.querySelectorAll('*').length") < 2000
        newest = await first(page)
        await page.get_by_role("button", name="Older").click()
        await expect(page.locator("#watch-range")).to_contain_text(f"51{TO}100")
        await expect(page.locator(ROWS)).to_have_count(50)
        assert await first(page) != newest
        await page.get_by_role("button", name="Newer").click()
        await expect(page.locator("#watch-range")).to_contain_text(f"1{TO}50")
        assert await first(page) == newest
        await expect(page.get_by_role("button", name="Newer")).to_be_disabled()
        await page.evaluate("document.querySelector('#watch-rows tr').dataset.same = 'yes'")
        await page.get_by_label("Find by id").fill("task-19999")
        await expect(page.locator(ROWS)).to_have_count(1)
        assert await page.locator("[data-same]").count() == 1  # a row that stays is the same element


async def test_open_watches_come_first(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """Then the ended ones, also on the page where the open ones end; a filter by phase or end keeps its own order."""
    async with daemon(tmp_path) as site:
        await many(site, 60)
        for number in (*range(5, 20), 59):  # the newest of them too
            site.simulator.push(f"task-{number:05}", "success")
        await site.phase("task-00059", "succeeded")
        for number in range(5, 20):
            await site.phase(f"task-{number:05}", "succeeded")
        page = await visit(context, site, complaints)
        await expect(page.locator("#watch-range")).to_have_text(f"1{TO}50 of 60, open ones first")
        ids = await page.locator(f"{ROWS} a").all_text_contents()
        ended = [59, *range(19, 4, -1)]
        expected = [*(n for n in range(59, -1, -1) if n not in ended), *ended]
        assert ids == [f"task-{number:05}" for number in expected[:50]]
        await page.get_by_role("button", name="Older").click()
        await expect(page.locator(f"{ROWS} a")).to_have_text([f"task-{number:05}" for number in expected[50:]])
        await expect(page.get_by_role("button", name="Older")).to_be_disabled()
        await page.get_by_role("combobox", name="Phase").select_option("ended")
        await expect(page.locator(f"{ROWS} a")).to_have_text([f"task-{number:05}" for number in ended])
        await expect(page.locator("#watch-range")).to_have_text(f"1{TO}16 of 16, newest first")


async def test_new_watches_show_up_by_themselves(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """On the first page, with the focus where it was."""
    async with daemon(tmp_path) as site:
        await many(site, 3)
        page = await visit(context, site, complaints)
        await expect(page.locator(ROWS)).to_have_count(3)
        await page.locator(f"{ROWS} a").first.focus()
        await many(site, 2, first=3)
        await expect(page.locator(ROWS)).to_have_count(5)
        await expect(page.locator(f"{ROWS} a", has_text="task-00002")).to_be_focused()


async def first(page: Page) -> str | None:
    """Return the id in the first row."""
    return await page.locator(f"{ROWS} a").first.text_content()
