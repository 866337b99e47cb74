"""The content of a message to people about an event, for any chat service. Pure; accepts any body, JSON or not.

Texts are unchanged: each service escapes and cuts them by its own rules (`reply.fit`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from urllib.parse import quote

from notifier.core.digest import DIGEST
from notifier.core.model import Delivery, EventType, Json, Phase

MAX_LINKS = 10
MAX_LABELS = 10
MAX_METADATA = 10  # keys that an endpoint may choose
MAX_LINES = 20  # of a digest
LINE = 120  # characters of an error in a line of a digest
UNKNOWN = "?"


class Style(Enum):
    """How a part of a line is emphasised."""

    PLAIN = "plain"  # our own words only
    STRONG = "strong"  # names and outcomes
    CODE = "code"  # ids and states, character by character


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """A part of a line."""

    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """The parts of messages that an operator chooses for an endpoint."""

    metadata: tuple[str, ...] = ()  # keys to show; a dot leads into a mapping: `customer.id`
    mentions: tuple[str, ...] = ()  # names in the service's form, called in messages about failures
    public_url: str | None = None  # of the status page, for a link to it


NOTHING = Additions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Results that fit into a message, and the number of those that do not."""

    shown: tuple[tuple[str, str], ...] = ()  # name, and URL without characters that could end it
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event, for people. No part repeats another."""

    emoji: str
    colour: str  # `#RRGGBB`
    headline: tuple[TextSpan, ...]
    trouble: str = ""  # error or explanation; may have several lines
    lines: tuple[str, ...] = ()  # of a digest, one for each event; at most MAX_LINES and the count of the others
    urls: tuple[str, ...] = ()  # of results; http(s) only
    odd_urls: int = 0  # results whose URL is not http(s)
    page: str | None = None  # URL of the status page's view of the event's subject
    facts: tuple[str, ...] = ()  # `key: value` of labels, then of metadata; MAX_LABELS and MAX_METADATA at most
    mentions: tuple[str, ...] = ()  # to call, because it is a failure


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
_IN_HEADLINE = frozenset({"enabled", "answers again"})  # reasons that the headline tells
_FAILURES = frozenset(
    {
        EventType.FAILED,
        EventType.LOST,
        EventType.ENDPOINT_FAILING,
        EventType.ENDPOINT_DISABLED,
        EventType.SOURCE_FAILING,
        EventType.RELOAD_FAILED,
    }
)
_SAFE = "!#$%&'*+,/:;=?@[]~"
_PLAIN_LOOK = ("🔔", "#9AA0A6")


def is_failure(event_type: str) -> bool:
    """Return whether events of a type ask for somebody's attention."""
    return event_type in _FAILURES


def read(delivery: Delivery, additions: Additions = NOTHING) -> Notice:
    """Return the notice of a delivery's event."""
    try:
        payload = json.loads(delivery.body)
    except (ValueError, RecursionError):
        payload = {}
    event = _mapping(payload)
    return _digest(event, additions) if event.get("type") == DIGEST else _read(event, delivery.event_type, additions)


def _digest(event: Mapping[str, Json], additions: Additions) -> Notice:
    """Return the notice of several events: their number by what happened, and a line for each, failures first."""
    events = _mapping(event.get("data")).get("events")
    told = [_mapping(each) for each in events] if isinstance(events, list) else []
    notices = [(_string(each.get("type")), _read(each, _string(each.get("type")), additions)) for each in told]
    counts = Counter(_outcome(each) for each in told)
    order = sorted(notices, key=lambda pair: not is_failure(pair[0]))
    lines = [_line(notice) for _, notice in order[:MAX_LINES]]
    if len(order) > MAX_LINES:
        lines.append(f"… and {len(order) - MAX_LINES} more")
    failed = next((notice for kind, notice in order if is_failure(kind)), None)
    emoji, colour = ("🗞️", "#1F6FEB") if failed is None else ("🗞️", failed.colour)
    summary = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return Notice(
        emoji=emoji,
        colour=colour,
        headline=(_plain(f"{len(told)} {'event' if len(told) == 1 else 'events'}: "), _strong(summary)),
        lines=tuple(lines),
        page=None if additions.public_url is None else f"{quote(additions.public_url, safe=f'{_SAFE}%')}/#/watches",
        mentions=() if failed is None else additions.mentions,
    )


def _outcome(event: Mapping[str, Json]) -> str:
    """Return what happened in one word; other events go by their type."""
    kind = _string(event.get("type"))
    if kind == EventType.STATE_CHANGED:
        phase = _mapping(event.get("data")).get("phase")
        return phase if phase in (Phase.QUEUED, Phase.RUNNING) else "changed"
    words = (EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELED, EventType.LOST, EventType.STALLED)
    return kind.partition(".")[2] if kind in words else kind if kind in list(EventType) else "other"


def _line(notice: Notice) -> str:
    """Return one event of a digest; the error by its beginning."""
    trouble = " ".join(notice.trouble.split())
    cut = trouble if len(trouble) <= LINE else f"{trouble[: LINE - 1]}…"
    return f"{notice.emoji} {plain(notice.headline)}" + (f": {cut}" if cut else "")


def _read(event: Mapping[str, Json], event_type: str, additions: Additions) -> Notice:
    data = _mapping(event.get("data"))
    kind = _string(event.get("type")) or event_type
    emoji, colour = _look(kind, data)
    watch, error = _mapping(data.get("watch")), _mapping(data.get("error"))
    urls = _mapping(data.get("result")).get("urls")
    results = [url for url in urls if isinstance(url, str) and url] if isinstance(urls, list) else []
    usable = tuple(url for url in results if url.startswith(("https://", "http://")))
    return Notice(
        emoji=emoji,
        colour=colour,
        headline=_headline(kind, data),
        trouble=_trouble(data, error),
        urls=usable,
        odd_urls=len(results) - len(usable),
        page=None if additions.public_url is None else _page(additions.public_url, data, watch),
        facts=(*_labels(_mapping(watch.get("labels"))), *_metadata(watch.get("metadata"), additions.metadata)),
        mentions=additions.mentions if is_failure(kind) else (),
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


def _headline(kind: str, data: Mapping[str, Json]) -> tuple[TextSpan, ...]:
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
            again = " was enabled" if data.get("reason") == "enabled" else f" takes deliveries again{_outage(data)}"
            return (_plain("Endpoint "), _strong(data.get("endpoint")), _plain(again))
        case EventType.SOURCE_FAILING:
            return (
                _plain("Source "),
                _strong(data.get("source")),
                _plain(" does not answer; it is tried again"),
            )
        case EventType.SOURCE_RECOVERED:
            return (_plain("Source "), _strong(data.get("source")), _plain(f" answers again{_outage(data)}"))
        case EventType.RELOAD_FAILED:
            return (_plain("A new configuration was refused; the old one stays in force"),)
    return (_code(kind),)


def _outage(data: Mapping[str, Json]) -> str:
    seconds = duration(data.get("failed_seconds"))
    return f" after {seconds}" if seconds else ""


def _trouble(data: Mapping[str, Json], error: Mapping[str, Json]) -> str:
    """Return the error of a task; without one, the explanation, or the short reason that stands for it."""
    told = ": ".join(part for part in (_string(error.get("code")), _string(error.get("message"))) if part)
    problems = data.get("problems")
    details = (data.get("detail"), data.get("result_error"), *(problems if isinstance(problems, list) else ()))
    return told or "\n".join(filter(None, map(_string, details))) or _reason(data)


def _reason(data: Mapping[str, Json]) -> str:
    return "" if _string(data.get("reason")) in _IN_HEADLINE else _string(data.get("reason"))


def _page(public_url: str, data: Mapping[str, Json], watch: Mapping[str, Json]) -> str | None:
    """Return the URL of the status page's view of a watch, or of the endpoints."""
    base = quote(public_url, safe=f"{_SAFE}%")
    if watch:
        parts = [quote(_string(watch.get(key)), safe="", errors="replace") for key in ("source", "id")]
        return f"{base}/#/watch/{'/'.join(parts)}" if all(parts) else None
    return f"{base}/#/endpoints" if data.get("endpoint") is not None else None


def _labels(labels: Mapping[str, Json]) -> tuple[str, ...]:
    shown = MAX_LABELS if len(labels) <= MAX_LABELS else MAX_LABELS - 1
    texts = [f"{key}: {_string(value)}" for key, value in islice(labels.items(), shown)]
    return tuple(texts if len(labels) == shown else [*texts, f"… and {len(labels) - shown} more"][: len(labels)])


def _metadata(metadata: Json, keys: Iterable[str]) -> Iterable[str]:
    """Yield the chosen metadata that the watch has."""
    for key in keys:
        value = _at(metadata, key)
        if value is not None and (text := value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)):
            yield f"{key}: {text}"


def _at(metadata: Json, key: str) -> Json:
    """Return the value of a key, which may lead through mappings; None if there is none."""
    if not isinstance(metadata, dict):
        return None
    if key in metadata:
        return metadata[key]
    first, _, rest = key.partition(".")
    return _at(metadata.get(first), rest) if rest else None


def duration(value: Json) -> str:
    """Return seconds as a text for people; empty if the value is no number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        return ""
    if value < 60:
        return f"{math.floor(value * 10) / 10:g} s"
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def plain(spans: Iterable[TextSpan]) -> str:
    """Return a line without emphasis."""
    return "".join(span.text or UNKNOWN for span in spans)


def _plain(text: str) -> TextSpan:
    return TextSpan(text=text)


def _strong(value: Json) -> TextSpan:
    return TextSpan(text=_string(value), style=Style.STRONG)


def _code(value: Json) -> TextSpan:
    return TextSpan(text=_string(value), style=Style.CODE)


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
