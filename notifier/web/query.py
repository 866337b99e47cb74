"""Reading what a request asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from multidict import MultiMapping

from notifier.core.errors import NotifierError
from notifier.core.model import EventType, Json, Micros, Phase
from notifier.store.values import DeliveryFilter, EventFilter, WatchFilter

MAX_LIMIT = 1000
MAX_TEXT = 5000  # characters; no name, id or label that is kept is that long
PHASES = (*(phase.value for phase in Phase), "new", "lost")
TYPES = tuple(kind.value for kind in EventType)
FORWARD = "a"  # before a cursor that leads to newer events
RETRY_KEYS = ("endpoint", "since", "until")
STATUSES = ("pending", "ready", "waiting", "delivered", "dead", "superseded")
MAX_ID = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadRequest(NotifierError):
    """The request cannot be understood."""


def check(query: MultiMapping[str], known: Collection[str], *, repeatable: Collection[str] = ()) -> None:
    """Refuse what would otherwise be passed over in silence."""
    for name in dict.fromkeys(query):
        if name not in known:
            options = f"there are {', '.join(known)}" if known else "there are none here"
            raise BadRequest(f"{name[:50]!a}: no such parameter; {options}")
        if name not in repeatable and len(query.getall(name)) > 1:
            raise BadRequest(f"{name}: given twice")


def limit(query: Mapping[str, str]) -> int:
    """Return how many items a page is to have."""
    return _integer(query.get("limit", "100"), "limit", 1, MAX_LIMIT)


def cursor(query: Mapping[str, str]) -> int | None:
    """Return where the page before ended."""
    given = query.get("cursor")
    return None if given is None else _integer(given, "cursor", 0, MAX_ID)


def number(text: str) -> int:
    """Return a delivery's id."""
    return _integer(text, "id", 0, MAX_ID)


def retry_filter(body: Json) -> DeliveryFilter:
    """Return which deliveries a body asks for: `endpoint`, `since`, `until`."""
    if not isinstance(body, dict):
        raise BadRequest("the body has to be a JSON object")
    for name in body:
        if name not in RETRY_KEYS:
            raise BadRequest(f"{name[:50]!a}: unknown key; there are {', '.join(RETRY_KEYS)}")
    return delivery_filter(body)


def delivery_filter(query: Mapping[str, object]) -> DeliveryFilter:
    """Return which deliveries are asked for: `endpoint`, `status`, `since`, `until`."""
    given = {name: query.get(name) for name in ("endpoint", "status", "since", "until")}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"{name}: expected text")
    status = given["status"]
    if status is not None and status not in STATUSES:
        raise BadRequest(f"status: expected one of {', '.join(STATUSES)}")
    endpoint = given["endpoint"]
    return DeliveryFilter(
        endpoint=None if endpoint is None else text(endpoint, "endpoint"),
        status=status,
        since=_instant(given["since"], "since"),
        until=_instant(given["until"], "until"),
    )


def watch_filter(query: MultiMapping[str]) -> WatchFilter:
    """Return which watches are asked for: `source`, `phase`, `state`, `label` (any number), `q`, `ended`."""
    ended = _one_of(query.get("ended"), "ended", ("true", "false"))
    return WatchFilter(
        source=_texts(query, "source"),
        phase=_one_of(query.get("phase"), "phase", PHASES),
        state=_texts(query, "state"),
        labels=tuple(map(_label, query.getall("label", ()))),
        text=_texts(query, "q"),
        ended=None if ended is None else ended == "true",
    )


def event_filter(query: Mapping[str, str]) -> EventFilter:
    """Return which events are asked for: `source`, `id` of the watch, `type`."""
    return EventFilter(
        source=_texts(query, "source"),
        task=_texts(query, "id"),
        type=_one_of(query.get("type"), "type", TYPES),
    )


def event_place(query: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return before or after which event a page is to be; newest first unless `after` is given."""
    given, after = query.get("cursor"), query.get("after")
    if given is None:
        return None, None if after is None else event_after(after, "after")
    if given.startswith(FORWARD) or after is not None:
        return None, event_after(given, "cursor")
    return _integer(given, "cursor", 0, MAX_ID), None


def event_after(given: str, name: str) -> int:
    """Return an event's cursor, or that of a page of such as came after it."""
    return _integer(given.removeprefix(FORWARD), name, 0, MAX_ID)


def event_cursor(cursor: str, *, forward: bool) -> str:
    """Write where the next page of events begins."""
    return f"{FORWARD}{cursor}" if forward else cursor


def text(value: object, name: str) -> str:
    """Return text that a database can look for."""
    found = str(value)
    if len(found) > MAX_TEXT:
        raise BadRequest(f"{name}: longer than {MAX_TEXT} characters")
    try:
        found.encode()
    except UnicodeEncodeError as exc:  # bytes that are no UTF-8 arrive as surrogates
        raise BadRequest(f"{name}: not UTF-8") from exc
    if "\0" in found:  # PostgreSQL refuses it, and nothing that is stored holds one
        raise BadRequest(f"{name}: a NUL is no text")
    return found


def _texts(query: Mapping[str, str], name: str) -> str | None:
    value = query.get(name)
    return None if value is None else text(value, name)


def _one_of(value: str | None, name: str, options: Collection[str]) -> str | None:
    if value is not None and value not in options:
        raise BadRequest(f"{name}: expected one of {', '.join(options)}")
    return value


def _label(given: str) -> tuple[str, str]:
    key, colon, value = text(given, "label").partition(":")
    if not colon:
        raise BadRequest("label: expected KEY:VALUE")
    return key, value


def _integer(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise BadRequest(f"{name}: expected a whole number from {least} to {most}")
    return int(text)


def _instant(value: object, name: str) -> Micros | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError as exc:
        raise BadRequest(f"{name}: expected a time such as 2026-11-22T06:00:00Z") from exc
    if at.tzinfo is None:
        raise BadRequest(f"{name}: say the time zone too, such as 2026-11-22T06:00:00Z")
    return (at - _EPOCH) // timedelta(microseconds=1)
