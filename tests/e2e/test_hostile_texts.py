"""An upstream and an endpoint send bytes that are no text; every change arrives, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import databases
import pytest
from aiohttp import web
from daemon_process import Start, config, webhook
from ports import free_port
from served import served
from waits import until

pytestmark = pytest.mark.unmeasured

SNAPSHOTS = (
    rb'{"state": "a\u0000b\ud800c", "err_code": "\u0000\udfff"}',
    b'{"state": "\xff\xfe"}',
    rb'{"state": "success", "err_code": "", "x\u0000": "\u0000"}',
)
STATES = ["a\ufffdb\ufffdc", "\ufffd\ufffd", "success"]


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Name a database of nobody else's."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'notifier.db'}"
        return
    with databases.empty_database() as url:
        yield url


class Neighbours:
    """The upstream and the endpoint."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.bodies: list[dict[str, object]] = []  # that were accepted
        self.refused = 0

    async def states(self, request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        for snapshot in SNAPSHOTS:
            await reply.write(b"data: " + snapshot + b"\n\n")
        await asyncio.sleep(3600)
        return reply

    async def callback(self, request: web.Request) -> web.Response:
        if not self.refused:
            self.refused += 1
            return web.Response(status=500, body=b"\0\xff\xed\xa0\x80")
        self.bodies.append(await request.json())
        return web.Response()


@pytest.fixture
async def neighbours() -> AsyncIterator[Neighbours]:
    made = Neighbours()
    app = web.Application()
    app.router.add_get("/vidu/v1/tasks/state", made.states)
    app.router.add_post("/hook", made.callback)
    async with served(app, port=int(made.url.rpartition(":")[2])):
        yield made


async def test_every_change_arrives(daemons: Start, neighbours: Neighbours, store_url: str) -> None:
    """NUL and halves of surrogate pairs are shown as U+FFFD; a start after it reports nothing again."""
    settings = config(
        upstream=neighbours.url,
        endpoints={"app": webhook(f"{neighbours.url}/hook")},
        watches=[{"id": "1", "metadata": {"a\0": "\0"}}],
        store={"url": store_url},
    )
    daemon = daemons(settings)
    await daemon.start("--migrate")
    await until(lambda: len(neighbours.bodies) >= 3, what="three callbacks")
    datas = [body["data"] for body in neighbours.bodies]
    assert [data["state"] for data in datas if isinstance(data, dict)] == STATES
    status, told = await daemon.get("/v1/watches/vidu/1")
    assert status == 200
    assert json.loads(told)["state"] == "success"
    for target in (
        "/v1/watches/vidu/%00",
        "/v1/watches?source=%00",
        "/v1/events?id=%00",
        "/v1/deliveries?endpoint=%00",
    ):
        assert (await daemon.get(target))[0] == 400, target
    assert (await daemon.get("/readyz"))[0] == 200
    assert await daemon.stop() == 0
    await daemon.start()
    assert await daemon.stop() == 0
    assert len(neighbours.bodies) == 3
    assert "Traceback" not in "\n".join(daemon.log.lines)
