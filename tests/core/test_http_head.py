"""A head that a client may accept is put into the form that strict parsers take, and means the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import http_head
from notifier.core.http_head import Fields, find_end, is_interim, may_begin, normalised, status_of

HEADS = [
    (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
    (b"HTTP/1.1 200 OK\nA: b\n\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
    (b"\r\nHTTP/1.1 200\r\n\r\n", b"HTTP/1.1 200\r\n\r\n"),
    (b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"),
    (b"HTTP/1.7 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    (b"http/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    (b"HTTP/2.0 200 OK\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n"),
    (b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nA : b\r\nB\t:c\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\nB:c\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b c\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\n folded: too early\r\nA: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nA: b\0c\rd\x7f\te\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b c d \te\r\n\r\n"),
    (b"HTTP/1.1  200\t OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\nA: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nno header\r\n: x\r\n(A): b\r\nB: c\r\n\r\n", b"HTTP/1.1 200 OK\r\nB: c\r\n\r\n"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nA: b\r\ncontent-length:7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 7\r\n\r\n",
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 7, 7\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
    ),
]


@pytest.mark.parametrize(("head", "expected"), HEADS)
def test_heads(head: bytes, expected: bytes) -> None:
    """Two lengths that differ, and a status that is none, are left to the parser to refuse."""
    assert normalised(head) == expected
    assert normalised(expected) == expected


@pytest.mark.parametrize(("head", "_"), HEADS)
def test_the_end_is_found_wherever_the_data_is_cut(head: bytes, _: bytes) -> None:
    """It lies behind the blank line; the body does not matter."""
    assert find_end(head + b"a\r\n\r\nb") == len(head)
    for cut in range(len(head)):
        assert find_end(head[:cut]) == -1
        assert find_end(head, max(0, cut - 3)) == len(head)


@pytest.mark.parametrize(
    ("head", "interim"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", True),
        (b"\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", True),
        (b"HTTP/1.1 101 Switching\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", False),
        (b"nonsense", False),
    ],
)
def test_another_head_follows_an_interim_one(head: bytes, interim: bool) -> None:
    """Except for 101, behind which HTTP is over."""
    assert is_interim(head) is interim


@pytest.mark.parametrize(
    ("data", "may"),
    [(b"", True), (b"\r\n", True), (b"HT", True), (b"http/1", True), (b"SSH-", False), (b"ICY 200", False)],
)
def test_what_is_no_head_is_seen_from_its_first_bytes(data: bytes, may: bool) -> None:
    """Nobody waits for the end of something else."""
    assert may_begin(data) is may


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"\r\nHTTP/2 404\n", 404),
        (b"HTTP/1.1  503\tno\0text\r\nhalf a li", 503),
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.1 099 No\r\n", None),
        (b"HTTP/1.1 2000 OK\r\n", None),
        (b"HTTP/1.1 OK\r\n", None),
        (b"", None),
    ],
)
def test_a_status_is_read_whatever_follows_it(head: bytes, status: int | None) -> None:
    """Of every version; a line without its end is none."""
    assert status_of(head) == status


def test_fields() -> None:
    """Names in lower case, the first of equal ones, and nothing of lines that are no field, nor of the body."""
    fields = Fields(
        b"HTTP/1.1 503 X\r\nRetry-After : 7\r\nretry-after: 9\r\n: z\r\nnone\r\nA: b\r\n c\r\n\r\nB: body\r\n\r\n"
    )
    assert (fields["retry-after"], fields.values_of("retry-after")) == ("7", ["7", "9"])
    assert dict(fields) == {"retry-after": "7", "a": "b c"}
    assert len(fields) == 2
    assert "b" not in fields
    assert fields.get("location") is None
    assert Fields(b"HTTP/1.1 200 OK\r\nX: \xff").get("x") == "\ufffd"
    assert not Fields(b"")
    with pytest.raises(KeyError):
        Fields(b"HTTP/1.1 200 OK\r\n\r\n")["x"]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"X: " + b"a" * (http_head.MAX_HEADER - 3), None),
        (b"X: " + b"a" * (http_head.MAX_HEADER - 2), "longer than 65536"),
        (b"\r\n".join([b"X: a"] * http_head.MAX_HEADERS), None),
        (b"\r\n".join([b"X: a"] * (http_head.MAX_HEADERS + 1)), "more than 1000"),
        (b"\r\n".join([b"X: " + b"a" * 60_000] * 5), "larger than 262144"),
    ],
)
def test_limits(head: bytes, words: str | None) -> None:
    """Of one header, of their number, and of all together."""
    found = http_head.broken_limit(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
    assert found is None if words is None else words in (found or "")


def test_the_shortest_headers_of_a_short_head_are_few_enough() -> None:
    """So that nobody has to count them."""
    assert len(b"a:\r\n") * http_head.MAX_HEADERS >= http_head.SHORT_HEAD


@pytest.mark.parametrize(
    ("lines", "ends"),
    [
        (b"A: b", True),
        (b"Content-Length: 5", False),
        (b"Transfer-Encoding: chunked", False),
        (b"Transfer-Encoding: gzip, Chunked", False),
        (b"Transfer-Encoding: chunked, gzip", True),
    ],
)
def test_a_body_without_length_ends_with_the_connection(lines: bytes, ends: bool) -> None:
    """And so does one whose last coding is not `chunked`."""
    assert http_head.ends_with_connection(Fields(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n")) is ends


@pytest.mark.parametrize(
    ("lines", "twice"), [(b"Content-Length : 5\r\ntransfer-encoding: x", True), (b"Content-Length: 5", False)]
)
def test_a_length_beside_a_coding_is_seen(lines: bytes, twice: bool) -> None:
    """However it is written."""
    assert http_head.is_framed_twice(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n") is twice


@given(st.binary(max_size=200))
def test_nothing_is_raised(data: bytes) -> None:
    """Whatever a stranger sends."""
    if may_begin(data) and (end := find_end(data)) >= 0 and data[:end].strip(b"\r\n"):
        assert normalised(data[:end]).endswith(b"\r\n\r\n")
        is_interim(data[:end])
        dict(Fields(data))
        http_head.broken_limit(data[:end])
        http_head.is_framed_twice(data[:end])
