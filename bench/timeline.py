"""The states that the upstream sends, and their times. Pure: no sockets, no clock; both ends of the bench use it.

Every stream plays queueing, processing four times over, success. The changes of all streams together come at a steady
rate: first every stream's queueing, then every processing, then every success; the three identical repeats of
`processing` lie evenly between a stream's processing and its success.
"""

from __future__ import annotations

from dataclasses import dataclass

CHANGES = ("queueing", "processing", "success")
REPEATS = 3  # identical snapshots after the first `processing`: four in all
FIRST_ID = 2_370_487_700_000_000  # the length of a real id, so that bodies and URLs have their real size


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One snapshot to be written."""

    at: float  # seconds after the start
    stream: int  # index of the stream
    change: int  # index into CHANGES
    repeat: bool  # says again what was said before


def task_id(stream: int) -> str:
    """Name the task of a stream."""
    return str(FIRST_ID + stream)


def stream_of(task: str) -> int:
    """Return the stream of a task; the reverse of `task_id`."""
    return int(task) - FIRST_ID


def snapshot(change: int) -> bytes:
    """Return one server-sent event, framed by the specification and readable line by line as well."""
    return b'data: {"state":"%b","estimated_time_left":0,"err_code":""}\n\n' % CHANGES[change].encode()


def timeline(*, streams: int, rate: float) -> list[Write]:
    """Lay out a run of `streams` streams at `rate` changes per second in all, in order of time."""
    round_seconds = streams / rate
    writes: list[Write] = []
    for stream in range(streams):
        offset = stream / rate
        writes += [
            Write(at=offset + change * round_seconds, stream=stream, change=change, repeat=False)
            for change in range(len(CHANGES))
        ]
        writes += [
            Write(at=offset + (1 + part / (REPEATS + 1)) * round_seconds, stream=stream, change=1, repeat=True)
            for part in range(1, REPEATS + 1)
        ]
    writes.sort(key=lambda write: write.at)
    return writes
