"""Every error behind a redirect names where it led, and that the credentials were left behind; what they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from raw_upstream import Behaviour, Peer, answer, following, reply, serve
from waits import PATIENCE

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.model import Observation, Phase
from notifier.runtime.metrics import Metrics
from notifier.sources.plan import SourceSettings
from notifier.sources.poll import PollSource
from notifier.sources.preset import Preset

BARE = ", which does not get the source's credentials"
HTML, JSON, STREAM = (f"Content-Type: {kind}" for kind in ("text/html", "application/json", "text/event-stream"))
LOGIN = b"<html>Sign in</html>"

Ask = Callable[[str], Awaitable[object]]


async def stream(url: str) -> object:
    async with following(url, connect_timeout=1.0) as here:
        opened = await here.source.open("1")
        return await anext(opened)


def poll(which: str) -> Ask:
    async def ask(url: str) -> object:
        preset = Preset.model_validate(
            {
                "transport": "poll",
                "base_url": url,
                "url": "{base_url}/jobs/{id}",
                "paths": {"state": "status", "task_id": "id"},
                "states": {"succeeded": ["ok"]},
                "batch": {"url": "{base_url}/batch", "method": "POST", "ids": "ids"},
                "result_request": {"url": "{base_url}/files/{id}", "result": "url"},
            }
        )
        settings = SourceSettings(preset=preset, token="a-token-of-ours", connect_timeout=1.0)
        source = PollSource(name="mine", settings=settings, user_agent="test", metrics=Metrics())
        try:
            if which == "batch":
                return await source.look_at(["1", "2"])
            if which == "result":
                return await source.result("1", Observation(state="ok", phase=Phase.SUCCEEDED))
            return await source.look("1")
        finally:
            await source.close()

    return ask


async def silence(peer: Peer) -> None:
    await peer.gone()


@pytest.mark.parametrize("ask", [stream, poll("one"), poll("batch"), poll("result")])
@pytest.mark.parametrize(
    ("behind", "kind"),
    [
        (reply(answer("401 Unauthorized")), Refused),
        (reply(answer("404 Not Found")), (TaskNotFound, Unavailable)),
        (reply(answer("503 Away")), Unavailable),
        (reply(answer("200 OK", HTML, body=LOGIN)), (Unavailable, Unreadable)),
        (reply(answer("200 OK", JSON, body=b"nonsense")), Unreadable),
        (reply(b"no HTTP at all\r\n\r\n"), Unavailable),
        (reply(answer("302 Found", "Location: /again")), Unreadable),
        (reply(answer("302 Found", "Location: javascript:x")), Unreadable),
        (silence, Unavailable),
    ],
)
async def test_every_error_behind_a_redirect_names_it(
    ask: Ask, behind: Behaviour, kind: type[SourceError] | tuple[type[SourceError], ...]
) -> None:
    """A stream's, a poll's, that for several tasks, and the result's."""
    async with serve(behind) as other, serve(reply(answer("307 Moved", f"Location: {other.url}/x"))) as upstream:
        with pytest.raises(kind) as caught:
            await ask(upstream.url)
    assert str(caught.value).endswith(f"; redirected to {other.url}{BARE}")
    assert str(caught.value).count("redirected to http") == 1


async def test_a_page_that_is_called_a_stream_is_named_too() -> None:
    """It turns out to be one only as its bytes come."""

    async def behave(peer: Peer) -> None:
        await peer.send(f"HTTP/1.1 200 OK\r\n{STREAM}\r\n\r\n".encode())
        await asyncio.sleep(0)
        await peer.send(LOGIN)
        peer.close()

    async with serve(behave) as other, serve(reply(answer("302 Found", f"Location: {other.url}"))) as upstream:
        with pytest.raises(Unavailable, match=f"redirected to {other.url}{BARE}"):
            await stream(upstream.url)


async def test_a_204_behind_a_redirect_names_it() -> None:
    nothing = reply(answer("204 No Content"))
    async with serve(nothing) as other, serve(reply(answer("302 Found", f"Location: {other.url}"))) as upstream:
        with pytest.raises(NoContent, match="redirected to"):
            await poll("one")(upstream.url)


async def test_credentials_that_were_left_behind_are_told_of_at_the_end_of_a_chain() -> None:
    """A further redirect within the other origin, or back to the first, does not bring them back."""

    async def elsewhere(peer: Peer) -> None:
        on = len(other.peers) == 1
        await peer.send(answer("302 Found", "Location: /deeper") if on else answer("401 Unauthorized"))
        peer.close()

    async with serve(elsewhere) as other, serve(reply(answer("302 Found", f"Location: {other.url}/a"))) as upstream:
        with pytest.raises(Refused) as caught:
            await stream(upstream.url)
    assert str(caught.value) == f"the upstream answers 401; redirected to {other.url}{BARE}"
    assert all("authorization" not in peer.headers for peer in other.peers)


async def test_a_redirect_within_the_origin_keeps_the_credentials_of_the_url() -> None:
    """As it keeps those of the headers; not to another origin, and none of the Location's own."""

    async def behave(peer: Peer) -> None:
        hop = len(upstream.peers)
        host = upstream.url.removeprefix("http://")
        where = {1: "/there", 2: f"http://mallory:x@{host}/again", 3: f"{other.url}/away"}[hop]
        await peer.send(answer("302 Found", f"Location: {where}"))
        peer.close()

    async with serve(reply(answer("401 Unauthorized"))) as other, serve(behave) as upstream:
        url = upstream.url.replace("http://", "http://user:p%40ss@")
        async with following(url, token=None, connect_timeout=PATIENCE) as here:
            with pytest.raises(Refused):
                await here.source.open("1")
    assert [peer.headers.get("authorization") for peer in upstream.peers] == ["Basic dXNlcjpwQHNz"] * 3
    assert "authorization" not in other.peers[0].headers


async def test_what_belongs_to_the_first_request_alone_does_not_go_on() -> None:
    """A Host of the preset's own is not sent to another host, nor the type of a body that is not sent any more."""

    async def behave(peer: Peer) -> None:
        await peer.send(answer("303 See Other", f"Location: {other.url}/x"))
        peer.close()

    headers = {"Host": "api.example", "Content-Type": "application/json"}
    async with (
        serve(reply(answer("404 Not Found"))) as other,
        serve(behave) as upstream,
        following(upstream.url, method="POST", headers=headers) as here,
    ):
        with pytest.raises(TaskNotFound):
            await here.source.open("1")
    assert upstream.peers[0].headers["host"] == "api.example"
    assert other.peers[0].headers["host"] == other.url.removeprefix("http://")
    assert "content-type" not in other.peers[0].headers
