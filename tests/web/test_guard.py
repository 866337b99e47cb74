"""Access to the listener: the token, Host and Origin, and the sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from site_running import running

from notifier.config import Config, ConfigInForce
from notifier.web.api import Api
from notifier.web.guard import Guard
from notifier.web.listener import HttpListener, ListenFailed
from notifier.web.server import application

TOKEN = "s3cret-tökén"
WITH_TOKEN = f'{{listen: "127.0.0.1:0", token: "{TOKEN}"}}'


# -- the token


async def test_a_token_is_asked_for_everything_but_probes(tmp_path: Path) -> None:
    """401 that says how; probes and scrapers need none."""
    async with running(tmp_path, http=WITH_TOKEN) as site:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await site.get(path)).status == 200
        for path in ("/v1/status", "/v1/deliveries", "/v1/endpoints", "/nowhere"):
            refused = await site.get(path)
            assert "http.token" in refused.problem(401)
            assert refused.headers["www-authenticate"] == "Bearer"
        (await site.post("/v1/reload")).problem(401)
        assert (await site.get("/v1/status", authorization=f"Bearer {TOKEN}")).status == 200
        assert (await site.get("/v1/status", authorization=f"bEARER  {TOKEN} ")).status == 200
        assert (await site.get("/v1/status", authorization=f"Bearer {TOKEN}", host="example.com")).status == 200


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer \udcff\udcfe",
    ],
)
async def test_a_wrong_token_is_refused(tmp_path: Path, given: str) -> None:
    """Whatever it is made of, bytes that are no text included."""
    async with running(tmp_path, http=WITH_TOKEN) as site:
        (await site.get("/v1/status", authorization=given)).problem(401)


async def test_a_reload_changes_the_token(tmp_path: Path) -> None:
    """The old one is refused from then on."""
    async with running(tmp_path, http=WITH_TOKEN) as site:
        site.path.write_text(site.path.read_text().replace(TOKEN, "another"))
        assert (await site.post("/v1/reload", authorization=f"Bearer {TOKEN}")).status == 200
        (await site.get("/v1/status", authorization=f"Bearer {TOKEN}")).problem(401)
        assert (await site.get("/v1/status", authorization="Bearer another")).status == 200


# -- Host and Origin


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8780", 200),
        ("127.0.0.1:1", 200),
        ("127.9.9.9", 200),
        ("[::1]:8780", 200),
        ("evil.example", 403),
        ("evil.example:8780", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("evil.example#localhost", 403),
        ("192.168.0.1", 403),
        ("0.0.0.0", 403),
        ("[", 403),
        ("[::1", 403),
        ("", 403),
        ("\udcff", 403),
    ],
)
async def test_without_a_token_only_loopback_names_are_answered(tmp_path: Path, host: str, status: int) -> None:
    """A page that makes its own name point here is not answered."""
    async with running(tmp_path) as site:
        reply = await site.get("/v1/status", host=host)
        if status == 200:
            assert reply.status == 200
        else:
            assert "localhost" in reply.problem(status)
        assert (await site.get("/metrics", host="prometheus.internal")).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8780", 200),
        ("http://LOCALHOST:8780", 200),
        ("http://localhost", 403),
        ("http://localhost:8781", 403),
        ("https://evil.example", 403),
        ("http://localhost:8780.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://[", 403),
        ("\udcff", 403),
    ],
)
async def test_pages_of_other_origins_are_not_answered(tmp_path: Path, origin: str, status: int) -> None:
    """Not even with the token or by a probe: a browser sends the token for any page."""
    async with running(tmp_path, http=WITH_TOKEN) as site:
        for path in ("/v1/reload", "/healthz"):
            method = "POST" if path == "/v1/reload" else "GET"
            reply = await site.ask(method, path, authorization=f"Bearer {TOKEN}", host="localhost:8780", origin=origin)
            if status == 200:
                assert reply.status == 200
            else:
                reply.problem(status)


async def test_no_answer_tells_the_versions_below(tmp_path: Path) -> None:
    """Whatever is asked for: of Python and its libraries an attacker learns nothing."""
    async with running(tmp_path) as site:
        targets = ("/healthz", "/", "/metrics", "/v1/watches", "/v1/watches?limit=x", "/nothing", "/static/nothing")
        answers = [await site.get(target) for target in targets]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 400, 404, 404]
    assert {answer.headers["server"] for answer in answers} == {"notifier"}


async def test_a_host_may_name_the_default_port(tmp_path: Path) -> None:
    """An Origin never does. The port of another scheme is another origin."""
    cases = {
        ("localhost:80", "http://localhost"): 200,
        ("localhost:443", "https://localhost"): 200,
        ("localhost:443", "http://localhost"): 403,
        ("localhost:80", "https://localhost"): 403,
        ("localhost:80", "http://localhos"): 403,
    }
    async with running(tmp_path, http=WITH_TOKEN) as site:
        for (host, origin), status in cases.items():
            reply = await site.ask("GET", "/v1/status", authorization=f"Bearer {TOKEN}", host=host, origin=origin)
            assert reply.status == status, (host, origin)


PUBLIC = "https://Notifier.example.com/tasks/"


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://notifier.example.com", "127.0.0.1:8780", 200),
        ("HTTPS://NOTIFIER.EXAMPLE.COM", "localhost", 200),
        (None, "notifier.example.com", 200),
        (None, "notifier.example.com:443", 200),
        ("https://notifier.example.com", "notifier.example.com", 200),
        ("http://localhost:8780", "localhost:8780", 200),
        ("http://notifier.example.com", "127.0.0.1:8780", 403),
        ("https://notifier.example.com:444", "127.0.0.1:8780", 403),
        ("https://notifier.example.com.evil.example", "127.0.0.1:8780", 403),
        ("https://evil.example", "127.0.0.1:8780", 403),
        ("null", "127.0.0.1:8780", 403),
        (None, "evil.example", 403),
    ],
)
async def test_behind_a_proxy_the_public_url_is_the_listeners_own(
    tmp_path: Path, origin: str | None, host: str, status: int
) -> None:
    """Its origin and its host, and no other's; a reload changes it."""
    async with running(tmp_path, http=f'{{listen: "127.0.0.1:0", public_url: "{PUBLIC}"}}') as site:
        headers = {"host": host} | ({} if origin is None else {"origin": origin})
        reply = await site.get("/v1/status", **headers)
        assert reply.status == status
        if status != 200:
            reply.problem(403)
        site.path.write_text(site.path.read_text().replace("Notifier.example", "elsewhere.example"))
        assert (await site.post("/v1/reload")).status == 200
        (await site.get("/v1/status", host="notifier.example.com")).problem(403)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example", "https://a.example"),
        ("https://A.example:443/x", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("https://[::1]:8443/", "https://[::1]:8443"),
        ("http://[::1]", "http://[::1]"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    """In lower case, without a default port."""
    assert Guard(token=None, host=None, public_url=url)._is_own(origin, "elsewhere")
    assert not Guard(token=None, host=None, public_url=url)._is_own(origin + "0", "elsewhere")


# -- sockets


async def test_a_unix_socket(tmp_path: Path) -> None:
    """It answers any Host, is for the owner and the group only, replaces a dead socket, and goes with the daemon."""
    path = tmp_path / "n.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with running(tmp_path, http=f'{{listen: "unix:{path}"}}', unix=path) as site:
        assert (await site.get("/v1/status", host="whatever")).status == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


class Idle:
    """An API that is never called."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def listener(listen: str) -> HttpListener:
    api: Api = Idle()  # type: ignore[assignment]  # no request is made
    return HttpListener(application(api, ConfigInForce(Config()), host=None), listen, connections=10)


async def test_an_address_in_use_is_one_clear_line(tmp_path: Path) -> None:
    """It names the key, the address and the remedy, and leaves nothing open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenFailed) as failed:
            await listener(address).start()
        assert str(failed.value).startswith(f"http.listen: cannot listen on {address}: ")
        assert "in use" in str(failed.value)
        assert "\n" not in str(failed.value)
        with pytest.raises(ListenFailed):
            async with running(tmp_path, http=f'{{listen: "{address}"}}'):
                pass
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_unix_socket_in_use_is_not_taken_away(tmp_path: Path) -> None:
    """Another daemon's stays its own; a file that is no socket is not deleted."""
    path = tmp_path / "n.sock"
    first = listener(f"unix:{path}")
    await first.start()
    before = os.stat(path).st_ino
    with pytest.raises(ListenFailed, match="in use"):
        await listener(f"unix:{path}").start()
    assert os.stat(path).st_ino == before
    await first.stop()
    path.write_text("precious")
    with pytest.raises(ListenFailed, match="no socket"):
        await listener(f"unix:{path}").start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("listen", ["unix:/nowhere/at/all/n.sock", "192.0.2.1:80", "no-such-host.invalid:1"])
async def test_an_address_that_cannot_be_had_is_one_clear_line(listen: str) -> None:
    """Whatever the reason."""
    with pytest.raises(ListenFailed) as failed:
        await listener(listen).start()
    assert "\n" not in str(failed.value)
    assert listen in str(failed.value)


async def test_an_ipv6_address(tmp_path: Path) -> None:
    """It is reported with its brackets."""
    made = listener("[::1]:0")
    try:
        await made.start()
    except ListenFailed:
        pytest.skip("there is no IPv6 here")
    assert made.address.startswith("[::1]:")
    await made.stop()
