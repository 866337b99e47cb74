"""The page on several nodes: it shows all of them, live, whichever of them answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import databases
from clocks import clock_of
from daemon_rig import serving
from page_rig import SECRET, Complaints, Site, daemon, settings, visit, webhook, write
from playwright.async_api import BrowserContext, expect
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec


@asynccontextmanager
async def node(directory: Path, name: str, url: str, simulator: Simulator, listener: Listener) -> AsyncIterator[Site]:
    """Run one of the nodes on a PostgreSQL until the end of the block."""
    given = settings(simulator, {"app": webhook(listener.url)}, token=None, source={})
    given |= {"store": {"url": url}, "node": {"name": name, "timeout": "5s"}}
    async with serving(write(directory / f"{name}.yaml", given)) as app:
        yield Site(url=f"http://{app.address}", simulator=simulator, listener=listener, token=None)


async def test_all_nodes_are_shown_live(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """Each node's share, the node that answers, the node of a watch; and a node that leaves is gone."""
    with databases.database() as url:
        async with (
            Simulator(transcripts={"*": parse_spec("queueing")}, keep_open=True) as simulator,
            Listener(secrets=[SECRET], clock=clock_of(url)) as listener,
            AsyncExitStack() as stack,
        ):
            one = await stack.enter_async_context(node(tmp_path, "web-1", url, simulator, listener))
            async with node(tmp_path, "web-2", url, simulator, listener):
                await one.api("POST", "v1/watches", [{"id": f"t{number}", "source": "vidu"} for number in range(40)])

                async def shared() -> bool:
                    items = (await one.api("GET", "v1/nodes"))["items"]
                    return [item["streams"] for item in items if item["streams"]] != [] and (
                        sum(item["streams"] or 0 for item in items) == 40
                        and all(item["streams"] for item in items)
                        and len(items) == 2
                    )

                await until(shared)
                page = await visit(context, one, complaints)
                await expect(page.locator("#streams")).to_have_text("40")
                await expect(page.locator("#node")).to_contain_text("web-1, one of 2 nodes")
                await page.locator("#to-nodes").click()
                cards = page.locator("#node-list > li")
                await expect(cards).to_have_count(2)
                await expect(page.locator("#node-sum")).to_have_text("2 nodes share 40 watches.")
                await expect(cards.first).to_contain_text("answers this page")
                await expect(cards.nth(1).locator(".chip")).to_be_hidden()
                await expect(cards.nth(1).locator(".word")).to_have_text("alive")

                foreign = next(i for i in (await one.api("GET", "v1/watches"))["items"] if i["node"] == "web-2")
                await page.goto(f"{one.url}/#/watch/vidu/{foreign['id']}")
                facts = page.locator("#panel .facts")
                await expect(facts).to_contain_text("of web-2: only that node knows its state")
                await expect(page.locator("#watch-rows .off", has_text="no stream")).to_have_count(0)
                await page.clock.set_fixed_time("2100-01-01T00:00:00Z")  # the browser's clock may be any other
                await page.goto(f"{one.url}/#/nodes")
                await page.reload()
                await expect(cards).to_have_count(2)
                await expect(cards.nth(1)).to_contain_text("since")
                await expect(cards.nth(1)).not_to_contain_text("last heartbeat")
            await expect(cards).to_have_count(1)  # it has left
            await expect(page.locator("#node-sum")).to_have_text("1 node follows 40 watches.")
            await expect(page.locator("#to-nodes")).to_be_hidden()


async def test_one_node_has_no_view_of_nodes(tmp_path: Path, context: BrowserContext, complaints: Complaints) -> None:
    """It is shown at the top."""
    async with daemon(tmp_path) as site:
        page = await visit(context, site, complaints)
        await expect(page.locator("#total")).to_have_text("0")
        await expect(page.locator("#to-nodes")).to_be_hidden()
