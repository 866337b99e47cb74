"""Open watches whose source a reload removes: the reload and the status tell of them, and so does every start."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import databases
from clocks import clock_of
from daemon_process import Daemon, Start, config, webhook
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FOLLOWED = "nobody follows its open watches until the configuration names it again, or they are removed"
ATTENTION = """
  old: the configuration names no such source, so nobody follows 2 tasks; name it again and reload, or remove them
    notifier watch list -s old --open{options}
    notifier watch remove old/ID{options}
"""


def without_old(settings: dict[str, Any]) -> dict[str, Any]:
    """Remove the source `old`, and the watch of it that the file lists."""
    return settings | {"sources": {"vidu": settings["sources"]["vidu"]}, "watches": []}


def with_old(settings: dict[str, Any]) -> dict[str, Any]:
    """Add the source `old`."""
    vidu = settings["sources"]["vidu"]
    return settings | {"sources": {"vidu": vidu | {"default": True}, "old": vidu | {"default": False}}}


async def left(daemon: Daemon) -> Any:
    """Return what the status says of watches without a source."""
    return json.loads((await daemon.get("/v1/status"))[1])["without_source"]


async def test_a_reload_that_removes_a_source_tells_of_the_watches_left(daemons: Start) -> None:
    """Not of the file's, which it removes, nor of those that have ended; until the source is named again."""
    async with (
        Simulator(transcripts={"*": Transcript(snapshots=())}, keep_open=True) as upstream,
        Listener(secrets=[SECRET]) as receiver,
    ):
        plain = config(upstream=upstream.base_url, endpoints={"app": webhook(receiver.url)})
        settings = with_old(plain) | {"watches": [{"id": "of-file", "source": "old"}]}
        daemon = daemons(settings)
        await daemon.start()
        await daemon.post("/v1/watches", [{"id": name, "source": "old"} for name in ("1", "2", "ended")] + ["stays"])
        upstream.push("ended", "success")

        async def ended() -> bool:
            return bool(json.loads((await daemon.get("/v1/watches/old/ended"))[1])["ended"])

        await until(ended, "one of them has ended")
        assert await left(daemon) == {}

        daemon.write(without_old(settings))
        reloaded = await daemon.run("reload", "-c", "config.yaml")
        assert (reloaded.code, reloaded.err) == (
            0,
            f"warning: the source old is gone, with 2 open watches: {FOLLOWED}\n",
        )
        assert "removed: source old" in reloaded.out
        told = await daemon.log.wait("watch.no_source")
        assert (told["source"], told["watches"], told["hint"]) == ("old", 2, FOLLOWED)
        await points(daemon)

        status, answer = await daemon.post("/v1/reload")
        assert (status, answer["warnings"]) == (200, []), "nothing is new"
        assert len(daemon.log.events("watch.no_source")) == 1
        assert await daemon.stop() == 0

        await daemon.start()
        await points(daemon)
        [told] = daemon.log.events("watch.no_source")
        assert (told["source"], told["id"], told["hint"]) == ("old", "1", FOLLOWED), "the first of them"

        daemon.write(settings | {"watches": []})
        status, answer = await daemon.post("/v1/reload")
        assert (status, answer["warnings"]) == (200, [])
        assert await left(daemon) == {}
        upstream.push("1", "success")
        upstream.push("2", "success")

        async def both() -> bool:
            return len(json.loads((await daemon.get("/v1/watches?source=old&phase=succeeded"))[1])["items"]) == 3

        await until(both, "they are followed again")
        assert await daemon.stop() == 0


async def points(daemon: Daemon) -> None:
    """Check what status, watch show and the API say of them."""
    assert await left(daemon) == {"old": 2}
    status = await daemon.run("status", "-c", "config.yaml")
    assert status.out.startswith("ready, but 1 thing needs attention\n"), status.out
    assert ATTENTION.format(options=" -c config.yaml") in status.out
    shown = await daemon.run("watch", "show", "old/1", "-c", "config.yaml")
    assert "  stream  none: the configuration names no source old\n" in shown.out
    ended = await daemon.run("watch", "show", "old/ended", "-c", "config.yaml")
    assert "  stream  none: it has ended\n" in ended.out


async def test_what_another_node_can_follow_is_not_left_over(daemons: Start) -> None:
    """The last node whose reload removes the source tells of them; then every node does."""
    with databases.database() as database:
        async with (
            Simulator(transcripts={"*": Transcript(snapshots=())}, keep_open=True) as upstream,
            Listener(secrets=[SECRET], clock=clock_of(database)) as receiver,
        ):
            plain = config(upstream=upstream.base_url, endpoints={"app": webhook(receiver.url)})
            settings = with_old(plain) | {"store": {"url": database}}
            named = [settings | {"node": {"name": f"web-{n}", "timeout": "5s"}} for n in range(2)]
            for each, other in zip(named, (config(upstream="", endpoints={}) for _ in named), strict=True):
                each["http"] = other["http"]
            nodes = [daemons(each, name=f"n{number}") for number, each in enumerate(named)]
            await asyncio.gather(*(node.start() for node in nodes))
            await nodes[0].post("/v1/watches", [{"id": "1", "source": "old"}, {"id": "2", "source": "old"}])

            async def known() -> bool:
                told = [json.loads((await node.get("/v1/nodes"))[1])["items"] for node in nodes]
                return all(len(items) == 2 and all(item["http"] for item in items) for items in told)

            await until(known, "both nodes know of each other")
            nodes[0].write(without_old(nodes[0].settings))
            status, answer = await nodes[0].post("/v1/reload")
            assert (status, answer["warnings"]) == (200, []), "the other node has the source"
            assert await left(nodes[0]) == {}

            async def one_follows() -> bool:
                told = json.loads((await nodes[1].get("/v1/status"))[1])["sources"]
                return [each["following"] for each in told if each["name"] == "old"] == [2]

            await until(one_follows, "the other node follows both")
            for _ in range(2):  # the first may have been under way before the reload
                await heartbeat(of="web-0", heard_by=nodes[1])
            nodes[1].write(without_old(nodes[1].settings))
            status, answer = await nodes[1].post("/v1/reload")
            assert status == 200
            assert answer["warnings"] == [f"the source old is gone, with 2 open watches: {FOLLOWED}"]

            async def all_tell() -> bool:
                return [await left(node) for node in nodes] == [{"old": 2}] * 2

            await until(all_tell, "every node tells of them")
            await asyncio.gather(*(node.stop() for node in nodes))


async def heartbeat(*, of: str, heard_by: Daemon) -> None:
    """Wait until a node has heard of the next heartbeat of another one."""

    async def seen() -> Any:
        items = json.loads((await heard_by.get("/v1/nodes"))[1])["items"]
        return next(item["seen_at"] for item in items if item["name"] == of)

    before = await seen()

    async def newer() -> bool:
        return bool(await seen() != before)

    await until(newer, "it is heard of")
