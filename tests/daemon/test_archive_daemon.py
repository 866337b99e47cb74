"""A daemon that keeps results: the completion carries both URLs, or a reason, and is told in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiohttp import ClientSession, web
from daemon_rig import serving
from parts import SECRET, data, transcript
from served import served

from notifier.cli.status import attention
from notifier.cli.timeline import lines
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator

TEXT = """
sources: {{vidu: {{preset: vidu, base_url: "{upstream}", token: t, paths: {{result: url}}}}}}
endpoints: {{app: {{type: webhook, url: "{app}", secrets: [{secret}]}}}}
watches: ["1"]
archive: {{to: "file://{directory}/kept results", timeout: {timeout}, allow_http: true, allow_networks: [127.0.0.0/8]}}
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0"}}
shutdown_timeout: 5s
"""


class Cdn:
    """A server of results that can be held."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.url = ""

    async def serve(self, _: web.Request) -> web.Response:
        self.asked.set()
        await self.open.wait()
        return web.Response(body=b"film")


@asynccontextmanager
async def serving_results() -> AsyncIterator[Cdn]:
    cdn = Cdn()
    app = web.Application()
    app.router.add_get("/{path:.*}", cdn.serve)
    async with served(app, handler_cancellation=True) as url:
        cdn.url = f"{url}/film.mp4?sig=1"
        yield cdn


def write(directory: Path, sim: Simulator, app: Listener, timeout: str = "60s") -> Path:
    path = directory / "config.yaml"
    path.write_text(
        TEXT.format(directory=directory, upstream=sim.base_url, app=app.url, secret=SECRET, timeout=timeout)
    )
    return path


def content(url: str) -> bytes:
    return Path(unquote(urlsplit(url).path)).read_bytes()


async def test_a_completion_waits_for_its_results(tmp_path: Path) -> None:
    """A daemon that stops meanwhile tells it after its next start; the file is there when it is told."""
    async with (
        Simulator(transcript=transcript("queueing"), keep_open=True) as sim,
        Listener(secrets=[SECRET]) as app,
        serving_results() as cdn,
    ):
        path = write(tmp_path, sim, app)
        async with serving(path):
            await app.wait(1)
            sim.push("1", {"state": "success", "url": cdn.url})
            await cdn.asked.wait()
        assert len(app.callbacks) == 1
        cdn.open.set()
        async with serving(path):
            _, done = await app.wait(2)
    result = data(done)["result"]
    assert result["urls"] == [cdn.url]
    [kept] = result["archived"]
    assert (kept["bytes"], kept["reason"]) == (4, None)
    assert content(kept["url"]) == b"film"


async def test_a_directory_that_takes_nothing_needs_attention(tmp_path: Path) -> None:
    """With the reason; the timeline says so beside the result."""
    (tmp_path / "kept results").write_text("a file in the way")
    async with (
        Simulator(transcript=transcript("queueing"), keep_open=True) as sim,
        Listener(secrets=[SECRET]) as app,
        serving_results() as cdn,
    ):
        cdn.open.set()
        async with serving(write(tmp_path, sim, app)) as daemon, ClientSession() as client:
            await app.wait(1)
            sim.push("1", {"state": "success", "url": cdn.url})
            await app.wait(2)
            async with client.get(f"http://{daemon.address}/v1/status") as reply:
                [(what, _)] = attention(await reply.json(), "")
            async with client.get(f"http://{daemon.address}/v1/watches/vidu/1") as reply:
                told = [line.plain.strip() for line in lines(await reply.json(), {})]
    why = "its directory cannot be created: not a directory"
    assert what == f"results are not kept: {why}"
    assert told[told.index(f"result: {cdn.url}") + 1] == f"not kept: {why}"


async def test_a_result_that_does_not_come_holds_nothing_up(tmp_path: Path) -> None:
    """After the timeout the completion goes out, with the reason; a reload without the archive changes nothing."""
    async with (
        Simulator(transcript=transcript("queueing"), keep_open=True) as sim,
        Listener(secrets=[SECRET]) as app,
        serving_results() as cdn,
    ):
        path = write(tmp_path, sim, app, "1s")
        async with serving(path) as daemon:
            await app.wait(1)
            sim.push("1", {"state": "success", "url": cdn.url})
            await cdn.asked.wait()
            path.write_text(path.read_text().replace("archive:", "#"))
            assert daemon.parts is not None
            await daemon.parts.reloader.reload()
            _, done = await app.wait(2)
    assert data(done)["result"]["archived"] == [{"url": None, "bytes": None, "reason": "not fetched within 1 s"}]
