"""Reading what a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from notifier.core.errors import NotifierError
from notifier.core.model import Micros
from notifier.interfaces import DeliveryFilter

MAX_LIMIT = 1000
STATUSES = ("pending", "ready", "waiting", "delivered", "dead", "superseded")
MAX_ID = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadRequest(NotifierError):
    """The request cannot be understood."""


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


def delivery_filter(query: Mapping[str, object]) -> DeliveryFilter:
    """Return which deliveries are asked for: `endpoint`, `status`, `since`, `until`."""
    given = {name: query.get(name) for name in ("endpoint", "status", "since", "until")}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"{name}: expected text")
    status = given["status"]
    if status is not None and status not in STATUSES:
        raise BadRequest(f"status: expected one of {', '.join(STATUSES)}")
    return DeliveryFilter(
        endpoint=_text(given["endpoint"]),
        status=_text(status),
        since=_instant(given["since"], "since"),
        until=_instant(given["until"], "until"),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


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
