"""What an upstream says of an error reaches the operator, and heads that other clients accept are accepted."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from raw_upstream import (
    ONE,
    TOKEN,
    UNTIL_CLOSED_HEAD,
    Peer,
    answer,
    following,
    opening_fails,
    read_all,
    reply,
    serve,
)
from yarl import URL

from notifier.core.errors import Refused, SourceError, TaskNotFound, Unavailable
from notifier.sources.http import MAX_WORDS, may_know_secrets

PLAN = b'{"error":{"message":"model is not available for your plan"}}\n'

STREAM = "Content-Type: text/event-stream"
LINE = ONE + b"\n"


# -- the upstream's words


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", Refused),
        ("401 Unauthorized", Refused),
        ("402 Payment Required", Refused),
        ("403 Forbidden", Refused),
        ("404 Not Found", TaskNotFound),
        ("422 Unprocessable", Refused),
        ("429 Too Many Requests", Unavailable),
        ("500 Internal Server Error", Unavailable),
    ],
)
async def test_an_error_carries_the_words_of_the_upstream(status: str, kind: type[SourceError]) -> None:
    """The status says that, the body why."""
    error = await opening_fails(answer(status, "Content-Type: application/json", body=PLAN))
    assert type(error) is kind
    assert str(error) == f"the upstream answers {status[:3]}: {PLAN.decode().strip()}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b" \r\n\t ", ""),
        (b"line one\nline\ttwo\x1b[31m\0", ": line one line two [31m"),
        (b"\xff\xfe no UTF-8", ": \ufffd\ufffd no UTF-8"),
        (b"x" * 100_000, ": " + "x" * MAX_WORDS),
        (b"your token " + TOKEN.encode() + b" is bad", ": your token <secret> is bad"),
        (b"x" * (MAX_WORDS - 5) + TOKEN.encode(), ": " + ("x" * (MAX_WORDS - 5) + "<secret>")[:MAX_WORDS]),
    ],
)
async def test_words_are_one_bounded_line_without_credentials(body: bytes, words: str) -> None:
    """An upstream that repeats the request's headers to us puts no token into the log."""
    error = await opening_fails(answer("403 Forbidden", body=body))
    assert str(error) == f"the upstream answers 403{words}"


async def test_a_content_type_is_told_without_credentials() -> None:
    error = await opening_fails(answer("200 OK", f"Content-Type: image/{TOKEN}"))
    assert str(error) == "the upstream answers with content type 'image/<secret>', not an event stream"


@pytest.mark.parametrize("value", ["Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"])
async def test_other_credentials_are_not_repeated_either(value: str) -> None:
    """Those that stand in headers of the preset, with the name of their scheme and without."""
    body = b"who is dXNlcjpwYXNz?"
    error = await opening_fails(answer("401 Unauthorized", body=body), headers={"X-Api-Key": value})
    assert str(error) == "the upstream answers 401: who is <secret>?"


async def test_compressed_words_are_read() -> None:
    """Errors are compressed by gateways that compress everything."""
    error = await opening_fails(answer("400 Bad Request", "Content-Encoding: gzip", body=gzip.compress(PLAN)))
    assert "model is not available" in str(error)


async def test_words_that_are_cut_short() -> None:
    """As many as came; the status counts all the same."""
    error = await opening_fails(b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\nshort")
    assert (type(error), error.status) == (Refused, 400)
    assert str(error).startswith("the upstream answers 400")


async def test_a_status_with_a_broken_body_counts() -> None:
    """Though both come in one piece."""
    error = await opening_fails(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzzz\r\n")
    assert (type(error), str(error)) == (Refused, "the upstream answers 400: short")


async def test_words_that_never_end_are_not_waited_for() -> None:
    """The status is there; a body that drips keeps nobody."""

    async def behave(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 402 Pay\r\nContent-Length: 100\r\n\r\nno mo")
        await peer.gone()

    async with serve(behave) as upstream, following(upstream.url) as here:
        with pytest.raises(Refused, match="402: no mo"):
            await here.source.open("1")


# -- redirects


async def test_a_redirect_is_named_in_the_error() -> None:
    """Another origin answers, and does not get the credentials; the message says both."""
    async with (
        serve(reply(answer("401 Unauthorized"))) as other,
        serve(reply(answer("301 Moved", f"Location: {other.url}/there"))) as upstream,
        following(upstream.url) as here,
    ):
        with pytest.raises(Refused) as caught:
            await here.source.open("1")
    text = "the upstream answers 401; redirected to {}, which does not get the source's credentials"
    assert str(caught.value) == text.format(other.url)


async def test_a_redirect_to_nobody_is_named_in_the_error() -> None:
    """Also where nobody listens."""
    async with (
        serve(reply(answer("301 Moved", "Location: http://127.0.0.1:1/"))) as upstream,
        following(upstream.url) as here,
    ):
        with pytest.raises(Unavailable, match=r"cannot connect: .*; redirected to http://127\.0\.0\.1:1"):
            await here.source.open("1")


# -- heads


@pytest.mark.parametrize(
    "headers",
    [
        ["X-Policy: " + "a" * 9_000],
        ["X-Policy: " + "a" * 65_000],
        ["Set-Cookie: " + "a" * 20_000] * 10,
        [f"X-{n}: {n}" for n in range(900)],
    ],
    ids=["9,000 bytes", "65,000 bytes", "200,000 bytes", "900 headers"],
)
@pytest.mark.parametrize("status", ["200 OK", "503 Away"])
async def test_a_large_head_is_read(headers: list[str], status: str) -> None:
    """Policies, cookies and traces of gateways make heads beyond the usual 8 KiB."""
    async with (
        serve(reply(answer(status, *headers, STREAM, body=LINE))) as upstream,
        following(upstream.url) as here,
    ):
        if status == "200 OK":
            assert await read_all(await here.source.open("1")) == (["processing"], None)
        else:
            with pytest.raises(Unavailable, match="503"):
                await here.source.open("1")


@pytest.mark.parametrize(
    "headers",
    [["X-Policy: " + "a" * 70_000], ["X-Policy: " + "a" * 60_000] * 5, [f"X-{n}: {n}" for n in range(1_100)]],
    ids=["one header", "all headers", "their number"],
)
async def test_a_head_beyond_all_bounds_is_refused(headers: list[str]) -> None:
    """The error says so, without what stood in it."""
    error = await opening_fails(answer("200 OK", *headers, STREAM, body=LINE))
    assert type(error) is Unavailable
    assert "aaa" not in str(error)


EVENT = LINE + b"\n"
LENGTH = b"Content-Length: %d\r\n" % len(EVENT)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT)
ODD = {
    "length twice": (b"HTTP/1.1 200 OK\r\n", LENGTH * 2, EVENT),
    "length in a list": (b"HTTP/1.1 200 OK\r\n", LENGTH.replace(b"\r", b", %d\r" % len(EVENT)), EVENT),
    "length beside chunks": (b"HTTP/1.1 200 OK\r\n", LENGTH + b"Transfer-Encoding: chunked\r\n", CHUNKS),
    "more than its length": (b"HTTP/1.1 200 OK\r\n", LENGTH, EVENT + b"and more"),
    "more, and the end": (b"HTTP/1.1 200 OK\r\n", b"Connection: close\r\n" + LENGTH, EVENT + b"and more"),
    "a blank before a colon": (b"HTTP/1.1 200 OK\r\n", b"X-A : b\r\n" + LENGTH, EVENT),
    "a line that is no header": (b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n: x\r\n" + LENGTH, EVENT),
    "a version to come": (b"HTTP/1.2 200 OK\r\n", LENGTH, EVENT),
    "no reason": (b"HTTP/1.1 200\r\n", LENGTH, EVENT),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n", LENGTH, EVENT),
    "a folded header": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n c\r\n" + LENGTH, EVENT),
}


@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "in pieces"])
@pytest.mark.parametrize("form", ODD)
async def test_an_odd_head_is_read(form: str, apart: bool) -> None:
    """RFC 9112 lets a client accept it; what lies behind the body's end is no part of the reply."""
    status, headers, body = ODD[form]
    whole = status + b"Content-Type: text/event-stream\r\n" + headers + b"\r\n" + body
    parts = [whole[at : at + 7] for at in range(0, len(whole), 7)] if apart else [whole]
    async with serve(reply(*parts)) as upstream, following(upstream.url, framing="event") as here:
        assert await read_all(await here.source.open("1")) == (["processing"], None)


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_a_compression_that_cannot_be_read_is_named(encoding: str) -> None:
    """It was not asked for; the message says what is wrong."""
    error = await opening_fails(answer("200 OK", f"Content-Encoding: {encoding}", STREAM, body=b"x"))
    assert type(error) is Unavailable
    assert "compresses" in str(error)


@pytest.mark.parametrize(
    ("sent", "reason"), [(b"SSH-2.0-OpenSSH\r\n", "not HTTP"), (b"HTTP/1.1 2x0 OK\r\n\r\n", "not HTTP")]
)
async def test_a_reply_that_is_not_http_says_why(sent: bytes, reason: str) -> None:
    """The parser's reason, without the bytes that it quotes."""
    error = await opening_fails(sent)
    assert type(error) is Unavailable
    assert reason in str(error)
    assert "OpenSSH" not in str(error)


# -- a proxy


async def test_a_source_behind_a_proxy() -> None:
    """The proxy gets the whole URL and its credentials; the upstream's own stay apart."""
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, LINE)) as proxy,
        following("http://upstream.example", proxy=proxy.url.replace("//", "//user:pass@")) as here,
    ):
        assert await read_all(await here.source.open("1")) == (["processing"], None)
    [peer] = proxy.peers
    assert peer.target == "http://upstream.example/vidu/v1/tasks/state?id=1"
    assert peer.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    assert peer.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_proxy_that_opens_no_tunnel(status: str) -> None:
    """To an https:// upstream it opens a tunnel; its refusal is not the upstream's, and shows no credential."""
    async with (
        serve(reply(answer(status))) as proxy,
        following("https://upstream.example", proxy=proxy.url.replace("//", "//user:pass@")) as here,
    ):
        with pytest.raises(Unavailable, match=f"the proxy opens no tunnel: it answers {status[:3]}") as caught:
            await here.source.open("1")
    assert proxy.peers[0].request.startswith("CONNECT upstream.example:443 HTTP/1.1")
    assert TOKEN not in proxy.peers[0].request
    assert "pass" not in str(caught.value)


async def test_a_proxy_that_is_not_there() -> None:
    """The message names the proxy, not the upstream, as what cannot be reached."""
    async with following("http://upstream.example", proxy="http://127.0.0.1:1") as here:
        with pytest.raises(Unavailable, match="cannot connect to the proxy"):
            await asyncio.wait_for(here.source.open("1"), 60)


@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [
        ("http://api.example/a", "https://api.example/a", True),
        ("http://api.example:80/a", "https://api.example:443/b", True),
        ("https://api.example/a", "https://api.example/b", True),
        ("https://api.example/a", "http://api.example/a", False),
        ("http://api.example:8080/a", "https://api.example/a", False),
        ("http://api.example/a", "https://api.example:8443/a", False),
        ("http://api.example/a", "https://www.api.example/a", False),
        ("http://api.example/a", "https://api.example.evil/a", False),
    ],
)
def test_credentials_follow_a_host_to_https_and_nowhere_else(source: str, target: str, kept: bool) -> None:
    """A provider's redirect from http to https on the usual ports, as other clients treat it."""
    assert may_know_secrets(URL(source), URL(target)) is kept
