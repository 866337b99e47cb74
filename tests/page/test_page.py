"""The uses of the status page: look, find, add, remove, enable, retry; live, without a reload of the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_rig import Complaints, daemon, visit
from playwright.async_api import BrowserContext, expect

HOSTILE = '<img src=x onerror="document.title=1">&amp;</script>'


async def test_a_watch_is_added_and_seen_to_end(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Added by the form, it moves to success live, with its timeline and its deliveries."""
    async with daemon(tmp_path) as site:
        page = await visit(context, site, complaints)
        await expect(page.get_by_text("No watches yet")).to_be_visible()
        await page.get_by_role("button", name="Add a watch").click()
        dialog = page.get_by_role("dialog", name="Add a watch")
        await dialog.get_by_label("Task id").fill("clip-1")
        await dialog.get_by_label("Source").select_option("vidu")
        await dialog.get_by_label("Labels").fill("team: video\ntier = gold")
        await dialog.get_by_label("Metadata").fill('{"order": 7}')
        await dialog.get_by_role("button", name="Add", exact=True).click()
        await expect(dialog).to_be_hidden()
        panel = page.locator("#panel")
        await expect(panel.get_by_role("heading", name="clip-1")).to_be_visible()
        await expect(panel.locator(".facts")).to_contain_text("tier: gold")
        await expect(panel.locator("pre")).to_contain_text('"order": 7')
        row = page.locator("#watch-rows tr")
        site.simulator.push("clip-1", "queueing")
        await expect(row.locator(".c-phase")).to_contain_text("queued")
        site.simulator.push("clip-1", "processing")
        await expect(row.locator(".c-phase")).to_contain_text("running")
        site.simulator.push("clip-1", "success")
        await expect(row.locator(".c-phase")).to_contain_text("succeeded")
        await expect(row.locator(".c-state")).to_have_text("success")
        steps = panel.locator(".timeline > li")
        await expect(steps).to_have_count(3)
        await expect(steps.locator(".what b")).to_have_text(
            ["queueing", "queueing → processing", "processing → success"]
        )
        last = steps.last.locator("details")
        await expect(last.locator("summary")).to_contain_text("delivered")
        await last.locator("summary").click()
        await expect(last.locator(".attempts li")).to_contain_text("delivered · HTTP 200")
        await expect(page.locator("#phase-list")).to_contain_text("succeeded 1")
        assert page.url.endswith("#/watch/vidu/clip-1")
        kept = await site.api("GET", "v1/watches/vidu/clip-1")
        assert (kept["labels"], kept["metadata"]) == ({"team": "video", "tier": "gold"}, {"order": 7})


async def test_problems_stand_beside_their_fields(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Mistakes that the page sees itself, and those that the server names; nothing is added, and the input stays."""
    complaints.allowed = {400, 422}
    async with daemon(tmp_path) as site:
        page = await visit(context, site, complaints)
        await page.get_by_role("button", name="Add a watch").click()
        dialog = page.get_by_role("dialog", name="Add a watch")
        add = dialog.get_by_role("button", name="Add", exact=True)
        await dialog.get_by_label("Labels").fill("team video")
        await dialog.get_by_label("Metadata").fill("{order: 7}")
        await add.click()
        await expect(page.locator("#wrong-id")).to_have_text("Enter the task's id.")
        await expect(page.locator("#wrong-labels")).to_contain_text("team video")
        await expect(page.locator("#wrong-metadata")).to_contain_text("not JSON")
        await expect(dialog.get_by_label("Task id")).to_be_focused()
        await dialog.get_by_label("Task id").fill("i" * 5000)
        await dialog.get_by_label("Labels").fill("")
        await dialog.get_by_label("Metadata").fill("")
        await add.click()
        await expect(page.locator("#wrong-id")).not_to_be_empty()
        await expect(page.locator("#wrong-metadata")).to_be_empty()
        await expect(dialog.get_by_label("Task id")).to_have_value("i" * 5000)
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        assert (await site.api("GET", "v1/watches"))["items"] == []


async def test_an_added_watch_is_warned_of_as_what_it_is(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Endpoints are told of an id with a blank: nothing else is said of it than the warning."""
    async with daemon(tmp_path) as site:
        page = await visit(context, site, complaints)
        await page.get_by_role("button", name="Add a watch").click()
        dialog = page.get_by_role("dialog", name="Add a watch")
        await dialog.get_by_label("Task id").fill("clip 1")
        await dialog.get_by_label("Source").select_option("vidu")
        await dialog.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("#alerts p")).to_have_text(
            ["Warning: there is a blank in the id vidu/clip 1: is it one id?"]
        )


async def test_a_watch_is_removed(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """After a question; its row and its panel go, the daemon follows it no longer."""
    complaints.allowed = {404}  # the panel may look once more
    async with daemon(tmp_path) as site:
        await site.watch("clip-1")
        await site.watch("clip-2")
        page = await visit(context, site, complaints, view="#/watch/vidu/clip-1")
        await page.get_by_role("button", name="Remove").click()
        question = page.get_by_role("dialog", name="Remove the watch clip-1?")
        await question.get_by_role("button", name="Cancel").click()
        assert len((await site.api("GET", "v1/watches"))["items"]) == 2
        await page.get_by_role("button", name="Remove").click()
        await question.get_by_role("button", name="Remove").click()
        await expect(page.locator("#panel")).to_be_hidden()
        await expect(page.locator("#watch-rows a")).to_have_text(["clip-2"])
        assert [item["id"] for item in (await site.api("GET", "v1/watches"))["items"]] == ["clip-2"]


async def test_an_endpoint_is_disabled_enabled_and_tested(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Disabled only after a question; its deliveries wait until it is enabled; a test event shows its state."""
    async with daemon(tmp_path) as site:
        page = await visit(context, site, complaints, view="#/endpoints")
        app = page.locator("#endpoint-list > li", has=page.get_by_role("heading", name="app"))
        await expect(app).to_contain_text("No delivery was sent to it since the daemon started")
        await app.get_by_role("button", name="Disable app").click()
        question = page.get_by_role("dialog", name="Disable app?")
        await page.keyboard.press("Escape")
        await expect(question).to_be_hidden()
        assert (await site.api("GET", "v1/endpoints"))["items"][0]["state"] == "ok"
        await app.get_by_role("button", name="Disable app").click()
        await question.get_by_role("button", name="Disable").click()
        await expect(app).to_contain_text("disabled")
        await expect(page.locator("#to-endpoints")).to_contain_text("1 not sending")
        await site.watch("clip-1")
        site.simulator.push("clip-1", "success")
        await expect(app.locator(".numbers dd").first).to_have_text("1")
        assert site.listener.summary().received == 0
        await app.get_by_role("button", name="Enable app").click()
        await expect(app).to_contain_text("It accepts what is sent")
        await site.listener.wait(1)
        await expect(app.locator(".numbers dd").first).to_have_text("0")
        await expect(app).to_contain_text("Last success")
        await expect(app.locator(".where")).to_contain_text("webhook · http://127.0.0.1:")  # the stream leaves it out
        await app.get_by_role("button", name="Test app").click()
        await expect(app.locator(".result")).to_contain_text("Test: delivered · HTTP 200")
        assert site.listener.summary().types["notifier.test"] == 1


@pytest.mark.parametrize(("answer", "error"), [("500", " Last error"), ("blackhole", "")])
async def test_an_endpoint_that_accepted_nothing_yet(
    tmp_path: Path, context: BrowserContext, complaints: Complaints, answer: str, error: str
) -> None:
    """A test event is no delivery; one that failed is, and so is one that is under way."""
    async with daemon(tmp_path, respond=f"200,{answer}x99") as site:
        page = await visit(context, site, complaints, view="#/endpoints")
        told = page.locator("#endpoint-list > li", has=page.get_by_role("heading", name="app")).locator(".told")
        await page.get_by_role("button", name="Test app").click()
        await expect(page.locator(".result:visible")).to_contain_text("Test: delivered")
        await expect(told).to_have_text("No delivery was sent to it since the daemon started.")
        await site.watch("clip-1")
        site.simulator.push("clip-1", "success")
        await expect(told).to_contain_text(f"No delivery was accepted since the daemon started.{error}")


async def test_a_token_is_asked_for_and_kept_for_the_tab(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """A wrong one is said to be wrong; the right one, of any letters, outlives a reload, but not the tab."""
    complaints.allowed = {401}
    token = "s3cret-tökén-€"
    async with daemon(tmp_path, token=token) as site:
        await site.watch("clip-1")
        page = await context.new_page()
        complaints.watch(page, site.url)
        await page.goto(site.url)
        prompt = page.get_by_role("dialog", name="Token")
        await prompt.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(prompt).to_contain_text("That token was refused")
        await page.keyboard.press("Escape")
        await expect(page.locator("#connection")).to_contain_text("token needed")
        await page.get_by_role("button", name="Enter the token").click()
        await prompt.get_by_label("Token").fill(token)
        await page.keyboard.press("Enter")
        await expect(page.locator("#connection")).to_have_text("live")
        await expect(page.locator("#watch-rows a")).to_have_text(["clip-1"])
        await page.reload()
        await expect(page.locator("#connection")).to_have_text("live")
        assert await page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"
        await page.get_by_role("button", name="Forget token").click()
        await expect(prompt).to_be_visible()
        other = await context.new_page()
        await other.goto(site.url)
        await expect(other.get_by_role("dialog", name="Token")).to_be_visible()


async def test_names_are_text_whatever_they_hold(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """An id, a label, a state or metadata that is markup is shown as it is, and does nothing."""
    async with daemon(tmp_path) as site:
        await site.watch(HOSTILE, labels={HOSTILE: HOSTILE}, metadata={HOSTILE: HOSTILE})
        site.simulator.push(HOSTILE, HOSTILE)
        page = await visit(context, site, complaints)
        row = page.locator("#watch-rows tr")
        await expect(row.locator(".c-state")).to_have_text(HOSTILE)
        await expect(row.locator("a")).to_have_text(HOSTILE)
        await row.locator("a").click()
        await expect(page.locator("#panel-title")).to_have_text(HOSTILE)
        await expect(page.locator(".timeline li")).to_contain_text(HOSTILE)
        await expect(page.locator("#panel .chip")).to_contain_text(HOSTILE)
        assert await page.title() == f"{HOSTILE} · notifier"
        assert await page.locator("img, script:not([src])").count() == 0
