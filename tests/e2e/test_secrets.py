"""The configuration's secrets appear in nothing that the daemon writes or answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from daemon_process import Daemon, Start, config, webhook
from ports import free_port
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator

pytestmark = pytest.mark.unmeasured

SIGNING = "whsec_" + "c2VjcmV0LXNpZ25pbmcta2V5LTAwMDEtYWJjZGVm"
SECRETS = {
    "source token": "tok-Zq81xWmP0",
    "api token": "api-7hGdKs92L",
    "signing secret": SIGNING.removeprefix("whsec_"),
    "slack path": "T0AAAAAAA/B0BBBBBBB/XyZ123secretpath",
    "header": "hdr-Pq0Lm3Nz",
    "URL password": "pw-Xc5Vb7Nm",
    "URL user": "usr-Kj2Hg4Fd",
    "query": "qry-Rt6Yu8Io",
    "path": "pth-Wd3Ef5Tg",
    "bad setting": "bad-Mn4Bv6Cx",
}


def settings(sim: Simulator, ears: Listener, down: int) -> dict[str, Any]:
    """Make a configuration full of secrets, half of whose endpoints fail, each in a way of its own."""
    userinfo = f"{SECRETS['URL user']}:{SECRETS['URL password']}@"
    tail = f"/{SECRETS['path']}?key={SECRETS['query']}&plain={SECRETS['query']}"
    headers = {"X-Api-Key": SECRETS["header"], "Authorization": f"Bearer {SECRETS['header']}"}

    def endpoint(host: str, kind: str, **more: Any) -> dict[str, Any]:
        return webhook(f"http://{userinfo}{host}/{kind}{tail}", SIGNING, retry_schedule=["0s", "50ms"], **more)

    here = f"127.0.0.1:{ears.port}"
    kinds = ("ok", "redirect", "500", "reset", "drop", "429", "gone")
    endpoints = {f"e-{kind}": endpoint(here, kind) for kind in kinds}
    endpoints["e-echo"] = webhook(f"http://{here}/echo{tail}", SIGNING, headers=headers, retry_schedule=["0s"])
    endpoints["ok-headers"] = webhook(f"http://{here}/ok{tail}", SIGNING, headers=headers)
    endpoints["e-500-headers"] = webhook(f"http://{here}/500{tail}", SIGNING, headers=headers, retry_schedule=["0s"])
    endpoints["down"] = endpoint(f"127.0.0.1:{down}", "down")
    endpoints["no-host"] = endpoint("no-such-host.invalid", "x")
    endpoints["black-hole"] = endpoint(here, "hole", timeout="300ms")
    endpoints["no-tls"] = endpoint(here, "tls") | {"url": f"https://{userinfo}{here}{tail}"}
    for name, status in (("slack", "slack/ok"), ("slack-dead", "slack/404")):
        url = f"http://{here}/{status}/services/{SECRETS['slack path']}"
        endpoints[name] = {"type": "slack", "url": url, "retry_schedule": ["0s", "50ms"], "rate_limit": None}
    made = config(
        upstream=sim.base_url,
        endpoints=endpoints,
        watches=["1", "2", {"id": "unknown-1"}],
        vidu={"token": SECRETS["source token"], "not_found_grace": "200ms"},
        log={"format": "json", "level": "debug"},
        shutdown_timeout="1s",
    )
    made["http"]["token"] = SECRETS["api token"]
    refused = {"token": SECRETS["source token"] + "-wrong", "give_up_after": "500ms"}
    made["sources"]["refused"] = made["sources"]["vidu"] | refused
    in_url = {"headers": {"Authorization": None}}
    made["sources"]["down"] = made["sources"]["vidu"] | {"base_url": f"http://{userinfo}127.0.0.1:{down}"} | in_url
    for name in ("page", "stateless"):
        url = f"{sim.base_url}/vidu/v1/tasks/state?key={SECRETS['query']}&id={name}-{{id}}"
        made["sources"][name] = made["sources"]["vidu"] | {"url": url}
    made["watches"] = [{"id": "1", "source": name} for name in made["sources"]]
    made["watches"].append({"id": "unknown-1", "source": "vidu"})
    return made


ANSWERS = [
    "/echo*=500:the key is " + SECRETS["query"] + " and " + SECRETS["header"] + ", it signs with " + SIGNING,
    "/redirect*=302:http://" + SECRETS["URL user"] + ":" + SECRETS["URL password"] + "@x/" + SECRETS["path"] + "?a=1",
    "/500*=500",
    "/reset*=reset",
    "/drop*=drop",
    "/429*=429:0.1",
    "/gone*=410",
    "/hole*=blackhole",
    "/slack/404*=404:no_service",
    "/slack/ok*=200",
    "200",
]

KINDS = (  # of what the log has to tell before it is looked through
    *("delivery.dead", "delivery.retrying", "endpoint.disabled", "endpoint.state", "watch.lost"),
    *("source.refused", "source.unavailable", "source.unreadable"),
)

BAD_RELOADS = (
    {"sources": {"vidu": {"preset": "vidu", "tokn": SECRETS["bad setting"]}}},
    {"http": {"token": [SECRETS["bad setting"]]}},
    {"http": {"listen": "0.0.0.0:1", "tokem": SECRETS["bad setting"]}},
    {"endpoints": {"a": {"type": "webhook", "url": "ftp://h/" + SECRETS["bad setting"], "secrets": [SIGNING[:-9]]}}},
    {"endpoints": {"a": {"type": "webhook", "url": "http://h", "secrets": ["whsec_" + SECRETS["bad setting"]]}}},
    {"endpoints": {"a": {"type": "slack", "url": {"file": "nowhere"}, "headers": {"a b": SECRETS["bad setting"]}}}},
    {"endpoints": {"a": {"type": "slack", "url": "http://h:99999/" + SECRETS["bad setting"]}}},
    {"store": {"url": "postgresql://u:" + SECRETS["bad setting"] + "/x@h/db"}},
    {"store": {"url": "mysql://u:" + SECRETS["bad setting"] + "@h/db"}},
)


async def test_no_secret_is_told(daemons: Start) -> None:
    """Through faults of each kind, no secret reaches log, metrics, status, lists, commands' output or database."""
    down = free_port()
    async with Simulator(token=SECRETS["source token"]) as sim, Listener(secrets=[SIGNING], respond=ANSWERS) as ears:
        sim.fault("page-*", "html")
        sim.push("stateless-1", {"progress": 7})
        daemon = daemons(made := settings(sim, ears, down))
        await daemon.start()
        told = "SELECT count(*) FROM events WHERE type IN ('task.succeeded', 'watch.lost')"
        await until(lambda: daemon.rows(told)[0][0] >= 3, what="a success, a lost one, a refused one")
        for kind in KINDS:
            await daemon.log.wait(kind)
        await until(lambda: tried(daemon) >= set(made["endpoints"]), what="every endpoint was tried")
        said = await everything_said(daemon)
        for settings_ in BAD_RELOADS:
            daemon.write(made | settings_)
            said += await refusals(daemon)
        assert await daemon.stop() == 0
        said += daemon.log.lines
        said += [path.read_bytes().decode("latin-1") for path in daemon.directory.glob("notifier.db*")]
    check_secrets(said)


def tried(daemon: Daemon) -> set[str]:
    """Return the endpoints that something was sent to."""
    rows = daemon.rows("SELECT DISTINCT d.endpoint FROM attempts a JOIN deliveries d ON d.id = a.delivery")
    return {str(name) for (name,) in rows}


async def everything_said(daemon: Daemon) -> list[str]:
    """Return all that the daemon answers, to programs and to people."""
    bearer = {"Authorization": f"Bearer {SECRETS['api token']}"}
    said = []
    for path in ("/metrics", "/readyz", "/v1/status", "/v1/endpoints", "/v1/deliveries?limit=1000", "/v1/deliveries/x"):
        said.append((await daemon.get(path, **bearer))[1])
        said.append((await daemon.get(path, Authorization="Bearer wrong"))[1])
    for (number,) in daemon.rows("SELECT id FROM deliveries"):
        said.append((await daemon.get(f"/v1/deliveries/{number}", **bearer))[1])
    use = ("-c", str(daemon.file))
    commands = [("check",), ("status",), ("status", "--json"), ("delivery", "list"), ("endpoint", "list")]
    runs = await asyncio.gather(*(daemon.run(*args, *use) for args in commands))
    for done in runs:
        assert done.code == 0, done.err
        said += [done.out, done.err]
    wrong = await daemon.run("status", "--url", daemon.url, "--token", SECRETS["bad setting"])
    assert wrong.code == 1
    return [*said, wrong.out, wrong.err]


async def refusals(daemon: Daemon) -> list[str]:
    """Have the configuration refused, and return what is said of it."""
    bearer = {"Authorization": f"Bearer {SECRETS['api token']}"}
    status, told = await daemon.post("/v1/reload", **bearer)
    assert status == 422, told
    checked = await daemon.run("check", "-c", str(daemon.file))
    assert checked.code == 78
    return [str(told), checked.out, checked.err]


def check_secrets(said: list[str]) -> None:
    """See that none of it holds a secret."""
    for what, secret in SECRETS.items():
        found = [text[max(0, text.index(secret) - 300) :][:600] for text in said if secret in text]
        assert not found, f"{what} in: {found[0]}"
