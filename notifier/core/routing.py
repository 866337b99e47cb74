"""Selects the endpoints that receive an event. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from notifier.core.model import Event, EventType

CALLBACK_EVENTS = ("task.*", "watch.lost")  # the default of an endpoint's `events`


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The events that one endpoint receives."""

    endpoint: str
    events: tuple[str, ...]  # globs over event types
    source: str | None = None  # only events of this source
    labels: Mapping[str, str] = field(default_factory=dict)  # the watch must have all of them
    latest: bool = False  # a newer state supersedes an undelivered one


@lru_cache(maxsize=4096)  # endpoints times event types: few, but bounded anyway
def wants(globs: tuple[str, ...], kind: str) -> bool:
    """Return whether a type of event matches one of the globs."""
    return any(fnmatchcase(kind, glob) for glob in globs)


def select(routes: Iterable[Route], event: Event) -> list[Route]:
    """Return the routes of an event.

    If a watch names its endpoints, its events go to those alone, without regard to `match`. Operators' events have no
    watch; they go to every endpoint that asks for their type, except the endpoint that they are about.
    """
    wanting = [route for route in routes if wants(route.events, event.type)]
    watch = event.watch
    if watch is None:
        return [route for route in wanting if event.extra.get("endpoint") != route.endpoint]
    return list(_addressed(wanting, watch.source, watch.labels, watch.endpoints))


def receivers(
    routes: Iterable[Route], source: str, labels: Mapping[str, str], endpoints: Collection[str] | None
) -> Iterator[str]:
    """Yield the endpoints that receive events of such a watch; `endpoints` are those that it names, if it names any."""
    about = (route for route in routes if _about_watches(route.events))
    for route in _addressed(about, source, labels, endpoints):
        yield route.endpoint


def _addressed(
    routes: Iterable[Route], source: str, labels: Mapping[str, str], endpoints: Collection[str] | None
) -> Iterator[Route]:
    """Yield the routes to which the events of a watch go. Its labels may be kept as a text: they are read once."""
    read = False
    for route in routes:
        if route.labels and endpoints is None and not read:
            labels, read = dict(labels.items()), True
        if addressed(route, source, labels, endpoints):
            yield route


@lru_cache(maxsize=4096)
def _about_watches(globs: tuple[str, ...]) -> bool:
    return any(wants(globs, kind.value) for kind in EventType if kind.value.startswith(("task.", "watch.")))


def callback(event: Event) -> str | None:
    """Return the name of the watch's own destination if it receives the event; otherwise None."""
    watch = event.watch
    if watch is None or watch.callback is None or not wants(CALLBACK_EVENTS, event.type):
        return None
    return watch.callback


def addressed(route: Route, source: str, labels: Mapping[str, str], endpoints: Collection[str] | None) -> bool:
    """Return whether the events of a watch go to the route's endpoint, if it wants their type."""
    if endpoints is not None:
        return route.endpoint in endpoints
    if route.source is not None and route.source != source:
        return False
    return not route.labels or all(labels.get(name) == value for name, value in route.labels.items())
