"""The decoder against a slow reading of the specification, on streams and chunks that hypothesis makes up."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.core.errors import DecodeError
from notifier.core.eventstream import MAX_RETRY, Decoder, Framing, StreamEvent

pytestmark = pytest.mark.unmeasured


@dataclass
class Reference:
    """Section 9.2.6, sentence by sentence, on the whole text at once; no limits but that of `retry`."""

    by_line: bool
    events: list[tuple[str, str, str]] = field(default_factory=list)
    data: str = ""
    type: str = ""
    id: str = ""
    last_event_id: str = ""
    retry: int | None = None

    def read(self, stream: bytes) -> None:
        # "Streams must be decoded using the UTF-8 decode algorithm", which strips one leading BOM.
        text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
        lines, rest = self.lines(text)
        for line in lines:
            self.line(line)
        if self.by_line and rest:
            self.line(rest)
        # "Any pending data must be discarded" at the end of the file.

    @staticmethod
    def lines(text: str) -> tuple[list[str], str]:
        """Separate lines by CRLF pairs, single LFs and single CRs."""
        lines, line, at = [], "", 0
        while at < len(text):
            if text[at : at + 2] == "\r\n":
                lines.append(line)
                line, at = "", at + 2
            elif text[at] in "\r\n":
                lines.append(line)
                line, at = "", at + 1
            else:
                line, at = line + text[at], at + 1
        return lines, line

    def line(self, line: str) -> None:
        if line == "":
            if not self.by_line:
                self.dispatch()
        elif line[0] == ":":
            pass
        elif ":" in line:
            name, value = line[: line.index(":")], line[line.index(":") + 1 :]
            if value[:1] == " ":
                value = value[1:]
            self.process(name, value)
        else:
            self.process(line, "")

    def process(self, name: str, value: str) -> None:
        if name == "event":
            self.type = value
        elif name == "data":
            self.data += value + "\n"
            if self.by_line:
                if value:
                    self.dispatch()
                self.data = ""
        elif name == "id":
            if "\0" not in value:
                self.id = value
        elif name == "retry" and value and all(c in "0123456789" for c in value):
            self.retry = min(int(value), MAX_RETRY)

    def dispatch(self) -> None:
        self.last_event_id = self.id
        if self.data == "":
            self.type = ""
            return
        if self.data[-1] == "\n":
            self.data = self.data[:-1]
        self.events.append((self.data, self.type or "message", self.last_event_id))
        self.data = self.type = ""


fragments = st.sampled_from(
    [
        b"data: ", b"data:", b"data", b"event: ", b"event", b"id: ", b"id", b"retry: ", b"retry", b":", b" ", b"\n",
        b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\r\r", b"\0", b"\xef\xbb\xbf", b"\xef", b"\xbb\xbf", b"\xe6\x9d\xb1",
        b"\xff", b"x", b"7", b"42", b"1500", b'{"state":"processing"}', b"data: a\n\n", b"data: b\n",
        b"data: c\r\n\r\n", b"\xe2\x80\xa8", b"\x85",
    ]
)  # fmt: skip
streams = st.lists(fragments | st.binary(max_size=3), max_size=40).map(b"".join)
framings = st.sampled_from(["event", "line"])
cuts = st.lists(st.integers(0, 120), max_size=12)


def split(stream: bytes, at: list[int]) -> list[bytes]:
    """Cut the stream at these places; the same place twice makes an empty chunk."""
    bounds = [0, *sorted(min(place, len(stream)) for place in at), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


@settings(max_examples=1000, deadline=None)
@given(stream=streams, at=cuts, framing=framings)
def test_agrees_with_the_specification(stream: bytes, at: list[int], framing: Framing) -> None:
    """Events, last event ID and `retry` are those of a literal reading, whatever the chunks."""
    reference = Reference(by_line=framing == "line")
    reference.read(stream)
    for chunks in (split(stream, at), [bytes([byte]) for byte in stream]):
        decoder = Decoder(framing=framing)
        events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.finish()
        assert [(event.text, event.type, event.last_event_id) for event in events] == reference.events
        assert decoder.last_event_id == reference.last_event_id
        assert decoder.retry == reference.retry


limits = st.integers(1, 24)


@settings(max_examples=1000, deadline=None)
@given(stream=streams, at=cuts, framing=framings, max_line=limits, max_event=limits, max_lines=limits)
def test_limits_hold_whatever_the_chunks(
    stream: bytes, at: list[int], framing: Framing, max_line: int, max_event: int, max_lines: int
) -> None:
    """Nothing but DecodeError is raised, no more than the limits is kept, and chunks change nothing of the outcome."""

    def outcome(chunks: list[bytes]) -> tuple[list[StreamEvent], str]:
        decoder = Decoder(framing=framing, max_line=max_line, max_event=max_event, max_lines=max_lines)
        events: list[StreamEvent] = []
        try:
            for chunk in chunks:
                events += decoder.feed(chunk)
                assert decoder.buffered <= max_line + max_event
            events += decoder.finish()
        except DecodeError as exc:
            return events, str(exc)
        return events, ""

    expected = outcome([stream])
    assert outcome(split(stream, at)) == expected
    assert outcome([bytes([byte]) for byte in stream]) == expected
