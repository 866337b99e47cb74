"""Which URLs of a watch's own are taken, and which addresses they may reach: through API, store and loops."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from site_running import Site, running
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OWN = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
CALLBACKS = f'{{listen: "127.0.0.1:0"}}\ncallbacks: {{secret: {SECRET}, allow_http: true}}'


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running(tmp_path, http=CALLBACKS) as made:
        yield made


async def add(site: Site, **watch: Any) -> Any:
    return await site.post("/v1/watches", json.dumps({"id": "1"} | watch).encode(), content_type="application/json")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1/a", "its address is special"),
        ("http://[::ffff:127.0.0.1]/a", "write an IPv4 address as such"),
        ("http://2130706433/a", "an IP address must be written as"),
        ("http://0177.0.0.1/a", "an IP address must be written as"),
        ("http://0.0.0.0/a", "its address is special"),
        ("http://169.254.169.254/a", "its address is special"),
        ("http://100.64.0.1/a", "its address is special"),
        ("http://[64:ff9b::7f00:1]/a", "write an IPv4 address as such"),
        ("http://[2002:7f00:1::]/a", "its address is special"),
        ("http://localhost/a", "its address is special"),
        ("https://user:pass@example.com/a", "holds a user name or password"),
        ("ftp://example.com/a", "begins with https://"),
    ],
)
async def test_what_must_not_be_reached_is_refused(site: Site, url: str, said: str) -> None:
    reply = await add(site, callback_url=url)
    assert reply.problem(422)
    [problem] = reply.json["problems"]
    assert problem.startswith("callback_url: ")
    assert said in problem
    assert "pass" not in problem.removeprefix("callback_url: holds a user name or password")


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ({"callback_url": {"file": "/etc/hostname"}}, "callback_url: expected text"),
        (
            {"callback_url": "https://a.example", "callback_secret": {"file": "/etc/hostname"}},
            "callback_secret: expected",
        ),
        (
            {"callback_url": "https://a.example", "callback_secret": "s3cret-that-is-none"},
            "callback_secret: expected a secr",
        ),
        ({"callback_url": "https://a.example", "callback_secret": "whsec_c2hvcnQ="}, "callback_secret: "),
        (
            {"callback_url": "https://a.example", "callback_secret": OWN.replace("whsec", "whsk")},
            "callback_secret: exp",
        ),
        ({"callback_secret": OWN}, "callback_secret: needs a callback_url beside it"),
        ({"callback_url": 7}, "callback_url: expected text"),
        ({"callback_url": "https://a.example/" + "x" * 2048}, "callback_url: longer than 2048 characters"),
    ],
)
async def test_what_is_no_callback_is_refused(site: Site, watch: dict[str, Any], said: str) -> None:
    """The sender is a stranger: nothing refers to the daemon's files, and no problem repeats a secret."""
    reply = await add(site, **watch)
    assert reply.problem(422)
    assert reply.json["problems"][0].startswith(said)
    assert "s3cret" not in reply.body.decode()
    assert "c2hvcnQ" not in reply.body.decode()


class Names:
    """Answers for names under `test`, in place of name servers, with one address after another; the last for ever."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.answers: list[str] = []
        self.asked = 0

    def getaddrinfo(self, host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if not str(host).endswith(".test"):
            return self.real(host, port, *more, **named)
        address = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port, 0, 0) if ":" in address else (address, port))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The system's resolver cannot be pointed at a name server without rights over the machine, so it is replaced."""
    made = Names(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    return made


async def test_a_name_that_leads_elsewhere_the_next_time_is_not_followed(
    tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.2 stands for an allowed address: the vetted address is used, and vetted again with the next lookup.

    A proxy of the environment is not asked: it would look names up by itself.
    """
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("notifier.runtime.http1.names.KEPT", 0.0)  # each connection asks anew
    monkeypatch.setattr("notifier.senders.connections.KEEPALIVE", 0.0)  # and each callback has its own
    names.answers = ["127.0.0.2", "127.0.0.1"]
    tasks = {"1": parse_spec("success"), "2": parse_spec("success")}
    rules = CALLBACKS.replace("true}", "true, allow_networks: [127.0.0.2/32]}")
    async with (
        Simulator(transcripts=tasks) as sim,
        Listener(host="127.0.0.2", port=free_port(), secrets=[SECRET]) as allowed,
        Listener(port=allowed.port) as trap,
        running(tmp_path, http=rules, source=sim.base_url) as site,
    ):
        url = f"http://rebind.test:{allowed.port}/t0ken"
        assert (await add(site, callback_url=url, endpoints=[])).status == 201
        await until(lambda: delivered(site))
        assert (await add(site, callback_url=url, endpoints=[], id="2")).status == 201
        await until(lambda: failed(site))
        assert names.asked == 2
        assert trap.counts["received"] == 0
        assert (allowed.counts["received"], allowed.counts["verified"]) == (1, 1)


async def delivered(site: Site) -> bool:
    items = (await site.get("/v1/deliveries")).json["items"]
    return [item["status"] for item in items] == ["delivered"]


async def failed(site: Site) -> bool:
    items = (await site.get("/v1/deliveries?endpoint=callback&status=pending")).json["items"]
    return [item["reason"] for item in items] == ["forbidden_address"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a01:203",
        "0.0.0.0",
    ],
)
async def test_a_name_of_an_address_that_must_not_be_reached_leads_nowhere(
    tmp_path: Path, names: Names, address: str
) -> None:
    names.answers = [address]
    async with (
        Simulator(transcripts={"1": parse_spec("success")}) as sim,
        running(tmp_path, http=CALLBACKS, source=sim.base_url) as site,
    ):
        assert (await add(site, callback_url="http://inside.test/t0ken", endpoints=[])).status == 201
        await until(lambda: failed(site))
