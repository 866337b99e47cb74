"""A reload never drops an open stream that is still wanted; a bad configuration changes nothing and says why."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import time

import psutil
import pytest
import standardwebhooks
from daemon_process import SECRET, SECRET_2, Daemon, Fields, Start, config, webhook
from receiver import Arrival, Receiver
from waits import PATIENCE, until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

STREAMS = 500
SOON = 5.0  # seconds for a reload of five hundred watches, on a busy machine
BY_HAND = Transcript(snapshots=())


async def reload(daemon: Daemon, how: str) -> None:
    """Reload, and return once that is done."""
    count = len(daemon.log.events("reload.done"))
    began = time.monotonic()
    if how == "SIGHUP":
        daemon.signal(signal.SIGHUP)
        await daemon.log.wait("reload.done", count + 1)
    elif how == "command":
        done = await daemon.run("reload", "-c", str(daemon.file))
        assert (done.code, done.out.splitlines()[0].partition(";")[0], done.err) == (0, "reloaded", "")
    else:
        status, answer = await daemon.post("/v1/reload")
        assert (status, answer["reloaded"]) == (200, True)
    assert time.monotonic() - began < SOON
    await daemon.log.wait("reload.done", count + 1)


def sockets(daemon: Daemon, sim: Simulator) -> set[int]:
    """Return the local ports of the daemon's connections to the upstream."""
    found = psutil.Process(daemon.pid).net_connections("tcp")
    return {c.laddr.port for c in found if c.raddr and c.raddr.port == sim.port and c.status == "ESTABLISHED"}


def signed_by(arrival: Arrival, secret: str) -> bool:
    """Return whether a secret made one of the signatures."""
    try:
        standardwebhooks.Webhook(secret).verify(arrival.body, arrival.headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


async def test_reload_keeps_five_hundred_streams(daemons: Start) -> None:
    """Ten come, ten go, secrets and URL change; the other connections are the same ones, and serve the new settings."""
    ids = [str(n) for n in range(STREAMS)]
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url + "/a")}, watches=ids)
        daemon = daemons(settings)
        await daemon.start()
        await sim.wait_open(STREAMS, timeout=PATIENCE)
        before = sockets(daemon, sim)
        assert len(before) == STREAMS

        kept, gone, new = ids[10:], ids[:10], [f"new-{n}" for n in range(10)]
        daemon.write(settings := settings | {"watches": kept + new})
        await reload(daemon, "SIGHUP")
        await sim.wait_for(
            lambda s: s.open_streams == STREAMS and all(n in s.tasks and s.tasks[n].streams for n in new)
        )
        await until(lambda: len(before & sockets(daemon, sim)) == STREAMS - 10, what="ten connections are closed")
        assert not any(sim.tasks[n].streams for n in gone)

        sim.push(kept[0], "queueing")
        [first] = await ears.wait(1)
        assert (signed_by(first, SECRET), signed_by(first, SECRET_2), first.path) == (True, False, "/a")

        settings["endpoints"]["app"]["secrets"] = [SECRET_2, SECRET]
        daemon.write(settings)
        await reload(daemon, "command")
        sim.push(kept[0], "processing")
        both = (await ears.wait(2))[1]
        assert len(both.headers["webhook-signature"].split()) == 2
        assert (signed_by(both, SECRET), signed_by(both, SECRET_2)) == (True, True)

        settings["endpoints"]["app"] |= {"secrets": [SECRET_2], "url": ears.url + "/b"}
        daemon.write(settings)
        await reload(daemon, "POST")
        sim.push(kept[0], "success")
        last = (await ears.wait(3))[2]
        assert (signed_by(last, SECRET), signed_by(last, SECRET_2), last.path) == (False, True, "/b")
        sim.push(new[0], "queueing")
        assert (await ears.wait(4))[3].path == "/b"
        sim.push(gone[0], "success")

        await sim.wait_open(STREAMS - 1)
        await until(lambda: len(before & sockets(daemon, sim)) == STREAMS - 11, what="one more is closed, no other")
        assert {sim.tasks[n].connections for n in kept + new} == {1}, "none was opened twice"
        assert sim.connects == STREAMS + 10
        assert await daemon.stop() == 0
        assert len(ears.arrivals) == 4, "a watch that was taken away tells nothing"


async def test_reload_of_the_same_changes_nothing(daemons: Start) -> None:
    """Many reloads at once, by every way, of an unchanged file: every stream and setting stays."""
    async with Simulator(transcript=BY_HAND) as sim, Listener(secrets=[SECRET]) as ears:
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1", "2"]))
        await daemon.start()
        await sim.wait_open(2)
        await asyncio.gather(*(reload(daemon, how) for how in ("SIGHUP", "POST", "command", "POST", "SIGHUP")))
        assert sim.connects == 2
        assert daemon.log.events("reload.done")[-1]["unchanged"] == 2
        sim.push("1", "success")
        await ears.wait(1)
        assert await daemon.stop() == 0


BROKEN = """\
sources:
  vidu:
    preset: vidu
    base_url: "{base_url}"
    max_streems: 5
endpoints:
  app:
    type: webhook
    url: {url}
    secrets: [whsec_c2hvcnQ=]
  chat: {{type: slack, url: "${{NO_SUCH_VARIABLE}}"}}
watches:
  - {{id: "3", source: vidoo}}
store: {{url: "sqlite:///./notifier.db"}}
http: {{listen: {listen}}}
shutdown_timeout: 10 parsecs
"""
PLACES = {  # of the five mistakes, and what has to be said of each
    (5, 5): "max_streams",
    (10, 15): "secrets",
    (11, 28): "NO_SUCH_VARIABLE",
    (13, 23): "vidu",
    (16, 19): "shutdown_timeout",
}


def check_problems(problems: list[str], daemon: Daemon) -> None:
    """See that all five mistakes are there, each with its place and what is wrong."""
    assert len(problems) == 5, problems
    for problem in problems:
        assert problem.startswith(f"{daemon.file}:"), problem
        line, column = (int(part) for part in problem.removeprefix(f"{daemon.file}:").split(":")[:2])
        assert PLACES[line, column] in problem, problem


async def served(sim: Simulator, ears: Listener, task: str, state: str) -> bool:
    """Return whether a change is still told."""
    count = ears.counts["received"]
    sim.push(task, state)
    return (await ears.wait(count + 1))[-1].state == state


async def test_bad_configuration_changes_nothing(daemons: Start) -> None:
    """Five mistakes are refused with all five, by every way of reloading; sources, endpoints and watches go on."""
    async with Simulator(transcript=BY_HAND) as sim, Listener(secrets=[SECRET]) as ears:
        endpoints = {"app": webhook(ears.url, events=["task.*", "notifier.reload_failed"])}
        settings = config(upstream=sim.base_url, endpoints=endpoints, watches=["1", "2"])
        daemon = daemons(settings)
        await daemon.start()
        await sim.wait_open(2)
        assert await daemon.metric("notifier_reload_success") == 1
        loaded = await daemon.metric("notifier_reload_timestamp_seconds")
        daemon.write(BROKEN.format(base_url=sim.base_url, url=ears.url, listen=settings["http"]["listen"]))

        status, told = await daemon.post("/v1/reload")
        assert status == 422
        check_problems(told["problems"], daemon)
        [failed] = await ears.wait(1)
        assert failed.type == "notifier.reload_failed"
        check_problems(failed.payload["data"]["problems"], daemon)
        assert await daemon.metric("notifier_reload_success") == 0
        assert await daemon.metric("notifier_reload_timestamp_seconds") == loaded
        assert await served(sim, ears, "1", "queueing")

        done = await daemon.run("reload", "-c", str(daemon.file))
        assert done.code == 78
        check_problems(done.lines[:-1], daemon)
        assert done.lines[-1] == "notifier: 5 problems in the configuration"
        await ears.wait(3)
        assert await served(sim, ears, "1", "processing")
        as_json = await daemon.run("reload", "--json", "-c", str(daemon.file))
        checked = await daemon.run("check", "--json", "-c", str(daemon.file))
        assert (as_json.code, as_json.err) == (checked.code, checked.err) == (78, "")
        assert json.loads(as_json.out) == json.loads(checked.out)
        assert len(json.loads(as_json.out)["problems"]) == 5
        await ears.wait(5)

        daemon.signal(signal.SIGHUP)
        check_problems((await daemon.log.wait("reload.refused", 4))["problems"], daemon)
        await ears.wait(6)
        assert await served(sim, ears, "2", "success")
        assert (await daemon.get("/readyz"))[0] == 200
        assert sim.connects == 2

        daemon.write(settings)
        await reload(daemon, "SIGHUP")
        assert await daemon.metric("notifier_reload_success") == 1
        assert await served(sim, ears, "1", "success")
        assert await daemon.stop() == 0


@pytest.mark.parametrize("change", ["url", "secret", "timeout", "removed"])
async def test_delivery_under_way_during_a_reload_ends_once(daemons: Start, change: str) -> None:
    """A delivery that is being sent while its endpoint changes is neither cancelled nor sent again."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url + "/old")}, watches=["1"])
        daemon = daemons(settings)
        await daemon.start()
        await sim.wait_open(1)
        ears.gate.clear()
        sim.push("1", "queueing")
        [slow] = await ears.wait(1)
        daemon.write(changed(settings, ears, change))
        await reload(daemon, "POST")
        sim.push("1", "success")
        ears.gate.set()
        await ears.wait_for(lambda r: slow.id in r.answered)
        settled = "SELECT status FROM deliveries WHERE sequence = 1"
        await until(lambda: daemon.rows(settled) == [("delivered",)], what="the slow delivery is settled")
        if change != "removed":
            states = [json.loads(arrival.body)["data"]["state"] for arrival in await ears.wait(2)]
            assert states == ["queueing", "success"]
            assert ears.arrivals[1].path == ("/new" if change == "url" else "/old")
        assert await daemon.stop() == 0
        assert [arrival.id for arrival in ears.arrivals].count(slow.id) == 1
        assert len(ears.arrivals) == (1 if change == "removed" else 2)


def changed(settings: Fields, ears: Receiver, change: str) -> Fields:
    """Return the settings with the endpoint changed."""
    after = copy.deepcopy(settings)
    after["endpoints"]["app"] |= {
        "url": {"url": ears.url + "/new"},
        "secret": {"secrets": [SECRET_2]},
        "timeout": {"timeout": "20s"},
        "removed": {},
    }[change]
    if change == "removed":
        after["endpoints"] = {}
    return after


async def test_reload_says_what_needs_a_restart(daemons: Start) -> None:
    """A reload that moves what cannot be moved while running takes the rest, and names the keys."""
    async with Simulator(transcript=BY_HAND) as sim, Listener(secrets=[SECRET]) as ears:
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"])
        daemon = daemons(settings)
        await daemon.start()
        moved = settings | {"store": {"url": "sqlite:///./other.db"}, "watches": ["1", "2"]}
        daemon.write(moved)
        await reload(daemon, "SIGHUP")
        assert (await daemon.log.wait("reload.needs_restart"))["keys"] == ["store.url"]
        await sim.wait_open(2)
        assert not (daemon.directory / "other.db").exists()
        assert await daemon.stop() == 0


async def test_source_change_reaches_what_waits(daemons: Start) -> None:
    """A new token after a refusal is tried at once, not after the backoff. Another upstream gets new streams."""
    async with Simulator(transcript=BY_HAND, token="right") as sim, Simulator(transcript=BY_HAND) as other:
        slow = {"token": "wrong", "backoff": {"initial": "1h", "max": "1h"}}
        settings = config(upstream=sim.base_url, endpoints={}, watches=["1"], vidu=slow)
        daemon = daemons(settings)
        await daemon.start()
        await daemon.log.wait("source.refused")
        settings["sources"]["vidu"]["token"] = "right"
        daemon.write(settings)
        await reload(daemon, "POST")
        await sim.wait_open(1)
        settings["sources"]["vidu"] |= {"base_url": other.base_url, "backoff": {"initial": "50ms", "max": "500ms"}}
        daemon.write(settings)
        await reload(daemon, "POST")
        await other.wait_open(1)
        await sim.wait_open(0)
        assert await daemon.stop() == 0


async def test_a_watch_file_that_cannot_be_read_keeps_its_watches(daemons: Start) -> None:
    """A pipe in its place refuses a reload, and streams stay open, and a start; once it is deleted, its watches go."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"])
        daemon = daemons(settings | {"watch_files": ["w.d/*.yaml"]})
        file = daemon.directory / "w.d/a.yaml"
        file.parent.mkdir()
        file.write_text('- "2"\n')
        await daemon.start()
        await sim.wait_open(2, timeout=PATIENCE)
        before = sockets(daemon, sim)
        file.unlink()
        os.mkfifo(file)
        for _ in range(2):
            done = await daemon.run("reload", "-c", str(daemon.file))
            assert done.code == 78, done.err
            assert "a.yaml: cannot be read: it is a named pipe, not a regular file" in done.err
        assert sockets(daemon, sim) == before
        assert await daemon.stop() == 0
        await daemon.launch()
        assert await daemon.ended() == 78
        assert daemon.rows("SELECT count(*) FROM watches") == [(2,)]
        file.unlink()
        file.write_text('- "2"\n')
        await daemon.start()
        assert not daemon.log.events("files.applied"), "nothing was removed, and nothing is new"
        await sim.wait_open(2, timeout=PATIENCE)
        file.unlink()
        await reload(daemon, "command")
        await sim.wait_open(1, timeout=PATIENCE)
        assert await daemon.stop() == 0


async def test_reloads_go_on_after_a_pipe_is_gone(daemons: Start) -> None:
    """A configuration that nobody writes to holds up its reload, and the ones behind it only while it is there."""
    async with Simulator(transcript=BY_HAND) as sim, Receiver() as ears:
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"])
        daemon = daemons(settings)
        await daemon.start()
        daemon.file.unlink()
        os.mkfifo(daemon.file)
        for _ in range(3):
            daemon.signal(signal.SIGHUP)
        done = asyncio.create_task(daemon.run("reload", "-c", str(daemon.file), "--url", daemon.url))

        def read() -> bool:
            try:
                os.close(os.open(daemon.file, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # ENXIO: it is not open for reading (fifo(7))
                return False
            return True

        await until(read, what="a reload reads the pipe")
        daemon.write(settings | {"watches": ["1", "2"]})
        assert (await done).code in (0, 78)  # 78: the reload that read the pipe, which was empty
        await sim.wait_open(2, timeout=PATIENCE)
        await reload(daemon, "command")
        assert await daemon.stop() == 0
