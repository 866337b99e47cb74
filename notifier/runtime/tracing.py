"""Spans of a trace, around what takes time: by OpenTelemetry where that is configured, and otherwise none.

A span is of the trace that its parent belongs to, in the form of W3C Trace Context; without a parent it begins a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

Attribute = str | int | float | bool


class Span:
    """One span, which lasts as long as its block. This one records nothing, and the trace goes on as it came."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent  # for spans inside of it, and for requests

    def note(self, **attributes: Attribute) -> None:
        """Add facts."""

    def fail(self, reason: str) -> None:
        """Mark it as failed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return


_NO_TRACE = Span(None)


class Tracing:
    """Makes spans. This one makes those that record nothing."""

    def span(
        self,
        name: str,  # noqa: ARG002  # a subclass uses them
        parent: str | None,
        attributes: Mapping[str, Attribute],  # noqa: ARG002
        *,
        request: bool = False,  # noqa: ARG002
    ) -> Span:
        """Begin a span; `parent` is a `traceparent`. It may be of a `request` to another service."""
        return _NO_TRACE if parent is None else Span(parent)

    async def close(self) -> None:
        """Send the last spans; give up after some seconds."""


UNTRACED = Tracing()
