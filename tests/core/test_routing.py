"""Who is told of what (DESIGN.md sections 7 and 8)."""

from __future__ import annotations

import pytest

from notifier.core.kept_json import KeptLabels
from notifier.core.model import Event, EventType, Watch
from notifier.core.routing import Route, receivers, select

DEFAULT = ("task.*", "watch.lost")


def event(
    kind: EventType = EventType.STATE_CHANGED,
    *,
    source: str = "vidu",
    labels: dict[str, str] | None = None,
    endpoints: tuple[str, ...] | None = None,
) -> Event:
    watch = Watch(pk=1, source=source, id="1", created_at=0, labels=labels or {}, endpoints=endpoints)
    return Event(type=kind, at=0, watch=watch)


def chosen(routes: list[Route], event: Event) -> list[str]:
    return [route.endpoint for route in select(routes, event)]


@pytest.mark.parametrize(
    ("globs", "kind", "told"),
    [
        (DEFAULT, EventType.STATE_CHANGED, True),
        (DEFAULT, EventType.SUCCEEDED, True),
        (DEFAULT, EventType.LOST, True),
        (DEFAULT, EventType.STALLED, False),
        (("*",), EventType.STALLED, True),
        (("task.succeeded",), EventType.SUCCEEDED, True),
        (("task.succeeded",), EventType.FAILED, False),
        (("task.[sf]*",), EventType.FAILED, True),
        (("task.[sf]*",), EventType.CANCELED, False),
        (("Task.*",), EventType.FAILED, False),
        ((), EventType.FAILED, False),
    ],
)
def test_an_endpoint_hears_the_types_it_asks_for(globs: tuple[str, ...], kind: EventType, told: bool) -> None:
    """`events` are globs over types, told apart by case; any one of them suffices."""
    assert bool(select([Route(endpoint="app", events=globs)], event(kind))) is told


def test_all_that_match_are_told_in_the_order_of_the_configuration() -> None:
    """An event may go to several endpoints."""
    routes = [Route(endpoint=name, events=DEFAULT) for name in ("b", "a", "c")]
    assert chosen(routes, event()) == ["b", "a", "c"]


@pytest.mark.parametrize(("source", "told"), [("vidu", True), ("other", False)])
def test_match_source_narrows(source: str, told: bool) -> None:
    """A route with a source hears of that source alone."""
    assert bool(select([Route(endpoint="app", events=DEFAULT, source="vidu")], event(source=source))) is told


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"team": "video", "tier": "1"}, True),
        ({"team": "video", "tier": "1", "more": "x"}, True),
        ({"team": "video"}, False),
        ({"team": "video", "tier": "2"}, False),
        ({}, False),
    ],
)
def test_match_labels_have_to_be_there_and_equal_all_of_them(labels: dict[str, str], told: bool) -> None:
    """Labels that the route does not name do not matter."""
    route = Route(endpoint="app", events=DEFAULT, labels={"team": "video", "tier": "1"})
    assert bool(select([route], event(labels=labels))) is told


def test_a_watch_that_names_its_endpoints_is_told_to_those_alone() -> None:
    """What it names goes before what endpoints match; the types asked for hold all the same."""
    routes = [
        Route(endpoint="named", events=DEFAULT, source="another", labels={"team": "video"}),
        Route(endpoint="quiet", events=("task.failed",)),
        Route(endpoint="unnamed", events=DEFAULT),
    ]
    assert chosen(routes, event(endpoints=("named", "quiet", "unknown"))) == ["named"]


def test_a_watch_that_names_no_endpoint_at_all_is_told_to_nobody() -> None:
    """An empty list is not the same as none given."""
    assert chosen([Route(endpoint="app", events=("*",))], event(endpoints=())) == []


@pytest.mark.parametrize(
    ("globs", "receives"),
    [(DEFAULT, True), (("task.failed",), True), (("*",), True), (("endpoint.*", "source.failing"), False), ((), False)],
)
def test_an_endpoint_that_asks_for_no_event_of_watches_receives_none(globs: tuple[str, ...], receives: bool) -> None:
    """Operators' events alone make no receiver of a watch; neither does one that `match` or the watch excludes."""
    app = Route(endpoint="app", events=globs)
    assert list(receivers([app], "vidu", {}, None)) == ["app"] * receives
    assert list(receivers([app], "vidu", {}, ["app"])) == ["app"] * receives
    assert list(receivers([app], "vidu", {}, [])) == []
    narrow = Route(endpoint="app", events=globs, source="vidu", labels={"team": "video"})
    assert list(receivers([narrow], "vidu", {"team": "video", "a": "b"}, None)) == ["app"] * receives
    assert list(receivers([narrow], "vidu", {"team": "audio"}, None)) == []
    assert list(receivers([narrow], "other", {"team": "video"}, None)) == []


def test_operators_events_ignore_match() -> None:
    """They are about no task: whoever asks for their type is told."""
    routes = [
        Route(endpoint="app", events=DEFAULT),
        Route(endpoint="ops", events=("endpoint.disabled",), source="vidu", labels={"team": "video"}),
    ]
    assert chosen(routes, Event(type=EventType.ENDPOINT_DISABLED, at=0, extra={"endpoint": "app"})) == ["ops"]


@pytest.mark.parametrize("kind", [EventType.ENDPOINT_DISABLED, EventType.ENDPOINT_RECOVERED])
def test_an_endpoint_is_never_told_of_itself(kind: EventType) -> None:
    """That its door is shut cannot be said through that door."""
    routes = [Route(endpoint="app", events=("*",)), Route(endpoint="ops", events=("*",))]
    assert chosen(routes, Event(type=kind, at=0, extra={"endpoint": "app"})) == ["ops"]


def test_an_event_about_no_endpoint_goes_to_all_that_ask() -> None:
    """A refused reload is about none of them."""
    routes = [Route(endpoint="app", events=("*",)), Route(endpoint="ops", events=("notifier.*",))]
    assert chosen(routes, Event(type=EventType.RELOAD_FAILED, at=0)) == ["app", "ops"]


class Counted(KeptLabels):
    """Labels kept as a text that count how often it is parsed."""

    reads = 0

    @property
    def _mapping(self) -> dict[str, str]:
        Counted.reads += 1
        return super()._mapping


def test_labels_are_read_once_for_all_endpoints_and_only_where_one_asks_for_them() -> None:
    labels = Counted('{"team": "video", "user": "7"}')
    wanted = {"team": "video", "user": "7"}
    matching = [Route(endpoint=f"m{n}", events=DEFAULT, labels=wanted) for n in range(5)]
    other = Route(endpoint="other", events=DEFAULT)
    watch = Watch(pk=1, source="vidu", id="1", created_at=0, labels=labels)
    assert len(list(receivers([*matching, other], "vidu", labels, None))) == 6
    assert len(select(matching, Event(type=EventType.LOST, at=0, watch=watch))) == 5
    assert Counted.reads == 2
    assert list(receivers([other], "vidu", labels, None)) == ["other"]
    assert list(receivers(matching, "vidu", labels, ("m1",))) == ["m1"]
    assert Counted.reads == 2
