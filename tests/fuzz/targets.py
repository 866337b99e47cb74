"""What is fuzzed: functions that take bytes, and raise if the program does what it must not.

Each gives the bytes to the code that meets a stranger's, and lets through the errors that this code promises. Where
there is a second way to the same result, such as other pieces of the same stream, both must agree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any
from zlib import crc32

from notifier import config as configuration
from notifier.config import Config, ConfigError
from notifier.core.errors import DecodeError, NotifierError, SourceError
from notifier.core.eventstream import Decoder, Framing, StreamEvent
from notifier.core.retry import classify_http, parse_retry_after
from notifier.inputs import message
from notifier.inputs.message import MessageRefused
from notifier.runtime.http1 import HttpFault
from notifier.runtime.http1.reply import ReplyReader
from notifier.sources import preset as presets
from notifier.sources.snapshot import SnapshotReader
from notifier.web import body, requests

PRESETS = 4  # that read one input: all of them would read ten times fewer inputs
NOW = 1_780_000_000_000_000  # microseconds
SITE = """
sources: {vidu: {preset: vidu, base_url: "http://127.0.0.1:9", token: t}}
endpoints: {app: {type: webhook, url: "http://127.0.0.1:9", secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}}
callbacks: {secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
"""


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut data into pieces whose sizes the data itself says."""
    at = 0
    while at < len(data):
        size = 1 + data[at] % 7
        yield data[at : at + size]
        at += size


def told(*problems: object) -> None:
    """Hold a refusal to saying something."""
    assert problems
    assert all(str(problem).strip() for problem in problems)


def eventstream(data: bytes) -> None:
    """The decoder tells the same events, and breaks the same limit, whatever the pieces are."""
    framings: tuple[Framing, ...] = ("event", "line")
    for framing in framings:
        assert _decoded([data], framing) == _decoded(list(pieces(data)), framing)


def _decoded(parts: list[bytes], framing: Framing) -> tuple[list[StreamEvent], str]:
    decoder = Decoder(framing=framing, max_event=512, max_line=256, max_lines=16)
    events: list[StreamEvent] = []
    try:
        for part in parts:
            events += decoder.feed(part)
        events += decoder.finish()
    except DecodeError as exc:
        return events, str(exc)
    return events, ""


def http_reply(data: bytes) -> None:
    """The reader of replies finds the same reply whatever the pieces are; it raises HttpFault alone."""
    found = []
    for parts in ([data], list(pieces(data))):
        reader = ReplyReader()
        reader.begin()
        kind: type[HttpFault] | None = None
        try:
            for part in parts:
                if not reader.over:
                    reader.feed(part)
            if not reader.over and (fault := reader.finish()) is not None:
                kind = type(fault)
        except HttpFault as exc:
            kind = type(exc)
        found.append((reader.status, reader.over, kind))
        classify_http(reader.status or 200, reader.fields if reader.status else {}, now=NOW)
        reader.free()
    assert found[0] == found[1]


def retry_after(data: bytes) -> None:
    """A hint is a number of seconds that can be waited, or nothing."""
    seconds = parse_retry_after(data.decode("latin-1"), NOW)
    assert seconds is None or seconds >= 0
    assert repr(classify_http(503, {"retry-after": data.decode("latin-1")}, now=NOW))


def config_file(data: bytes) -> None:
    """A configuration is read, or refused with its problems."""
    path = _directory() / "fuzzed.yaml"
    path.write_bytes(data)
    try:
        configuration.load(path, env={})
    except ConfigError as exc:
        told(*exc.problems)


def preset(data: bytes) -> None:
    """A description of one's own is read, or refused with its problems; what it describes can then be read."""
    config_file(b"presets:\n  mine:\n" + b"".join(b"    " + line + b"\n" for line in data.splitlines()))


def api_body(data: bytes) -> None:
    """A body is read by each operation, or refused by an error that has an answer."""
    site = _site()
    try:
        value = body._parse(data)
    except NotifierError:
        return
    reads: tuple[Callable[[Any], object], ...] = (
        requests.MuteRequest.read,
        requests.RetryRequest.read,
        partial(configuration.parse_watch, config=site),
    )
    for read in reads:
        try:
            read(value)
        except NotifierError as exc:
            told(exc)


def queue_message(data: bytes) -> None:
    """A message is read, or refused with a reason; an excerpt of it can be logged."""
    site = _site()
    for content in (data, {"data": data}, {"id": data}, {"labels": data, "id": b"1"}, {"remove": data}):
        try:
            list(message.batches(message.read(content, site, traceparent=data[:60].decode("latin-1"))))
        except MessageRefused as exc:
            told(exc)
        message.excerpt(content)


def snapshot(data: bytes) -> None:
    """What a provider sends is an observation, nothing, or a SourceError: by presets that the data itself chooses."""
    first = crc32(data) % len(readers())
    read_by((readers() * 2)[first : first + PRESETS], data)


def read_by(readers: Sequence[SnapshotReader], data: bytes) -> None:
    """Read a snapshot, as a reply and as an event."""
    event = StreamEvent(data, "message", "")
    for reader in readers:
        for read in (partial(reader.read_reply, data, 200, "task-1"), partial(reader.read_event, event, "task-1")):
            try:
                read()
            except SourceError as exc:
                told(exc)


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (eventstream, http_reply, retry_after, config_file, preset, api_body, queue_message, snapshot)
}


@cache
def _directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="notifier-fuzz-"))


@cache
def _site() -> Config:
    path = _directory() / "site.yaml"
    path.write_text(SITE)
    return configuration.load(path, env={})


@cache
def readers() -> list[SnapshotReader]:
    """Return the readers of all presets."""
    return [SnapshotReader(source="fuzz", preset=presets.load(name)) for name in presets.names()]
