"""Compares the callbacks that arrived with the states that were sent. Pure: takes stamps and bytes, returns counts.

Bodies are read after the run, so that the receiver's own work does not weigh on what is measured.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.timeline import CHANGES, stream_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One POST as it was received."""

    at: float  # monotonic seconds
    head: bytes  # request line and headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The verdict on one run. Latencies are milliseconds from the write upstream to the callback's last byte."""

    callbacks: int
    expected: int
    duplicates: int  # a change told more than once
    missing: int  # a change never told
    early: int  # a change told before it was written
    out_of_order: int  # a change told after a later one of the same task
    unsigned: int  # no signature, or one that does not fit the body
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def percentile(ordered: Sequence[float], fraction: float) -> float | None:
    """Return the value at the nearest rank of an ascending sequence; None of nothing."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, round(fraction * (len(ordered) - 1)))]


def identify(body: bytes) -> tuple[int, int]:
    """Return stream and change that a callback speaks of. Raises KeyError or ValueError for any other body."""
    data = json.loads(body)["data"]
    return stream_of(data["watch"]["id"]), CHANGES.index(data["state"])


def signed(callback: Callback, secret: str) -> bool:
    """Return whether a callback bears a fitting Standard Webhooks `v1` signature."""
    lines = callback.head.decode("latin-1").split("\r\n")[1:]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    signing = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + callback.body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signing, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}" in headers.get("webhook-signature", "").split(" ")


def judge(callbacks: Sequence[Callback], written: Mapping[tuple[int, int], float], secret: str) -> Tally:
    """Compare the callbacks with the changes written, by (stream, change)."""
    first: dict[tuple[int, int], float] = {}
    latest: dict[int, int] = {}
    duplicates = early = out_of_order = 0
    for callback in callbacks:
        stream, change = identify(callback.body)
        if (stream, change) not in written:
            early += 1
        elif (stream, change) in first:
            duplicates += 1
        else:
            first[stream, change] = callback.at
            out_of_order += change < latest.get(stream, 0)
            latest[stream] = max(change, latest.get(stream, 0))
    latencies = sorted((at - written[key]) * 1000 for key, at in first.items())
    return Tally(
        callbacks=len(callbacks),
        expected=len(written),
        duplicates=duplicates,
        missing=len(written) - len(first),
        early=early,
        out_of_order=out_of_order,
        unsigned=sum(not signed(callback, secret) for callback in callbacks),
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
        max_ms=percentile(latencies, 1.0),
    )
