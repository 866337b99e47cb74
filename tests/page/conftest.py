"""A browser for each test, which is closed after it; an error in the browser fails the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from helper_programs import require
from page_rig import Complaints
from playwright.async_api import Browser, BrowserContext, async_playwright

QUIET = (
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Start the system's Chromium."""
    chromium = require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield browser
        await browser.close()


@pytest.fixture
async def context(browser: Browser) -> BrowserContext:
    """Return a browser without a past."""
    return await browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Collect the errors in the browser; there must be none in the end."""
    kept = Complaints()
    yield kept
    assert kept.found == []
