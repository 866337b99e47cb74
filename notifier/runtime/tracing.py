"""Spans of a trace, around what takes time: by OpenTelemetry where that is configured, and otherwise none.

A span is of the trace that its parent belongs to, in the form of W3C Trace Context; without a parent it begins a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

Attribute = str | int | float | bool


class Span(Protocol):
    """One span; it lasts as long as its block."""

    traceparent: str | None  # of what happens inside of it

    def note(self, **attributes: Attribute) -> None:
        """Add facts."""
        ...

    def fail(self, reason: str) -> None:
        """Mark it as failed."""
        ...

    def __enter__(self) -> Span: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Tracing(Protocol):
    """Makes spans."""

    def span(self, name: str, parent: str | None, attributes: Mapping[str, Attribute]) -> Span:
        """Begin a span; `parent` is a `traceparent`."""
        ...

    async def close(self) -> None:
        """Send what is left; give it up after some seconds."""
        ...


class _Nothing:
    """The span of a program that traces nothing: the trace goes on as it came."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def note(self, **attributes: Attribute) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        return


_NOTHING = _Nothing(None)


class Untraced:
    """Makes no spans."""

    def span(self, name: str, parent: str | None, attributes: Mapping[str, Attribute]) -> Span:  # noqa: ARG002  # as of `Tracing`
        """Return a block that hands the parent on."""
        return _NOTHING if parent is None else _Nothing(parent)

    async def close(self) -> None:
        """Do nothing."""


UNTRACED = Untraced()
