"""The identity of a trace as HTTP carries it: `traceparent` of W3C Trace Context. Pure.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re

# Version 00 ends after the flags; a later one may go on behind them, and is read as far as that.
_FORM = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
MAX_TRACEPARENT = 512  # characters: those of version 00 have 55
NO_TRACE, NO_PARENT = "0" * 32, "0" * 16


def traceparent_fault(text: str) -> str | None:
    """Return why a text is no `traceparent`; None if it is one."""
    found = _FORM.fullmatch(text) if len(text) <= MAX_TRACEPARENT else None
    if found is None:
        return "expected 00-TRACE-PARENT-FLAGS with 32, 16 and 2 hexadecimal digits in lower case"
    if found["version"] == "ff" or (found["version"] == "00" and found["more"] is not None):
        return "the version is not valid; there is 00"
    if found["trace"] == NO_TRACE or found["parent"] == NO_PARENT:
        return "a trace or a parent of zeros only is not valid"
    return None


def accepted(text: str | None) -> str | None:
    """Return the `traceparent` that a header carries; None where it is missing or not valid, as if it were missing."""
    return text if text is not None and traceparent_fault(text) is None else None


def trace_id(traceparent: str) -> str:
    """Return the trace's id, by which logs and traces are brought together."""
    return traceparent.split("-")[1]
