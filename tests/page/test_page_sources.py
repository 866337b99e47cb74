"""The page's sources: the number of watches of each, and its troubles in words."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from page_rig import Complaints, daemon, visit
from playwright.async_api import BrowserContext, expect

from notifier.tools.transcript import snapshot


async def test_a_source_tells_what_ails_it(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """A snapshot without a state and a state in no list; the tab counts sources in trouble; all is well again after."""
    async with daemon(tmp_path, source={"backoff": {"initial": "50ms", "max": "200ms"}}) as site:
        page = await visit(context, site, complaints)
        badge, cards = page.locator("#n-sources"), page.locator("#source-list > li")
        await page.get_by_role("link", name="Sources").click()
        await expect(cards).to_have_count(2)
        vidu = cards.filter(has=page.get_by_role("heading", name="vidu"))
        await expect(vidu.locator(".word")).to_have_text("ok")
        for task in ("clip-1", "clip-2"):
            await site.watch(task)
        site.simulator.push("clip-1", b'{"status": "PAUSED"}')
        site.simulator.push("clip-2", snapshot("PAUSED"))
        await expect(vidu.locator(".word")).to_have_text("failing")
        await expect(vidu.locator(".told")).to_contain_text("1 watch cannot be read: ")
        await expect(vidu.locator(".told")).to_contain_text('it sent {"status": "PAUSED"}')
        await expect(vidu.locator(".told")).to_contain_text("The state “PAUSED” is in no list")
        await expect(vidu.locator(".numbers dd").first).to_have_text("2")
        await expect(badge).to_contain_text("1 in trouble")
        for number in (0, 1, 3):  # followed, streams, in trouble
            link = vidu.locator(".numbers dd").nth(number).get_by_role("link")
            await expect(link).to_have_attribute("href", "#/watches?source=vidu&ended=false")
        if folder := os.environ.get("SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / "sources.png")
        site.simulator.push("clip-1", "success")
        await expect(vidu.locator(".word")).to_have_text("ok")
        await expect(badge).not_to_contain_text("in trouble")


async def test_watches_that_were_given_up_are_told_until_they_are_removed(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """On the tab of watches, and in words at their source."""
    async with daemon(tmp_path, source={"not_found_grace": "0s"}) as site:
        page = await visit(context, site, complaints)
        await expect(page.locator("#n-lost")).to_be_hidden()
        await site.watch("unknown-1")
        await expect(page.locator("#n-lost")).to_have_text("1 lost")
        await page.get_by_role("link", name="Sources").click()
        vidu = page.locator("#source-list > li").filter(has=page.get_by_role("heading", name="vidu"))
        told = "1 watch was given up in the last 24 hours (1 not found). One that is removed counts no longer."
        await expect(vidu.locator(".told")).to_have_text(told)
        await site.api("DELETE", "v1/watches/vidu/unknown-1")
        await expect(page.locator("#n-lost")).to_be_hidden()
        await expect(vidu.locator(".told")).to_be_hidden()


async def test_a_source_that_only_watches_name_is_told(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """A reload has removed it; the tab counts it, and it leads to its watches; no longer once they are removed."""
    async with daemon(tmp_path) as site:
        await site.api("POST", "v1/watches", {"id": "clip-1", "source": "other"})
        path = tmp_path / "config.yaml"
        given = yaml.safe_load(path.read_text())
        del given["sources"]["other"]
        path.write_text(yaml.safe_dump(given))
        await site.api("POST", "v1/reload")
        page = await visit(context, site, complaints)
        await expect(page.locator("#n-sources")).to_contain_text("1 in trouble")
        await page.get_by_role("link", name="Sources").click()
        other = page.locator("#source-list > li").filter(has=page.get_by_role("heading", name="other"))
        await expect(other.locator(".word")).to_have_text("not configured")
        told = "The configuration names no such source, so nobody follows 1 open watch."
        await expect(other.locator(".told")).to_have_text(f"{told} Name it again and reload, or remove them.")
        await other.get_by_role("link", name="Its watches").click()
        await page.get_by_text("clip-1").click()
        await expect(page.get_by_text("not open: the configuration names no source other")).to_be_visible()
        await site.api("DELETE", "v1/watches/other/clip-1")
        await page.get_by_role("link", name="Sources").click()
        await expect(other).to_have_count(0)
        await expect(page.locator("#n-sources")).not_to_contain_text("in trouble")


async def test_many_tasks_are_added_at_once_to_chosen_endpoints(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """One id a line; one that is known is told apart; one that nobody hears of is said so."""
    async with daemon(tmp_path) as site:
        page = await visit(context, site, complaints)
        await page.get_by_role("button", name="Add a watch").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Task ids").fill("clip-1\n\n clip-2 \nclip-3")
        await dialog.get_by_label("Source").select_option("vidu")
        await dialog.get_by_label("Endpoints").select_option("spare")
        await dialog.get_by_role("button", name="Add").click()
        await expect(page.get_by_text("3 watches were added.")).to_be_visible()
        await expect(page.locator("#n-watches")).to_have_text("3")
        shown = await site.api("GET", "v1/watches/vidu/clip-2")
        assert (shown["endpoints"], shown["receivers"]) == (["spare"], ["spare"])
        await page.get_by_role("button", name="Add a watch").click()
        await dialog.get_by_label("Task ids").fill("clip-3")
        await dialog.get_by_label("Source").select_option("vidu")
        await dialog.get_by_role("button", name="Add").click()
        await expect(page.get_by_text("The watch clip-3 is followed already.")).to_be_visible()
