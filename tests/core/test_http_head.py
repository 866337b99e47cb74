"""A head that a client may accept is put into the form that strict parsers take, and means the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.http_head import find_end, is_interim, may_begin, normalised

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
    (b"HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\r\n"),
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


@given(st.binary(max_size=200))
def test_nothing_is_raised(data: bytes) -> None:
    """Whatever a stranger sends."""
    if may_begin(data) and (end := find_end(data)) >= 0 and data[:end].strip(b"\r\n"):
        assert normalised(data[:end]).endswith(b"\r\n\r\n")
        is_interim(data[:end])
