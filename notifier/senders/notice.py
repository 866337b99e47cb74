"""The content of a message to people about an event, for any chat service. Pure; accepts any body, JSON or not.

Texts are unchanged: each service escapes and cuts them by its own rules (`reply.fit`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from urllib.parse import quote

from notifier.core.model import Delivery, EventType, Json, Phase

MAX_LINKS = 10
MAX_LABELS = 10  # elements that a context block of Slack holds
UNKNOWN = "?"


class Style(Enum):
    """How a part of a line is emphasised."""

    PLAIN = "plain"  # our own words only
    STRONG = "strong"  # names and outcomes
    CODE = "code"  # ids and states, character by character


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of a line."""

    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A fact with its name."""

    title: str
    text: str
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Results that fit into a message, and the number of those that do not."""

    shown: tuple[tuple[str, str], ...] = ()  # name, and URL without characters that could end it
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event, for people."""

    emoji: str
    colour: str  # `#RRGGBB`
    headline: tuple[Span, ...]
    fields: tuple[Field, ...] = ()
    trouble: str = ""  # error or explanation; may have several lines
    urls: tuple[str, ...] = ()  # of results; http(s) only
    odd_urls: int = 0  # results whose URL is not http(s)
    labels: tuple[str, ...] = ()  # `key: value`; at most MAX_LABELS, of which the last may be the count of the others


_LOOK = {  # phase or event type -> emoji and colour
    Phase.QUEUED: ("⏳", "#9AA0A6"),
    Phase.RUNNING: ("▶️", "#1F6FEB"),
    Phase.SUCCEEDED: ("✅", "#2DA44E"),
    Phase.FAILED: ("❌", "#CF222E"),
    Phase.CANCELED: ("🚫", "#6E7781"),
    EventType.LOST: ("❓", "#BF8700"),
    EventType.STALLED: ("⚠️", "#BF8700"),
    EventType.ENDPOINT_FAILING: ("🟠", "#BF8700"),
    EventType.ENDPOINT_DISABLED: ("🔴", "#CF222E"),
    EventType.ENDPOINT_RECOVERED: ("🟢", "#2DA44E"),
    EventType.SOURCE_FAILING: ("🟠", "#BF8700"),
    EventType.SOURCE_RECOVERED: ("🟢", "#2DA44E"),
    EventType.RELOAD_FAILED: ("⚠️", "#CF222E"),
}
_SAFE = "!#$%&'*+,/:;=?@[]~"
_PLAIN_LOOK = ("🔔", "#9AA0A6")


def read(delivery: Delivery) -> Notice:
    """Return the notice of a delivery's event."""
    try:
        payload = json.loads(delivery.body)
    except (ValueError, RecursionError):
        payload = {}
    event = _mapping(payload)
    data = _mapping(event.get("data"))
    kind = _string(event.get("type")) or delivery.event_type
    emoji, colour = _look(kind, data)
    watch, error = _mapping(data.get("watch")), _mapping(data.get("error"))
    code, message = _string(error.get("code")), _string(error.get("message"))
    problems = data.get("problems")
    details = [_string(data.get("detail")), *(map(_string, problems) if isinstance(problems, list) else ())]
    urls = _mapping(data.get("result")).get("urls")
    results = [url for url in urls if isinstance(url, str) and url] if isinstance(urls, list) else []
    usable = tuple(url for url in results if url.startswith(("https://", "http://")))
    return Notice(
        emoji=emoji,
        colour=colour,
        headline=_headline(kind, data),
        fields=_fields(data, watch),
        trouble=": ".join(part for part in (code, message) if part) or "\n".join(part for part in details if part),
        urls=usable,
        odd_urls=len(results) - len(usable),
        labels=_labels(_mapping(watch.get("labels"))),
    )


def links(notice: Notice, *, room: int, size: Callable[[str, str], int]) -> Links:
    """Return the results that fit into `room`. `size` returns the room that a name and URL take; no URL is cut."""
    shown: list[tuple[str, str]] = []
    alone = len(notice.urls) + notice.odd_urls == 1
    for number, url in enumerate(islice(notice.urls, MAX_LINKS), start=1):
        # Characters that end a link's address (`|`, `>`, `)`, blanks) or that JSON would escape are quoted.
        name, address = "result" if alone else f"result {number}", quote(url[: room + 1], safe=_SAFE, errors="replace")
        if (taken := size(name, address)) <= room:
            room -= taken
            shown.append((name, address))
    return Links(shown=tuple(shown), missing=len(notice.urls) + notice.odd_urls - len(shown))


def missing_words(results: Links) -> str:
    """Return a text with the number of results that are not shown; empty if all are."""
    if not results.missing:
        return ""
    return (
        f"… and {results.missing} more in the event" if results.shown else f"… {results.missing} too long to be shown"
    )


def _look(kind: str, data: Mapping[str, Json]) -> tuple[str, str]:
    if kind.startswith("task."):
        kind = _string(data.get("phase"))
    return next((look for name, look in _LOOK.items() if name == kind), _PLAIN_LOOK)


def _headline(kind: str, data: Mapping[str, Json]) -> tuple[Span, ...]:
    watch = _mapping(data.get("watch"))
    if kind.startswith(("task.", "watch.")) and not watch:
        return (_code(kind),)
    task = (_strong(watch.get("source")), _plain(" "), _code(watch.get("id")), _plain(": "))
    after = (_plain(f" after {elapsed}"),) if (elapsed := duration(data.get("watched_seconds"))) else ()
    match kind:
        case EventType.STATE_CHANGED:
            return (*task, _code(data.get("state")))
        case EventType.SUCCEEDED | EventType.FAILED | EventType.CANCELED:
            return (*task, _strong(kind.removeprefix("task.")), *after)
        case EventType.LOST:
            return (*task, _strong("lost"), *after)
        case EventType.STALLED:
            return (*task, _strong("stalled"), _plain(" in "), _code(data.get("state")))
        case EventType.ENDPOINT_FAILING:
            failing = _plain(" accepts nothing; its events are kept and tried again")
            return (_plain("Endpoint "), _strong(data.get("endpoint")), failing)
        case EventType.ENDPOINT_DISABLED:
            disabled = _plain(" was disabled; its events are kept until it is enabled")
            return (_plain("Endpoint "), _strong(data.get("endpoint")), disabled)
        case EventType.ENDPOINT_RECOVERED:
            return (_plain("Endpoint "), _strong(data.get("endpoint")), _plain(" takes deliveries again"))
        case EventType.SOURCE_FAILING:
            return (
                _plain("Source "),
                _strong(data.get("source")),
                _plain(" does not answer; it is tried again"),
            )
        case EventType.SOURCE_RECOVERED:
            return (_plain("Source "), _strong(data.get("source")), _plain(" answers again"))
        case EventType.RELOAD_FAILED:
            return (_plain("A new configuration was refused; the old one stays in force"),)
    return (_code(kind),)


def _fields(data: Mapping[str, Json], watch: Mapping[str, Json]) -> tuple[Field, ...]:
    previous = _string(data.get("previous_state"))
    state = _string(data.get("state"))
    rows = (
        Field(title="Source", text=_string(watch.get("source", data.get("source")))),
        Field(title="Task", text=_string(watch.get("id")), code=True),
        Field(title="State", text=f"{state} (was {previous})" if state and previous else state),
        Field(title="Elapsed", text=duration(data.get("watched_seconds"))),
        Field(title="Endpoint", text=_string(data.get("endpoint"))),
        Field(title="Reason", text=_string(data.get("reason"))),
    )
    return tuple(row for row in rows if row.text.strip())


def _labels(labels: Mapping[str, Json]) -> tuple[str, ...]:
    shown = MAX_LABELS if len(labels) <= MAX_LABELS else MAX_LABELS - 1
    texts = [f"{key}: {_string(value)}" for key, value in islice(labels.items(), shown)]
    return tuple(texts if len(labels) == shown else [*texts, f"… and {len(labels) - shown} more"][: len(labels)])


def duration(value: Json) -> str:
    """Return seconds as a text for people; empty if the value is no number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        return ""
    if value < 60:
        return f"{math.floor(value * 10) / 10:g} s"
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def plain(spans: Iterable[Span]) -> str:
    """Return a line without emphasis."""
    return "".join(span.text or UNKNOWN for span in spans)


def _plain(text: str) -> Span:
    return Span(text=text)


def _strong(value: Json) -> Span:
    return Span(text=_string(value), style=Style.STRONG)


def _code(value: Json) -> Span:
    return Span(text=_string(value), style=Style.CODE)


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _string(value: Json) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
    return "{…}" if isinstance(value, dict) else "[…]"
