"""Which endpoints are told of an event. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from notifier.core.model import Event

CALLBACK_EVENTS = ("task.*", "watch.lost")  # what an endpoint hears of that does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What one endpoint wants to hear of."""

    endpoint: str
    events: tuple[str, ...]  # globs over event types
    source: str | None = None  # only of this source
    labels: Mapping[str, str] = field(default_factory=dict)  # all must be present and equal
    latest: bool = False  # an undelivered state is superseded by a newer one


@lru_cache(maxsize=4096)  # endpoints times event types: few, but bounded all the same
def _wants(globs: tuple[str, ...], kind: str) -> bool:
    return any(fnmatchcase(kind, glob) for glob in globs)


def select(routes: Iterable[Route], event: Event) -> list[Route]:
    """Choose the routes of an event.

    A watch that names its endpoints is told to those alone, whatever their `match` says; operators' events, which
    have no watch, go to every endpoint that asks for their type, but never to the endpoint they are about.
    """
    return [route for route in routes if _wants(route.events, event.type.value) and _concerns(route, event)]


def callback(event: Event) -> str | None:
    """Name the destination of the watch's own that is told of an event, beside its routes."""
    watch = event.watch
    if watch is None or watch.callback is None or not _wants(CALLBACK_EVENTS, event.type.value):
        return None
    return watch.callback


def _concerns(route: Route, event: Event) -> bool:
    watch = event.watch
    if watch is None:
        return event.extra.get("endpoint") != route.endpoint
    if watch.endpoints is not None:
        return route.endpoint in watch.endpoints
    if route.source is not None and route.source != watch.source:
        return False
    return all(watch.labels.get(name) == value for name, value in route.labels.items())
