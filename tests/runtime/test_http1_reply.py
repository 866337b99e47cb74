"""Replies are read the same however they are cut, whatever a client may accept is accepted, and nothing else raises."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.core.http_head import MAX_HEAD, status_of
from notifier.runtime.http1 import BadHead, BrokenFraming, CutShort, HttpFault, Lost
from notifier.runtime.http1.reply import MAX_INTERIM, ReplyReader

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n\r\nok"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What became of one reply."""

    status: int = 0
    body: bytes = b""
    over: bool = False
    keeps: bool = False
    fault: type[HttpFault] | None = None


def read(*parts: bytes, reader: ReplyReader | None = None, closed: bool = False) -> Read:
    """Read a reply that comes in these parts; `closed`: the connection ends behind them."""
    reader = reader or ReplyReader()
    reader.begin()
    fault: HttpFault | None = None
    try:
        for part in parts:
            if not reader.over:
                reader.feed(part)
        if closed:
            fault = reader.finish()
    except (BadHead, BrokenFraming) as exc:
        fault = exc
    return Read(
        status=reader.status,
        body=reader.take(),
        over=reader.over,
        keeps=reader.over and reader.keeps,
        fault=None if fault is None else type(fault),
    )


def whole(status: int = 200, body: bytes = b"ok", *, keeps: bool = True) -> Read:
    return Read(status=status, body=body, over=True, keeps=keeps)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (OK + LENGTH, whole()),
        (OK + CHUNKS, whole()),
        (OK + b"Connection: close\r\n" + LENGTH, whole(keeps=False)),
        (b"HTTP/1.0 200 OK\r\n" + LENGTH, whole(keeps=False)),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH, whole()),
        (b"HTTP/1.1 204 No Content\r\n\r\n", whole(204, b"")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", whole(204, b"")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", whole(204, b"", keeps=False)),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", whole(304, b"", keeps=False)),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", whole(101, b"", keeps=False)),
        (b"HTTP/1.1 503 Busy\r\n" + LENGTH, whole(503)),
        (b"HTTP/1.1 200\r\n" + LENGTH, whole()),
        (b"HTTP/1.1  200  OK\r\n" + LENGTH, whole()),
        (b"http/1.7 200 OK\r\n" + LENGTH, whole()),
        (b"\r\n\r\n" + OK + LENGTH, whole()),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", whole()),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0;x=y\r\nTrailer: z\r\n\r\n", whole()),
        (OK + b"X: a\r\n b\r\n" + LENGTH, whole()),
        (OK + b"X: a\0b\r\n" + LENGTH, whole()),
        (OK + b"X : a\r\n" + LENGTH, whole()),
        (OK + b"no header\r\n" + LENGTH, whole()),
        (OK + b"Content-Length: 2\r\n" + LENGTH, whole()),
        (OK + b"Content-Length: 2, 2\r\n\r\nok", whole()),
        (OK + b"Content-Length: 9\r\n" + CHUNKS, whole(keeps=False)),
        (OK + b"Transfer-Encoding: identity\r\n" + LENGTH, whole(keeps=False)),
        (OK + b"X: " + b"a" * 60_000 + b"\r\n" + LENGTH, whole()),
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + LENGTH, whole()),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INTERIM + OK + b"X: \0\r\n" + LENGTH, whole()),
        (OK + b"Content-Length: 3\r\n" + LENGTH, Read(fault=BadHead)),
        (OK + b"Content-Length: two\r\n\r\nok", Read(fault=BadHead)),
        (OK + b"X: " + b"a" * 70_000 + b"\r\n" + LENGTH, Read(fault=BadHead)),
        (OK + b"X: a\r\n" * 1001 + LENGTH, Read(fault=BadHead)),
        (OK + b"X: " + b"a" * MAX_HEAD, Read(fault=BadHead)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1) + OK + LENGTH, Read(fault=BadHead)),
        (b"HTTP/1.1 099 No\r\n" + LENGTH, Read(fault=BadHead)),
        (b"SSH-2.0-OpenSSH\r\n", Read(fault=BadHead)),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
            Read(status=200, body=b"ok", fault=BrokenFraming),
        ),
        (OK + b"Content-Length: 3\r\n\r\nok", Read(status=200, body=b"ok")),
    ],
)
def test_replies(raw: bytes, expected: Read) -> None:
    """In one piece, in two, and byte by byte."""
    assert read(raw) == expected
    assert read(raw[: len(raw) // 2], raw[len(raw) // 2 :]) == expected
    if len(raw) < 2000:
        assert read(*(raw[at : at + 1] for at in range(len(raw)))) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (OK + b"\r\nok", whole(keeps=False)),
        (b"HTTP/1.0 200 OK\r\n\r\n", whole(body=b"", keeps=False)),
        (OK + b"Transfer-Encoding: gzip\r\n\r\nok", whole(keeps=False)),
        (OK + LENGTH, whole()),
        (OK + b"Content-Length: 3\r\n\r\nok", Read(status=200, body=b"ok", fault=CutShort)),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Read(status=200, body=b"ok", fault=CutShort)),
        (OK + b"Content-Le", Read(fault=Lost)),
        (b"", Read(fault=Lost)),
    ],
)
def test_the_end_of_the_connection(raw: bytes, expected: Read) -> None:
    """It completes a body of unknown length, and no other."""
    assert read(raw, closed=True) == expected


@pytest.mark.parametrize("more", [b"HTTP/1.1 500 X\r\n\r\n", b"HT", b"more", b"\0"])
@pytest.mark.parametrize(
    "reply", [OK + LENGTH, OK + CHUNKS, b"HTTP/1.1 204 No Content\r\n\r\n", OK + b"X : a\r\n" + LENGTH]
)
def test_what_follows_a_reply_is_none_of_it(reply: bytes, more: bytes) -> None:
    """It changes nothing, except that the connection is not used again."""
    plain, found = read(reply), read(reply + more)
    assert (found.status, found.body, found.over) == (plain.status, plain.body, True)
    assert not found.keeps


def test_replies_follow_each_other() -> None:
    """Each is read as the first was."""
    reader = ReplyReader()
    for _ in range(3):
        for raw in (OK + LENGTH, OK + CHUNKS, b"HTTP/1.1 404 No\r\nX : odd\r\n" + LENGTH):
            assert read(raw, reader=reader).over


@pytest.mark.parametrize("cut", [0, 3, 7, 13, 16])
def test_the_body_of_a_204_may_come_before_the_next_reply(cut: int) -> None:
    """A server must not send one; it is dropped. Before a first reply there is nothing to drop."""
    reader, late = ReplyReader(), b'{"ok":true}'
    assert read(b"HTTP/1.1 204 No Content\r\n\r\n", reader=reader) == whole(204, b"")
    raw = late + OK + LENGTH
    assert read(raw[:cut], raw[cut:], reader=reader) == whole(keeps=False)
    assert read(raw) == Read(fault=BadHead)


def test_a_refused_head_tells_what_came() -> None:
    """So that its status can be read."""
    reader = ReplyReader()
    reader.begin()
    with pytest.raises(BadHead) as caught:
        reader.feed(OK + b"Content-Length: x\r\n\r\nbody")
    assert caught.value.raw == OK + b"Content-Length: x\r\n\r\nbody"
    assert status_of(caught.value.raw) == 200


LINES = st.sampled_from(
    [
        *(b"Content-Length: 2", b"content-length : 2", b"Content-Length: 2, 2", b"Content-Length: 3"),
        *(b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        *(b"Transfer-Encoding: gzip", b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade"),
        *(b"Upgrade: h2c", b"X: a", b"X: \0", b"X:\xff", b" folded", b"no colon", b": none", b"X: " + b"a" * 5000),
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
STARTS = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 204 No", b"HTTP/1.1 503 Busy", b"HTTP/1.0 200 OK"),
        *(b"HTTP/1.1 101 X", b"HTTP/2.0 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.9 304 X", b"HTTP/1.1 2000 X"),
        *(b"HTTP/1.1 99 X", b"ICY 200 OK"),
    ]
)
BODIES = st.sampled_from(
    [b"", b"ok", b"2\r\nok\r\n0\r\n\r\n", b"2\r\nok\r\nzz\r\n", b"2\nok\n0\n\n", b"okmore", b"\0\xff"]
)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Make replies that are nearly right: each way in which real servers are odd, and some noise."""
    raw = b""
    for _ in range(draw(st.integers(0, 2))):
        raw += b"HTTP/1.1 103 Hints" + draw(ENDS) + draw(ENDS)
    raw += draw(STARTS)
    for line in draw(st.lists(LINES, max_size=5)):
        raw += draw(ENDS) + line
    raw += draw(ENDS) + draw(ENDS) + draw(BODIES)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 2)) :]
    return raw


@given(replies(), st.lists(st.integers(0, 12_000), max_size=6), st.booleans())
@example(OK + b"A: b\n\nok\r\n\r\n", [20], True)
def test_how_a_reply_is_cut_does_not_matter(raw: bytes, cuts: list[int], closed: bool) -> None:
    """Its status, its body and its fault are the same; only whether more follows may be seen or not."""
    places = sorted({0, len(raw), *(min(cut, len(raw)) for cut in cuts)})
    parts = [raw[start:end] for start, end in pairwise(places)]
    one, many = read(raw, closed=closed), read(*parts, closed=closed)
    assert (one.status, one.body, one.over, one.fault) == (many.status, many.body, many.over, many.fault)


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_noise_is_a_fault_and_never_more(parts: list[bytes], closed: bool) -> None:
    """No exception of another kind, and no reply without a status."""
    found = read(*parts, closed=closed)
    assert not found.over or found.status
