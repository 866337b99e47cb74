"""What a request says and where redirects take it: ids and credentials stay what and where they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import unquote

import pytest
from raw_upstream import (
    TOKEN,
    UNTIL_CLOSED_HEAD,
    Peer,
    answer,
    descriptors,
    following,
    opening_fails,
    preset_of,
    read_all,
    read_next,
    reply,
    serve,
    settled,
    snapshot,
    stay,
)

from notifier.core.errors import Refused, TaskNotFound, Unavailable, Unreadable
from notifier.runtime.metrics import Metrics
from notifier.sources.plan import SourceSettings
from notifier.sources.preset import Preset
from notifier.sources.sse import SseSource

STREAM = "Content-Type: text/event-stream"
LINE = b"data: " + snapshot("processing") + b"\n"


# -- the request


async def test_the_documented_request() -> None:
    """The vidu preset asks as the documentation does."""
    async with (
        serve(reply(answer("200 OK", STREAM, body=LINE))) as upstream,
        following(upstream.url + "/") as here,
    ):
        (await here.source.open("2370487727425660")).close()
    [peer] = upstream.peers
    assert peer.request.startswith("GET /vidu/v1/tasks/state?id=2370487727425660 HTTP/1.1\r\n")
    assert peer.headers["authorization"] == f"Bearer {TOKEN}"
    assert peer.headers["accept"] == "text/event-stream"
    assert peer.headers["accept-encoding"] == "identity"
    assert peer.headers["cache-control"] == "no-cache"
    assert peer.headers["user-agent"] == "notifier/test"
    assert "last-event-id" not in peer.headers


@pytest.mark.parametrize("task_id", ["a/b?c=d&e#f", "100%", "%2F", "ä ö", "a+b;c", "..a", "{token}", "a\r\nX: y"])
async def test_an_id_is_encoded_once(task_id: str) -> None:
    """Whatever an id contains, it stays one value of the URL, encoded once."""
    async with serve(reply(answer("404 Not Found"))) as upstream:
        for url in ("{base_url}/tasks/{id}/events", "{base_url}/tasks?id={id}&x=1"):
            async with following(upstream.url, url=url) as here:
                with pytest.raises(TaskNotFound):
                    await here.source.open(task_id)
    inside, query = (peer.target for peer in upstream.peers)
    assert unquote(inside.removeprefix("/tasks/").removesuffix("/events")) == task_id
    assert unquote(query.removeprefix("/tasks?id=").removesuffix("&x=1")) == task_id
    assert not set(inside.removeprefix("/tasks/").removesuffix("/events")) & set("/?#&+; {")


@pytest.mark.parametrize("task_id", ["", ".", "..", "\ud800"])
async def test_an_id_that_no_url_can_hold(task_id: str) -> None:
    """An id that would name another place, or is no text, is not found without asking."""
    async with serve(reply(answer("200 OK"))) as upstream, following(upstream.url) as here:
        with pytest.raises(TaskNotFound):
            await here.source.open(task_id)
        assert upstream.peers == []


async def test_headers_are_templates() -> None:
    """In headers the id stands as it is; a value that would break the header is not sent."""
    headers = {"X-Task": "task {id}", "accept": "text/event-stream, application/json"}
    async with serve(reply(answer("404 Not Found"))) as upstream, following(upstream.url, headers=headers) as here:
        with pytest.raises(TaskNotFound):
            await here.source.open("a/ü")
        with pytest.raises(Unreadable, match="X-Task"):
            await here.source.open("a\r\nX-Evil: 1")
    [peer] = upstream.peers
    assert peer.headers["x-task"] == "task a/ü"
    assert peer.headers["accept"] == "text/event-stream, application/json"


async def test_without_a_token() -> None:
    """A header that needs the token is left out where there is none."""
    async with serve(reply(answer("404 Not Found"))) as upstream, following(upstream.url, token=None) as here:
        with pytest.raises(TaskNotFound):
            await here.source.open("1")
    assert "authorization" not in upstream.peers[0].headers
    assert "None" not in upstream.peers[0].request


async def test_a_token_in_the_url() -> None:
    """A token may stand in the URL, encoded; no error tells it."""
    async with (
        serve(reply(answer("403 Forbidden"))) as upstream,
        following(upstream.url, url="{base_url}/?key={token}&id={id}", token="a/b&c", headers={}) as here,
    ):
        with pytest.raises(Refused) as caught:
            await here.source.open("1")
    assert upstream.peers[0].target == "/?key=a%2Fb%26c&id=1"
    assert "a/b&c" not in str(caught.value)


async def test_post_has_no_body() -> None:
    """POST is sent with an empty body."""
    async with serve(reply(answer("404 Not Found"))) as upstream, following(upstream.url, method="POST") as here:
        with pytest.raises(TaskNotFound):
            await here.source.open("1")
    [peer] = upstream.peers
    assert peer.request.startswith("POST ")
    assert peer.headers["content-length"] == "0"
    assert "content-type" not in peer.headers


@pytest.mark.parametrize("base_url", ["http://", "nonsense", "ftp://example.com", "http://a..b:99999"])
async def test_a_base_url_that_is_none(base_url: str) -> None:
    """A URL that cannot be used is an error of its own, which does not repeat it."""
    async with following("http://127.0.0.1:1") as here:
        try:
            here.source.update(replace(here.source.settings, preset=preset_of("vidu", base_url=base_url)))
        except ValueError:
            return
        with pytest.raises((Unreadable, Unavailable)) as caught:
            await here.source.open("1")
        assert base_url not in str(caught.value)


async def test_credentials_in_the_base_url() -> None:
    """User and password in the URL cannot go with an Authorization header; the error does not repeat them."""
    async with following("http://user:hunter2@127.0.0.1:1") as here:
        with pytest.raises(Unreadable) as caught:
            await here.source.open("1")
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1/{id}", "http://host:port/{id}", "/{id}", "nonsense{id}"])
async def test_a_url_that_is_none(url: str) -> None:
    """A template that makes no URL is told when it is used."""
    async with following("http://127.0.0.1:1", url=url) as here:
        with pytest.raises(Unreadable, match="URL is not valid"):
            await here.source.open("1")


def test_a_preset_that_lacks_its_base_url() -> None:
    """A source without the base_url that its preset needs is refused when it is made."""
    with pytest.raises(ValueError, match="base_url"):
        SseSource(
            name="x",
            settings=SourceSettings(preset=Preset(url="{base_url}/{id}", states={}), token=None, connect_timeout=1),
            max_streams=1,
            user_agent="x",
            metrics=Metrics(),
        )


# -- redirects


async def test_redirects_are_followed() -> None:
    """Up to five redirects are followed, within the origin with the token; each connection is closed."""

    async def behave(peer: Peer) -> None:
        hop = len(upstream.peers)
        if hop <= 5:
            where = f"/hop{hop}?x=%2F#fragment" if hop % 2 else f"{upstream.url}/hop{hop}"
            await peer.send(answer(f"30{(1, 2, 3, 7, 8)[hop - 1]} Moved", f"Location: {where}"))
        else:
            await peer.send(answer("200 OK", STREAM, body=LINE))
        peer.close()

    before = descriptors()
    async with serve(behave) as upstream, following(upstream.url) as here:
        assert await read_all(await here.source.open("1")) == (["processing"], None)
    assert [peer.target for peer in upstream.peers[1:]] == [
        "/hop1?x=%2F",
        "/hop2",
        "/hop3?x=%2F",
        "/hop4",
        "/hop5?x=%2F",
    ]
    assert all(peer.headers["authorization"] == f"Bearer {TOKEN}" for peer in upstream.peers)
    await settled(before)


async def test_redirects_are_bounded() -> None:
    """The sixth redirect is one too many."""
    async with serve(reply(answer("302 Found", "Location: /again"))) as upstream, following(upstream.url) as here:
        with pytest.raises(Unreadable, match="more than 5"):
            await here.source.open("1")
    assert len(upstream.peers) == 6


async def test_credentials_stay_with_their_origin() -> None:
    """A redirect to another origin carries no header that holds the token, a cookie or, by its name, a secret."""
    secret = {"Cookie": "a=b", "Goog-Api-Key": "k3y-0001", "X-Auth": "user-01", "X-Client-Secret": "s3cret-1"}
    headers = {"Authorization": "Bearer x", "X-Api-Key": "{token}", "X-Other": "kept"} | secret
    streaming = answer("200 OK", STREAM, body=LINE)
    async with (
        serve(reply(streaming)) as other,
        serve(reply(answer("307 Moved", f"Location: {other.url}/there"))) as upstream,
        following(upstream.url, headers=headers) as here,
    ):
        assert await read_all(await here.source.open("1")) == (["processing"], None)
    assert upstream.peers[0].headers["x-api-key"] == TOKEN
    [peer] = other.peers
    assert peer.headers["x-other"] == "kept"
    assert not {"authorization", "x-api-key", *map(str.lower, secret)} & set(peer.headers)
    assert TOKEN not in peer.request


async def test_credentials_in_a_redirect_are_not_used() -> None:
    """User and password that a Location holds are dropped."""

    async def behave(peer: Peer) -> None:
        if len(upstream.peers) == 1:
            host = upstream.url.removeprefix("http://")
            await peer.send(answer("302 Found", f"Location: http://user:pw@{host}/there"))
        else:
            await peer.send(answer("404 Not Found"))
        peer.close()

    async with serve(behave) as upstream, following(upstream.url) as here:
        with pytest.raises(TaskNotFound):
            await here.source.open("1")
    assert upstream.peers[1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("status", "method"), [("301", "GET"), ("302", "GET"), ("303", "GET"), ("307", "POST"), ("308", "POST")]
)
async def test_method_after_a_redirect(status: str, method: str) -> None:
    """307 and 308 keep the method; after the others POST becomes GET (RFC 9110 section 15.4)."""

    async def behave(peer: Peer) -> None:
        first = len(upstream.peers) == 1
        await peer.send(answer(f"{status} Moved", "Location: /x") if first else answer("404 Not Found"))
        peer.close()

    async with serve(behave) as upstream, following(upstream.url, method="POST") as here:
        with pytest.raises(TaskNotFound):
            await here.source.open("1")
    assert upstream.peers[1].request.split(" ")[0] == method


@pytest.mark.parametrize(
    "location", ["ftp://example.com/", "javascript:x", "http://[::1", "mailto:a@b", "http://h:99999999/", "http://h:0/"]
)
async def test_a_redirect_to_nowhere(location: str) -> None:
    """A Location that is no HTTP URL is unreadable."""
    error = await opening_fails(answer("302 Found", f"Location: {location}"))
    assert type(error) is Unreadable


# -- changing a source at run time


async def test_update_takes_effect_from_the_next_open() -> None:
    """A new token, preset or time to connect leaves open streams as they are."""
    proceed = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD)
        await proceed.wait()
        await peer.send(b'data: {"state":"success","status":"failed"}\n')
        await peer.gone()

    async with serve(behave) as upstream, following(upstream.url) as here:
        before = await here.source.open("1")
        preset = preset_of("vidu", base_url=upstream.url + "/v2", paths={"state": "status"})
        here.source.update(SourceSettings(token="another", preset=preset, connect_timeout=5))
        after = await here.source.open("1")
        proceed.set()
        assert (await read_next(before)).state == "success"
        assert (await read_next(after)).state == "failed"
        before.close()
        after.close()
    old, new = upstream.peers
    assert old.headers["authorization"] == f"Bearer {TOKEN}"
    assert (new.headers["authorization"], new.target) == ("Bearer another", "/v2/vidu/v1/tasks/state?id=1")


async def test_a_stream_iterates_over_itself() -> None:
    """And its source has a name and a limit."""
    async with serve(stay(UNTIL_CLOSED_HEAD)) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        assert (here.source.name, here.source.max_streams) == ("upstream", 10)
        assert aiter(stream) is stream
        stream.close()
