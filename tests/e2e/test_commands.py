"""The commands that talk to a running daemon, against a real one."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from daemon_process import SECRET, Daemon, Start, config, webhook
from ports import free_port
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

TOKEN = "api-token-1"
ENDS = parse_spec("queueing,success")


async def with_dead(daemons: Start, sim: Simulator, ears: Listener) -> Daemon:
    """Start a daemon one of whose deliveries died at its second attempt, and the next one arrived."""
    endpoints = {"app": webhook(ears.url, retry_schedule=["0s", "50ms"])}
    settings = config(upstream=sim.base_url, endpoints=endpoints, watches=["job [1]"])
    settings["http"]["token"] = TOKEN
    daemon = daemons(settings)
    await daemon.start()
    await ears.wait(3)
    settled = "SELECT count(*) FROM deliveries WHERE status IN ('dead', 'delivered')"
    await until(lambda: daemon.rows(settled) == [(2,)], what="both are settled")
    return daemon


async def test_dead_delivery_is_found_and_retried(daemons: Start) -> None:
    """list names it, show tells every attempt, retry sends it again under the same id; another retry is refused."""
    async with Simulator(transcript=ENDS) as sim, Listener(secrets=[SECRET], respond="500x2,200") as ears:
        daemon = await with_dead(daemons, sim, ears)
        use = ("-c", str(daemon.file))

        found = await daemon.run("delivery", "list", "--status", "dead", "--json", *use)
        [item] = json.loads(found.out)["items"]
        assert (item["endpoint"], item["task"], item["sequence"], item["attempt"]) == ("app", "job [1]", 1, 2)
        assert item["reason"] == "http_500"
        table = await daemon.run("delivery", "list", *use, env={"COLUMNS": "200"})
        assert "job [1]" in table.out
        assert "dead" in table.out
        assert "delivered" in table.out

        shown = await daemon.run("delivery", "show", str(item["id"]), *use, env={"COLUMNS": "200"})
        assert shown.code == 0
        assert shown.out.count("the endpoint answered 500") == 2
        assert '"state": "queueing"' in shown.out
        shown = await daemon.run("delivery", "show", str(item["id"]), "--json", *use)
        assert [attempt["status"] for attempt in json.loads(shown.out)["attempts"]] == [500, 500]

        retried = await daemon.run("delivery", "retry", str(item["id"]), *use)
        assert (retried.code, retried.out) == (0, "1 delivery is sent again\n")
        again = (await ears.wait(4))[3]
        assert (again.id, again.sequence, again.verified) == (item["event_id"], 1, True)
        await until(lambda: daemon.rows("SELECT DISTINCT status FROM deliveries") == [("delivered",)], what="delivered")
        refused = await daemon.run("delivery", "retry", str(item["id"]), *use)
        assert (refused.code, len(refused.lines)) == (1, 1)
        assert "is delivered, not dead" in refused.err
        nothing = await daemon.run("delivery", "retry", "--endpoint", "app", *use)
        assert (nothing.code, nothing.out) == (0, "0 deliveries are sent again\n")
        unknown = await daemon.run("delivery", "retry", "--endpoint", "appp", *use)
        assert (unknown.code, unknown.lines) == (1, ["notifier: there is no endpoint appp; there is only app"])
        unknown = await daemon.run("delivery", "list", "--endpoint", "appp", *use)
        assert (unknown.code, unknown.lines) == (1, ["notifier: there is no endpoint appp; there is only app"])
        named = json.loads((await daemon.run("delivery", "list", "--watch", "vidu/job [1]", "--json", *use)).out)
        assert len(named["items"]) == 2
        other = await daemon.run("delivery", "list", "--watch", "vidu/job", *use)
        assert (other.code, other.out) == (0, "no deliveries\n")
        counted = await daemon.run("delivery", "retry", "--all", "--json", *use)
        assert json.loads(counted.out) == {"retried": 0}
        unknown = await daemon.run("delivery", "show", "999999", *use)
        assert (unknown.code, len(unknown.lines)) == (1, 1)
        assert await daemon.stop() == 0


async def test_endpoint_disabled_and_enabled(daemons: Start) -> None:
    """Deliveries to a disabled endpoint are kept, over a restart too, and are sent when it is enabled."""
    async with Simulator(transcript=parse_spec("queueing"), keep_open=True) as sim, Listener(secrets=[SECRET]) as ears:
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"]))
        await daemon.start()
        use = ("-c", str(daemon.file))
        await ears.wait(1)
        done = await daemon.run("endpoint", "disable", "app", *use)
        assert (done.code, done.out) == (0, "app is disabled\n")
        [state] = json.loads((await daemon.run("endpoint", "list", "--json", *use)).out)["items"]
        assert (state["name"], state["state"]) == ("app", "disabled")
        sim.push("1", "success")
        await until(lambda: daemon.rows("SELECT count(*) FROM events WHERE sequence = 2") == [(1,)], what="committed")
        assert await daemon.stop() == 0
        await daemon.start()
        assert "disabled" in (await daemon.run("endpoint", "list", *use)).out
        assert ears.counts["received"] == 1
        done = await daemon.run("endpoint", "enable", "app", *use)
        assert (done.code, done.out) == (0, "app is enabled\n")
        assert (await ears.wait(2))[1].state == "success"
        unknown = await daemon.run("endpoint", "enable", "nobody", *use)
        assert (unknown.code, unknown.lines) == (1, ["notifier: there is no endpoint nobody; there is only app"])
        assert await daemon.stop() == 0


async def test_status(daemons: Start) -> None:
    """The table and the JSON tell sources and endpoints."""
    async with Simulator(transcript=parse_spec("queueing"), keep_open=True) as sim, Listener(secrets=[SECRET]) as ears:
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1", "2"]))
        await daemon.start()
        await ears.wait(2)
        told = json.loads((await daemon.run("status", "--json", "-c", str(daemon.file))).out)
        assert (told["ready"], told["pid"]) == (True, daemon.pid)
        assert [(source["name"], source["open"]) for source in told["sources"]] == [("vidu", 2)]
        assert [(e["name"], e["state"]) for e in told["endpoints"]] == [("app", "ok")]
        table = await daemon.run("status", "-c", str(daemon.file))
        assert (table.code, table.err) == (0, "")
        assert "ready" in table.out
        assert "2 queued" in table.out
        listed = await daemon.run("source", "list", "-c", str(daemon.file))
        assert [line.split() for line in listed.out.splitlines()] == [
            ["source", "state", "following", "open", "waiting", "reason"],
            ["vidu", "ok", "2", "2", "0", "-"],
        ]
        page = json.loads((await daemon.run("source", "list", "--json", "-c", str(daemon.file))).out)
        [item] = page["items"]
        assert page["next"] is None
        assert (item["name"], item["state"], item["open"]) == ("vidu", "ok", 2)
        assert await daemon.stop() == 0


async def test_token(daemons: Start) -> None:
    """The token comes from -c, --token or the environment; a wrong one, or none, is said in a line."""
    settings = config(upstream="http://127.0.0.1:9", endpoints={})
    settings["http"]["token"] = TOKEN
    daemon = daemons(settings)
    await daemon.start()
    done = await asyncio.gather(
        daemon.run("status", "-c", str(daemon.file)),
        daemon.run("status", "--url", daemon.url, "--token", TOKEN),
        daemon.run("status", env={"NOTIFIER_URL": daemon.url, "NOTIFIER_TOKEN": TOKEN}),
        daemon.run("status", env={"NOTIFIER_CONFIG": str(daemon.file)}),
    )
    assert [run.code for run in done] == [0, 0, 0, 0]
    for wrong in (("--token", "wrong"), ()):
        refused = await daemon.run("status", "--url", daemon.url, *wrong)
        assert (refused.code, len(refused.lines)) == (1, 1), refused.err
        assert "bearer token" in refused.err
    foreign = daemon.directory / "foreign.yaml"
    foreign.write_text(f"http: {{listen: '{daemon.url.removeprefix('http://')}', token: {{credential: x}}}}")
    refused = await daemon.run("status", "-c", str(foreign))
    assert f"asks for its bearer token: --token or NOTIFIER_TOKEN, as {foreign} names none" in refused.err
    assert await daemon.stop() == 0


async def test_a_reload_tells_what_it_has_changed(daemons: Start) -> None:
    """Parts that were added, changed or removed, and keys that wait for a restart; or that there are none."""
    settings = config(upstream="http://127.0.0.1:9", endpoints={"app": webhook("http://127.0.0.1:9")}, watches=["1"])
    daemon = daemons(settings)
    await daemon.start()
    use = ("-c", str(daemon.file), "--url", daemon.url)
    assert (await daemon.run("reload", *use)).out == "reloaded; nothing has changed\n"
    settings["endpoints"] = {"ops": webhook("http://127.0.0.1:9")}
    settings["sources"]["vidu"]["idle_timeout"] = "30s"
    settings |= {"watches": ["2", "3"], "node": {"name": "another"}}
    daemon.write(settings)
    done = await daemon.run("reload", *use)
    assert (done.code, done.out.splitlines()) == (
        0,
        [
            "reloaded",
            "  watches of the files: 2 added, 1 removed",
            "  added: endpoint ops",
            "  changed: source vidu, node",
            "  removed: endpoint app",
            "  node has changed, which takes a restart: systemctl restart notifier",
        ],
    )
    answer = json.loads((await daemon.run("reload", "--json", *use)).out)
    assert (answer["reloaded"], answer["changed"], answer["needs_restart"]) == (True, [], ["node"])
    assert answer["watches"] == {"added": 0, "changed": 0, "removed": 0, "unchanged": 2}
    assert await daemon.stop() == 0


async def test_unix_socket(daemons: Start) -> None:
    """A daemon on a socket in the file system is found by -c and by --url; the socket goes with it, or is replaced."""
    settings = config(upstream="http://127.0.0.1:9", endpoints={})
    daemon = daemons(settings | {"http": {"listen": "unix:n.sock"}})
    path = daemon.directory / "n.sock"
    await daemon.start()
    assert path.stat().st_mode & 0o777 == 0o660
    for args in (("-c", str(daemon.file)), ("--url", "unix:n.sock")):
        assert (await daemon.run("reload", *args)).out == "reloaded; nothing has changed\n"
    await daemon.kill()
    assert path.exists()
    done = await daemon.run("status", "-c", str(daemon.file))
    assert (done.code, len(done.lines)) == (1, 1), done.err
    await daemon.start()
    assert (await daemon.run("status", "-c", str(daemon.file))).code == 0
    assert await daemon.stop() == 0
    assert not path.exists()


async def test_broken_file_still_finds_the_daemon(daemons: Start) -> None:
    """reload -c reads the section http alone: a broken file is refused by the daemon, not by the client."""
    daemon = daemons(settings := config(upstream="http://127.0.0.1:9", endpoints={}))
    settings["http"]["token"] = TOKEN
    daemon.write(settings)
    await daemon.start()
    listen = settings["http"]["listen"]
    daemon.write(f"http: {{listen: '{listen}', token: {TOKEN}}}\nsources: {{vidu: {{preset: nonsense}}}}\nfoo: 1\n")
    done = await daemon.run("reload", "-c", str(daemon.file))
    assert done.code == 78
    assert [line.partition(": ")[0] for line in done.lines] == [f"{daemon.file}:2:26", f"{daemon.file}:3:1", "notifier"]
    assert await daemon.stop() == 0


@pytest.mark.parametrize(
    "args",
    [
        ("status",),
        ("reload",),
        ("delivery", "list"),
        ("delivery", "show", "1"),
        ("delivery", "retry", "--all"),
        ("endpoint", "list"),
        ("endpoint", "enable", "app"),
    ],
    ids=" ".join,
)
async def test_no_daemon(daemons: Start, args: tuple[str, ...]) -> None:
    """Without a daemon: exit code 1, and one line that names the address and what to do."""
    daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}))
    url = f"http://127.0.0.1:{free_port()}"
    done = await daemon.run(*args, "--url", url)
    assert (done.code, done.out, len(done.lines)) == (1, "", 1), done.err
    assert url in done.err
    assert "is it running?" in done.err


async def test_not_the_daemon(daemons: Start) -> None:
    """Something else at the address, which answers what is no JSON: one line."""
    async with Simulator() as sim, Listener() as ears:
        daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}))
        for url in (sim.base_url, ears.base_url, "http://127.0.0.1:99999", "no-scheme"):
            done = await daemon.run("status", "--url", url)
            assert (done.code, done.out, len(done.lines)) == (2 if url == "no-scheme" else 1, "", 1), (url, done.err)
        done = await daemon.run("status", "--url", ears.base_url.replace("http:", "https:"))
        assert done.err.endswith("speaks no TLS: write http://\n")


async def test_interrupted_tools_end_well(daemons: Start) -> None:
    """simulate and listen end on SIGTERM with exit code 0; a port in use is one line."""
    async with Simulator() as sim:
        daemon = daemons(config(upstream="http://127.0.0.1:9", endpoints={}))
        for tool in ("simulate", "listen"):
            done = await daemon.run(tool, "--port", str(sim.port))
            assert (done.code, len(done.lines)) == (1, 1), done.err
    await daemon.start()
    daemon.signal(signal.SIGINT)
    assert await daemon.ended() == 0
