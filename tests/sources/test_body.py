"""Packed bodies are unpacked the same however they are cut, and no further than is asked for."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.sources.body import RATIO_FROM, BadPacking, Unpacker, can_read

TEXT = b"data: one\n\ndata: two\n\n" * 500


def deflated(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "its old name": ("X-GZip", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:700]) + gzip.compress(TEXT[700:])),
    "padded gzip": ("gzip", gzip.compress(TEXT) + b"padding"),
    "deflate": ("deflate", deflated(TEXT, 15)),
    "raw deflate": ("deflate", deflated(TEXT, -15)),
    "padded deflate": ("deflate", deflated(TEXT, 15) + b"padding"),
}


def unpacked(unpacker: Unpacker, parts: list[bytes], size: int) -> bytes:
    found = b""
    for part in parts:
        unpacker.feed(part)
        while chunk := unpacker.take(size):
            assert len(chunk) <= size
            found += chunk
    return found


@pytest.mark.parametrize(("encoding", "packed"), PACKED.values(), ids=PACKED)
@given(cuts=st.lists(st.integers(0, 300), max_size=5), size=st.integers(1, 20_000))
def test_how_a_body_is_cut_does_not_matter(encoding: str, packed: bytes, cuts: list[int], size: int) -> None:
    """Servers send raw and wrapped forms under the name of deflate, and several members under that of gzip."""
    places = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    parts = [packed[start:end] for start, end in pairwise(places)]
    assert unpacked(Unpacker(encoding), parts, size) == TEXT


@pytest.mark.parametrize("padding", [b"padding", b"\x1f", b"\x1fpadding", b"\0\0"])
@pytest.mark.parametrize("members", [1, 2])
def test_padding_behind_gzip_is_left_out_wherever_it_is_cut(padding: bytes, members: int) -> None:
    """Also where the cut is exactly at the end of a member, or within the two bytes with which one begins."""
    packed = b"".join([gzip.compress(TEXT)] * members) + padding
    for cut in range(len(packed) + 1):
        assert unpacked(Unpacker("gzip"), [packed[:cut], packed[cut:]], 1) == TEXT * members


@given(data=st.binary(min_size=1, max_size=100), encoding=st.sampled_from(["gzip", "deflate"]))
def test_what_is_not_packed_is_a_fault(data: bytes, encoding: str) -> None:
    """And nothing else is raised."""
    unpacker = Unpacker(encoding)
    try:
        unpacked(unpacker, [data], 100)
    except BadPacking:
        return
    assert not unpacker.is_bomb


def test_a_bomb_is_recognised_by_what_was_unpacked_of_it() -> None:
    """Long before all of it is."""
    unpacker = Unpacker("gzip")
    unpacker.feed(gzip.compress(b" " * 64 * RATIO_FROM))
    taken = 0
    while not unpacker.is_bomb:
        taken += len(unpacker.take(8192))
    assert RATIO_FROM < taken + 1 < 2 * RATIO_FROM


@pytest.mark.parametrize(
    ("encoding", "readable"), [("", True), ("Identity", True), (" gzip", True), ("br", False), ("gzip, gzip", False)]
)
def test_encodings(encoding: str, readable: bool) -> None:
    """Others are refused: nobody asked for any."""
    assert can_read(encoding) is readable
