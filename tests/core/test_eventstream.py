"""The decoder against the specification: a table of cases, each fed whole, byte by byte and at random splits.

WHATWG HTML, sections 9.2.5 (the stream's grammar, and its examples) and 9.2.6 (interpreting it); the cases on CR, NUL,
BOM and field names are those of Web Platform Tests, folder `eventsource`.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from notifier.core.errors import DecodeError
from notifier.core.eventstream import MAX_RETRY, Decoder, Framing, StreamEvent

Feeder = Callable[[bytes], Iterator[bytes]]


def whole(stream: bytes) -> Iterator[bytes]:
    yield stream


def bytewise(stream: bytes) -> Iterator[bytes]:
    for at in range(len(stream)):
        yield stream[at : at + 1]


def by_events(stream: bytes) -> Iterator[bytes]:
    """As servers write them: each chunk ends with a blank line."""
    yield from re.findall(rb".*?\n\n|.+", stream, re.DOTALL)


def by_lines(stream: bytes) -> Iterator[bytes]:
    yield from stream.splitlines(keepends=True)


def randomly(seed: int) -> Feeder:
    def split(stream: bytes) -> Iterator[bytes]:
        dice = random.Random(seed)
        while stream:
            size = dice.randrange(min(len(stream), 9) + 1)
            yield stream[:size]
            stream = stream[size:]

    return split


FEEDERS = {
    "whole": whole,
    "bytewise": bytewise,
    "events": by_events,
    "lines": by_lines,
    **{f"split{seed}": randomly(seed) for seed in range(4)},
}


@pytest.fixture(params=FEEDERS)
def feeder(request: pytest.FixtureRequest) -> Feeder:
    return FEEDERS[request.param]


def decode(stream: bytes, feeder: Feeder, framing: Framing = "event") -> tuple[list[StreamEvent], Decoder]:
    decoder = Decoder(framing=framing)
    events = [event for chunk in feeder(stream) for event in decoder.feed(chunk)]
    return events + decoder.finish(), decoder


DATA: dict[str, tuple[bytes, list[str]]] = {
    "one event": (b"data: a\n\n", ["a"]),
    "no space": (b"data:a\n\n", ["a"]),
    "two events": (b"data: a\n\ndata: b\n\n", ["a", "b"]),
    "lines are joined": (b"data: a\ndata: b\n\n", ["a\nb"]),
    "specification's stocks": (b"data: YHOO\ndata: +2\ndata: 10\n\n", ["YHOO\n+2\n10"]),
    "specification's blocks": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        ["first event", "second event"],
    ),
    "specification's empty data": (b"data\n\ndata\ndata\n\ndata:", ["", "\n"]),
    "specification's one space": (b"data:test\n\ndata: test\n\n", ["test", "test"]),
    "only one space is removed": (b"data:  a\n\n", [" a"]),
    "a tab is not a space": (b"data:\ta\n\n", ["\ta"]),
    "trailing spaces stay": (b"data: a  \n\n", ["a  "]),
    "only the first colon counts": (b"data: a: b:c\n\n", ["a: b:c"]),
    "data without colon": (b"data\n\n", [""]),
    "data with colon only": (b"data:\n\n", [""]),
    "data of one space": (b"data: \n\n", [""]),
    "data of two spaces": (b"data:  \n\n", [" "]),
    "no data dispatches nothing": (b"event: a\nid: 1\n\n\n\n", []),
    "empty stream": (b"", []),
    "blank lines only": (b"\n\n\n", []),
    "many blank lines between": (b"\n\n\ndata: a\n\n\n\n\n\ndata: b\n\n\n", ["a", "b"]),
    "comments are skipped": (b":\n: c\n:data: no\n\ndata: a\n:in between\ndata: b\n\n", ["a\nb"]),
    "a space before the colon is part of the name": (b"data : a\n\n", []),
    "a space before the name too": (b" data: a\n\n", []),
    "names are case-sensitive": (b"Data: a\nDATA: b\n\n", []),
    "names are exact": (b"datax: a\ndat: b\ndata\0: c\ndata:d\n\n", ["d"]),
    "unknown fields are ignored": (b"foo: 1\nfoo\ndata: a\nbar\n\n", ["a"]),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", ["a\nb", "c"]),
    "CR": (b"data: a\rdata: b\r\rdata: c\r\r", ["a\nb", "c"]),
    "mixed line ends": (b"data: a\r\rdata: b\n\r\ndata: c\r\n\n\rdata: d\n\r", ["a", "b", "c", "d"]),
    "CR CRLF": (b"data: a\r\r\ndata: b\r\r\n", ["a", "b"]),
    "LF CR is two line ends": (b"data: a\n\rdata: b\n\r", ["a", "b"]),
    "NUL in data stays": (b"data: a\0b\n\n", ["a\0b"]),
    "other line separators are none": (
        "data: a\u2028b\u2029c\u0085d\vx\fy\n\n".encode(),
        ["a\u2028b\u2029c\u0085d\vx\fy"],
    ),
    "one BOM is removed": (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    "a second BOM spoils the field": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", ["b"]),
    "a BOM further on too": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", ["a"]),
    "a BOM in data stays": (b"data: \xef\xbb\xbfa\n\n", ["\ufeffa"]),
    "part of a BOM is none": (b"\xef\xbbdata: a\n\ndata: b\n\n", ["b"]),
    "a BOM alone on its line": (b"\xef\xbb\xbf\ndata: a\n\n", ["a"]),
    "a BOM before a comment": (b"\xef\xbb\xbf:\n\ndata: a\n\n", ["a"]),
    "UTF-8": ("data: Zürich 東京 🎬\n\n".encode(), ["Zürich 東京 🎬"]),
    "not UTF-8": (b"data: a\xffb\xc3\n\n", ["a\ufffdb\ufffd"]),
    "UTF-8 cut short by a line end": (b"data: \xe6\x9d\ndata: \xb1\n\n", ["\ufffd\n\ufffd"]),
    "surrogates are not UTF-8": (b"data: \xed\xa0\x80\n\n", ["\ufffd\ufffd\ufffd"]),
    "unfinished line at the end": (b"data: a\n\ndata: b", ["a"]),
    "unfinished event at the end": (b"data: a\n\ndata: b\n", ["a"]),
}


@pytest.mark.parametrize("case", DATA)
def test_data(case: str, feeder: Feeder) -> None:
    """The data of every event is what the specification says, whatever the chunks."""
    stream, expected = DATA[case]
    events, _ = decode(stream, feeder)
    assert [event.text for event in events] == expected


LINES: dict[str, tuple[bytes, list[str]]] = {
    "each line is a snapshot": (b"data: a\ndata: b\n", ["a", "b"]),
    "blank lines mean nothing": (b"\n\ndata: a\n\n\n\ndata: b\n\n", ["a", "b"]),
    "line ends mixed": (b"data: a\rdata: b\r\ndata: c\r\r\n\ndata: d\r\n", ["a", "b", "c", "d"]),
    "empty data dispatches nothing": (b"data\ndata:\ndata: \n\ndata: a\n", ["a"]),
    "no space": (b"data:a\ndata:  b\n", ["a", " b"]),
    "comments and unknown fields": (b": c\nfoo: 1\ndata: a\nid: 1\n", ["a"]),
    "BOM": (b"\xef\xbb\xbfdata: a\n\xef\xbb\xbfdata: b\n", ["a"]),
    "BOM only on the first line": (b"\n\xef\xbb\xbfdata: a\ndata: b\n", ["b"]),
    "the last line needs no end": (b"data: a\ndata: b", ["a", "b"]),
    "nor if it is the only one": (b"\xef\xbb\xbfdata: a", ["a"]),
    "last line without data": (b"data: a\n: c", ["a"]),
    "last line with empty data": (b"data: a\ndata:", ["a"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("case", LINES)
def test_line_framing(case: str, feeder: Feeder) -> None:
    """With `framing="line"` each data line is an event of its own."""
    stream, expected = LINES[case]
    events, _ = decode(stream, feeder, "line")
    assert [event.text for event in events] == expected


TYPES: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "default": (b"data: a\n\n", [("a", "message")]),
    "named": (b"event: x\ndata: a\n\n", [("a", "x")]),
    "after the data": (b"data: a\nevent: x\n\n", [("a", "x")]),
    "the last one counts": (b"event: x\nevent: y\ndata: a\n\n", [("a", "y")]),
    "emptied": (b"event: x\nevent\ndata: a\n\n", [("a", "message")]),
    "reset by a dispatch": (b"event: x\ndata: a\n\ndata: b\n\n", [("a", "x"), ("b", "message")]),
    "reset by a blank line without data": (b"event: x\n\ndata: b\n\n", [("b", "message")]),
    "one space": (b"event:  x\ndata: a\n\n", [("a", " x")]),
    "not UTF-8": (b"event: \xff\ndata: a\n\n", [("a", "\ufffd")]),
}


@pytest.mark.parametrize("case", TYPES)
def test_type(case: str, feeder: Feeder) -> None:
    """`event` names the event it stands in, and no other."""
    stream, expected = TYPES[case]
    events, _ = decode(stream, feeder)
    assert [(event.text, event.type) for event in events] == expected


def test_type_in_line_framing(feeder: Feeder) -> None:
    """With `framing="line"` an `event` line names the next snapshot only."""
    events, _ = decode(b"event: x\n\ndata: a\ndata: b\n", feeder, "line")
    assert [(event.text, event.type) for event in events] == [("a", "x"), ("b", "message")]


IDS: dict[str, tuple[bytes, list[str], str]] = {
    "none": (b"data: a\n\n", [""], ""),
    "set": (b"id: 1\ndata: a\n\n", ["1"], "1"),
    "after the data": (b"data: a\nid: 1\n\n", ["1"], "1"),
    "persists over events": (b"id: 1\ndata: a\n\ndata: b\n\ndata: c\n\n", ["1", "1", "1"], "1"),
    "empty resets": (b"id: 1\ndata: a\n\nid:\ndata: b\n\n", ["1", ""], ""),
    "without colon resets": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", ["1", ""], ""),
    "with NUL is ignored": (b"id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\nid: \0\ndata: c\n\n", ["1", "1", "1"], "1"),
    "taken over without data": (b"id: 1\n\n", [], "1"),
    "not of an unfinished event": (b"id: 1\ndata: a\n\nid: 2\ndata: b\n", ["1"], "1"),
    "not a number, not ASCII": ("id: …7\ndata: a\n\n".encode(), ["…7"], "…7"),
    "is not the name of something else": (b"idx: 1\nID: 1\ndata: a\n\n", [""], ""),
}


@pytest.mark.parametrize("case", IDS)
def test_last_event_id(case: str, feeder: Feeder) -> None:
    """`id` sets the last event ID on dispatch, which holds until the next one."""
    stream, expected, last = IDS[case]
    events, decoder = decode(stream, feeder)
    assert ([event.last_event_id for event in events], decoder.last_event_id) == (expected, last)


@pytest.mark.parametrize(
    ("stream", "cleared"),
    [
        (b"data: a\n\n", False),
        (b"id: 1\ndata: a\n\n", False),
        (b"id:\ndata: a\n\n", True),
        (b"id\n\n", True),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\ndata: c\n\n", True),
        (b"id\ndata: a\n\nid: 1\n\n", False),
        (b"id: \0\ndata: a\n\n", False),
        (b"data: a\n\nid:\ndata: b\n", False),
    ],
)
def test_an_empty_id_is_told_from_none(stream: bytes, cleared: bool, feeder: Feeder) -> None:
    """It takes back the IDs of earlier connections, too; like any ID it counts once it is dispatched."""
    _, decoder = decode(stream, feeder)
    assert decoder.cleared is cleared


RETRIES: dict[str, tuple[bytes, int | None]] = {
    "none": (b"data: a\n\n", None),
    "taken at once, without a blank line": (b"retry: 1500\n", 1500),
    "zero": (b"retry: 0\n", 0),
    "leading zeros": (b"retry: 0000000000000000000007\n", 7),
    "the last one counts": (b"retry: 1\n\nretry: 2\n", 2),
    "a bad one changes nothing": (b"retry: 3\nretry: x\n", 3),
    "negative": (b"retry: -5\n", None),
    "signed": (b"retry: +5\n", None),
    "decimal": (b"retry: 1.5\n", None),
    "empty": (b"retry:\nretry\n", None),
    "spaces": (b"retry: 5 \nretry:  5\n", None),
    "underscore": (b"retry: 1_000\n", None),
    "digits of other scripts": ("retry: \u0665\nretry: \u00b2\n".encode(), None),
    "clamped": (b"retry: 86400001\n", MAX_RETRY),
    "longer than Python converts": (b"retry: " + b"9" * 5000 + b"\n", MAX_RETRY),
}


@pytest.mark.parametrize("case", RETRIES)
def test_retry(case: str, feeder: Feeder) -> None:
    """`retry` is digits only, remembered, clamped."""
    stream, expected = RETRIES[case]
    _, decoder = decode(stream, feeder)
    assert decoder.retry == expected


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"\r\n\n", b"\r\n\r"])
def test_dispatch_is_not_delayed(end: bytes) -> None:
    """An event is dispatched by the very byte that ends its blank line, a CR included; an LF after it is swallowed."""
    decoder = Decoder()
    for _ in range(3):
        events = [decoder.feed(bytes([byte])) for byte in b"data: a" + end]
        first = next(at for at, found in enumerate(events) if found)
        assert first == len(b"data: a" + end) - (2 if end.endswith(b"\r\n") else 1)
        assert [event.data for found in events for event in found] == [b"a"]


def test_a_chunk_that_is_only_the_swallowed_lf() -> None:
    """The LF of a CRLF split between chunks ends nothing; the one after it does."""
    decoder = Decoder()
    assert [len(decoder.feed(chunk)) for chunk in (b"data: a\r", b"", b"\n", b"\n", b"data: b\r", b"\n\r")] == [
        0, 0, 0, 1, 0, 1,
    ]  # fmt: skip


def test_a_cr_in_a_chunk_that_looks_like_one_event() -> None:
    """The short way through the commonest chunk does not overlook a CR."""
    decoder = Decoder()
    assert decoder.feed(b":\n\n") == []
    assert [event.data for event in decoder.feed(b"data: a\rdata: b\n\n")] == [b"a\nb"]


def test_a_snapshot_line_is_dispatched_before_the_next_arrives() -> None:
    """With `framing="line"` the line end dispatches."""
    decoder = Decoder(framing="line")
    assert [event.data for event in decoder.feed(b"data: a\n")] == [b"a"]
    assert [event.data for event in decoder.feed(b"data: b\n")] == [b"b"]
    assert [event.data for event in decoder.feed(b"data: c\n\n")] == [b"c"]


def test_data_is_the_bytes_received() -> None:
    """Data is kept as received, so that repeats are told apart before decoding."""
    decoder = Decoder()
    assert decoder.feed(b"data: \xff\n\n") == [StreamEvent(b"\xff", "message", "")]


def test_another_decoder_knows_nothing_of_the_first() -> None:
    """Half an event is not carried over to the next connection."""
    first = Decoder()
    first.feed(b"retry: 1\nid: 1\nevent: x\ndata: a\n\nevent: y\ndata: b\nda")
    second = Decoder()
    assert second.feed(b"\xef\xbb\xbfdata: c\n\n") == [StreamEvent(b"c", "message", "")]
    assert (second.retry, second.last_event_id) == (None, "")


LIMITS: dict[str, tuple[Framing, dict[str, int], bytes, list[bytes], str]] = {
    "a line": ("event", {"max_line": 10}, b"data: 1234\n\n:23456789a\n\ndata: 12345\n\n", [b"1234"], "a line"),
    "a line without end": ("event", {"max_line": 10}, b"data: 1\n\nxxxxxxxxxxx", [b"1"], "a line"),
    "a comment": ("event", {"max_line": 10}, b":2345678901\n", [], "a line"),
    "the BOM counts": ("event", {"max_line": 10}, b"\xef\xbb\xbfdata: 12\n\n", [], "a line"),
    "a line of line framing": ("line", {"max_line": 10}, b"data: 1\ndata: 12345\ndata: 2\n", [b"1"], "a line"),
    "its last line": ("line", {"max_line": 10}, b"data: 1\ndata: 12345", [b"1"], "a line"),
    "an event": ("event", {"max_event": 5}, b"data: 1234\n\ndata: 12\ndata: 12\n\n", [b"1234"], "bytes of data"),
    "an event of one line": ("event", {"max_event": 5}, b"data: 1\n\ndata: 12345\n\n", [b"1"], "bytes of data"),
    "a snapshot": ("line", {"max_event": 5}, b"data: 1234\ndata: 12345\n", [b"1234"], "bytes of data"),
    "a last snapshot": ("line", {"max_event": 5}, b"data: 1234\ndata: 12345", [b"1234"], "bytes of data"),
    "lines of data": ("event", {"max_lines": 2}, b"data\ndata\n\ndata\ndata\ndata\n\n", [b"\n"], "lines of data"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits(case: str, feeder: Feeder) -> None:
    """Over a limit the stream is refused for good, after all that came before has been returned."""
    framing, limits, stream, expected, message = LIMITS[case]
    decoder = Decoder(framing=framing, **limits)
    found: list[bytes] = []

    def read() -> None:
        for chunk in feeder(stream):
            found.extend(event.data for event in decoder.feed(chunk))
        found.extend(event.data for event in decoder.finish())

    with pytest.raises(DecodeError, match=message):
        read()
    assert found == expected
    if decoder.error is not None:
        assert decoder.buffered == 0
        with pytest.raises(DecodeError):
            decoder.feed(b"data: 1\n\n")
        with pytest.raises(DecodeError):
            decoder.finish()


def test_at_the_limits() -> None:
    """A line, an event and a number of lines just at their limits are accepted."""
    decoder = Decoder(max_line=10, max_event=9, max_lines=2)
    assert [event.data for event in decoder.feed(b"data: 1234\ndata: 123\n\n")] == [b"1234\n123"]
    assert [event.data for event in decoder.feed(b"data: 1234\n\n")] == [b"1234"]


def test_line_framing_has_no_limit_on_the_number_of_lines() -> None:
    """Lines are counted within an event, which with `framing="line"` has one."""
    decoder = Decoder(framing="line", max_lines=1)
    assert len(decoder.feed(b"data: 1\n" * 5 + b"data\n" * 5 + b"data:1\n" * 5)) == 10


def test_a_long_line_in_single_bytes_costs_linear_time() -> None:
    """A line that drips in is not copied for every byte: copying 300,000 bytes as often would not end in time."""
    decoder = Decoder()
    line = b"data: " + b"x" * 300_000
    for byte in bytewise(line):
        decoder.feed(byte)
    assert decoder.feed(b"\n\n")[0].data == line[6:]


def test_an_idle_decoder_is_small() -> None:
    """There is one in every open stream, so at rest it holds nothing but its slots."""
    decoder = Decoder()
    decoder.feed(b'data: {"state":"queueing"}\n\n')
    assert decoder.buffered == 0
    assert not hasattr(decoder, "__dict__")
    assert sys.getsizeof(decoder) <= 200
