"""The server's side of HTTP in a run: requests are read from a line, and a place answers each.

It is written anew, and knows just what the daemon's clients send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from simulation.wires import Line

REASONS = {200: "OK", 204: "No Content"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    target: str  # path and query
    headers: Mapping[str, str]  # by names in lower case
    body: bytes


class Answering(Protocol):
    """Answers requests, in its own time."""

    def asked(self, request: Asked, line: Line) -> None:
        """Answer a request, or break the line."""
        ...


class Server:
    """A place that reads requests and hands each to whoever answers."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def opened(self, line: Line) -> None:
        """Take a connection."""

        def read() -> None:
            while (request := _take(line)) is not None:
                self._answering.asked(request, line)

        line.on_bytes = read
        read()


def _take(line: Line) -> Asked | None:
    """Take the next request, if it is complete."""
    head, blank, rest = line.heard.partition(b"\r\n\r\n")
    if not blank:
        return None
    first, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    line.heard = rest[length:]
    method, target, _ = first.split(" ")
    return Asked(method=method, target=target, headers=headers, body=rest[:length])


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the head of a reply."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Other')}\r\n{fields}\r\n".encode()


def whole(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a reply with its body."""
    return head(status, {"content-length": str(len(body)), **(headers or {})}) + body


def chunk(data: bytes) -> bytes:
    """Return a chunk of a body whose length nobody knows (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
