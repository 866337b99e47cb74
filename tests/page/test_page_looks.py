"""Everybody can read and use the page: contrast, names of controls, the keyboard, small screens, little motion."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_rig import Complaints, daemon, visit
from playwright.async_api import Browser, BrowserContext, Page, expect

from notifier.web.page.page import PARTS

TEXTS = ("ink", "muted", "accent", "good", "bad", "warn")
GROUNDS = ("ground", "surface", "raised", "accent-soft")

# The name that a screen reader would read for every control on the page, as far as a script can tell.
NAMELESS = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
  .filter((node) => !(
    node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.[0]?.textContent.trim()
  )).map((node) => node.outerHTML.slice(0, 200))"""

STRUCTURE = """() => {
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  const refs = [...document.querySelectorAll("[aria-labelledby], [aria-describedby]")]
    .flatMap((node) => [node.getAttribute("aria-labelledby"), node.getAttribute("aria-describedby")])
    .filter(Boolean).flatMap((text) => text.split(" "));
  return {
    twice: ids.filter((id, at) => ids.indexOf(id) !== at),
    dangling: refs.filter((id) => document.getElementById(id) === null),
    main: document.querySelectorAll("main").length,
    h1: document.querySelectorAll("h1").length,
    named: [...document.querySelectorAll("nav, section, aside, dialog, [role=search]")].every(
      (node) => node.hasAttribute("aria-label") || node.hasAttribute("aria-labelledby")),
    headers: [...document.querySelectorAll("th")].every((node) => node.scope === "col" && node.textContent.trim()),
    images: [...document.querySelectorAll("svg:not([aria-hidden=true])")].every(
      (node) => node.getAttribute("role") === "img" && node.getAttribute("aria-label")),
  };
}"""


def themes() -> dict[str, dict[str, str]]:
    """Return the colours of each theme by name."""
    css = PARTS["theme.css"].body.decode()
    blocks = re.findall(r"(:root[^{]*)\{([^}]*)\}", css)
    read = [(head.strip(), dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", body))) for head, body in blocks]
    assert len(read) == 3
    return dict(read)


def contrast(one: str, other: str) -> float:
    """Compute the contrast of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_specified() -> None:
    """Black on white has 21, a colour on itself 1."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#1d5fc4", "#1d5fc4") == pytest.approx(1)


def test_every_text_can_be_read_in_every_theme() -> None:
    """4.5 for text on each background that it stands on, 3 for the edges of controls (WCAG 2.2, 1.4.3 and 1.4.11)."""
    for name, colours in themes().items():
        pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
        pairs += [("on-accent", "accent"), ("surface", "bad"), ("surface", "warn")]
        low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
        assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}, name
        assert contrast(colours["control-edge"], colours["surface"]) >= 3, name


def test_the_dark_theme_is_the_same_chosen_or_by_preference() -> None:
    """It stands twice in the file, as CSS has no way to say it once."""
    _light, chosen, preferred = themes().values()
    assert chosen == preferred


async def test_every_control_has_a_name(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """In every view, with the panel open; and landmarks, headers and references are in order."""
    async with daemon(tmp_path, respond="500") as site:
        await site.watch("clip-1", labels={"team": "video"}, metadata={"order": 7})
        site.simulator.push("clip-1", "success")
        await site.status("dead")
        page = await visit(context, site, complaints)
        for view, there in (
            ("#/watches", "#watch-rows tr"),
            ("#/sources", "#source-list > li"),
            ("#/endpoints", "#endpoint-list > li"),
            ("#/deliveries?last=between", "#outbox-rows tr"),
            ("#/watch/vidu/clip-1", ".timeline details"),
        ):
            await page.evaluate("view => { location.hash = view; }", view)
            await expect(page.locator(there).first).to_be_visible()
            assert await page.evaluate(NAMELESS) == []
            found = await page.evaluate(STRUCTURE)
            assert found == {
                "twice": [], "dangling": [], "main": 1, "h1": 1, "named": True, "headers": True, "images": True,
            }  # fmt: skip


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
async def test_nothing_is_wider_than_the_screen(
    tmp_path: Path, browser: Browser, complaints: Complaints, width: int
) -> None:
    """In every view, from 320 px up, also with an id of 200 letters."""
    async with daemon(tmp_path, respond="500") as site:
        name = "x" * 200
        await site.watch(name, labels={"a-label-of-some-length": "v" * 90}, metadata={"k": "v" * 300})
        site.simulator.push(name, "success")
        await site.status("dead")
        context = await browser.new_context(viewport={"width": width, "height": 700}, reduced_motion="reduce")
        page = await visit(context, site, complaints)
        for view in ("#/watches", "#/endpoints", "#/deliveries?last=between", f"#/watch/vidu/{name}", "#/delivery/1"):
            await page.evaluate("view => { location.hash = view; }", view)
            await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 150)))")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, view
            assert await page.evaluate("document.querySelector('#panel').scrollWidth") <= width, view


async def test_the_theme_follows_the_system_until_one_is_chosen(
    tmp_path: Path, browser: Browser, complaints: Complaints
) -> None:
    """The choice is kept over a reload, and the button names its effect."""
    async with daemon(tmp_path) as site:
        context = await browser.new_context(color_scheme="dark")
        page = await visit(context, site, complaints)
        assert await ground(page) == "rgb(14, 17, 22)"
        await page.get_by_role("button", name="Use the light theme").click()
        assert await ground(page) == "rgb(245, 246, 248)"
        await page.reload()
        assert await ground(page) == "rgb(245, 246, 248)"
        await expect(page.get_by_role("button", name="Use the dark theme")).to_be_visible()


async def ground(page: Page) -> str:
    """Return the page's background."""
    colour: str = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


async def test_nothing_moves_for_who_wants_no_motion(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """Neither an animation nor a transition is left, with the panel open."""
    async with daemon(tmp_path) as site:
        await site.watch("clip-1")
        page = await visit(context, site, complaints, view="#/watch/vidu/clip-1")
        await expect(page.locator("#panel")).to_be_visible()
        moving = """() => [...document.querySelectorAll("*")].map(getComputedStyle).filter((style) =>
            style.animationName !== "none" || style.transitionDuration.split(", ").some((t) => t !== "0s")).length"""
        assert await page.evaluate(moving) == 0


async def test_everything_can_be_done_by_keyboard(
    tmp_path: Path, context: BrowserContext, complaints: Complaints
) -> None:
    """`/` finds, arrows go through the rows, Enter opens, Esc closes and gives the focus back, Tab is never caught."""
    async with daemon(tmp_path) as site:
        for task in ("clip-1", "clip-2", "clip-3"):
            await site.watch(task)
        page = await visit(context, site, complaints)
        await expect(page.locator("#watch-rows tr")).to_have_count(3)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("/")
        await expect(page.locator("#q")).to_be_focused()
        await page.keyboard.type("clip/")  # a slash in a field is a slash
        await expect(page.locator("#q")).to_have_value("clip/")
        await page.keyboard.press("Backspace")
        await page.locator("#watch-rows a").first.focus()
        await page.keyboard.press("ArrowDown")
        await expect(page.get_by_role("link", name="clip-2")).to_be_focused()
        outline = await page.evaluate("getComputedStyle(document.activeElement.closest('tr')).outlineStyle")
        assert outline == "solid"
        await page.keyboard.press("Enter")
        await expect(page.locator("#panel-title")).to_be_focused()
        await expect(page.locator("#panel-title")).to_have_text("clip-2")
        await page.keyboard.press("Escape")
        await expect(page.locator("#panel")).to_be_hidden()
        await expect(page.get_by_role("link", name="clip-2")).to_be_focused()
        seen = set()
        for _ in range(60):  # round all controls, into the browser's own and back
            await page.keyboard.press("Tab")
            seen.add(await page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert {"theme", "to-watches", "to-deliveries", "add", "q", "clip-1", "clip-3"} <= seen
