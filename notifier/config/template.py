"""A template as a value of the configuration. It is tried on a sample of every event that the endpoint receives.

Samples are full and bare in turn, so that a template does not rely on a field that may be null. Parts that only the
provider or the user knows (`data.task`, labels, metadata) have every field that a template asks for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from notifier.config.problems import invalid
from notifier.config.scalars import Interpolated
from notifier.config.types import text
from notifier.core import payload
from notifier.core.machine import give_up, stall, step
from notifier.core.model import Event, EventType, LostReason, Observation, Phase, TaskError, Watch

_AT = 1_700_000_000_000_000
_REACHED = {
    EventType.STATE_CHANGED: Phase.RUNNING,
    EventType.SUCCEEDED: Phase.SUCCEEDED,
    EventType.FAILED: Phase.FAILED,
    EventType.CANCELED: Phase.CANCELED,
}


class Anything(int):
    """A value that the sample cannot know: it has every field and supports every operation."""

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__") or name in ("unsafe_callable", "alters_data"):  # Jinja2 asks whether to call it
            raise AttributeError(name)
        return self

    def __iter__(self) -> Iterator[Anything]:
        return iter((self,))

    def __len__(self) -> int:
        return 1

    def __contains__(self, _: object) -> bool:
        return True

    def items(self) -> list[tuple[str, Anything]]:
        """Return one pair."""
        return [("sample", self)]


def _same(self: Anything, *_: Any, **__: Any) -> Anything:
    return self


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
for _name in ("call", "getitem", "lt", "le", "gt", "ge", *_BINARY, *(f"r{name}" for name in _BINARY)):
    setattr(Anything, f"__{_name}__", _same)


class Open(dict[str, Any]):
    """A mapping that has every key."""

    def __missing__(self, _: object) -> Anything:
        return Anything(1)  # not 0: so that a template takes the branch for labels that are there


def _read(value: object, info: ValidationInfo, accept: Callable[[str], object]) -> str:
    """Compile and try a template; `accept` raises TemplateFault for a result that is not allowed."""
    # A lazy import: Jinja2 takes 40 ms to load, and most configurations have no template.
    from notifier.senders.template import Template, TemplateFault

    source = text(value)
    if not source.strip():
        raise invalid("must not be empty")
    tried: EventType | None = None
    try:
        template = Template(source)
        for kind, sample in samples(info.data.get("events", ())):
            tried = kind
            accept(template.render(sample))
    except TemplateFault as exc:
        if isinstance(value, Interpolated):  # the explanation may show the value of a variable
            place = f", line {exc.line} of it" if exc.line else ""
            raise invalid(f"cannot be rendered{place}; it holds a variable, so no more is said") from exc
        raise invalid(f"{exc} (with a sample of {tried})" if tried else str(exc)) from exc
    return source


def _json_template(value: object, info: ValidationInfo) -> str:
    from notifier.senders.template import json_body  # lazily: see `_read`

    return _read(value, info, json_body)


def _text_template(value: object, info: ValidationInfo) -> str:
    from notifier.senders.template import not_empty  # lazily: see `_read`

    return _read(value, info, not_empty)


def samples(globs: tuple[str, ...]) -> Iterator[tuple[EventType, dict[str, Any]]]:
    """List sample events of each type that matches the globs, as templates see them."""
    for kind in EventType:
        if any(fnmatchcase(kind, glob) for glob in globs):
            for event in _events(kind):
                yield kind, _seen(event)


def bare_samples(globs: tuple[str, ...], labels: Mapping[str, str]) -> Iterator[tuple[EventType, dict[str, Any]]]:
    """List the same samples of watches, with these labels alone and without metadata."""
    for kind, sample in samples(globs):
        if watch := sample["data"].get("watch"):
            watch["labels"], watch["metadata"] = dict(labels), None
            yield kind, sample


def _events(kind: EventType) -> Iterator[Event]:
    watch = Watch(pk=1, source="sample", id="2370487727425660", created_at=_AT - 81_200_000, labels={}, metadata={})
    before = step(watch, Observation(state="queueing", phase=Phase.QUEUED), _AT - 80_000_000).watch
    if kind in _REACHED:
        phase = _REACHED[kind]
        failed, succeeded = phase is Phase.FAILED, phase is Phase.SUCCEEDED
        full = Observation(
            state=phase.value,
            phase=phase,
            progress=0.5,
            eta_seconds=30.0,
            error=TaskError(code="E1", message="it did not work") if failed else None,
            urls=("https://example.com/result.mp4",) if succeeded else (),
            task={},
        )
        yield from step(before, full, _AT).events
        yield from step(watch, Observation(state=phase.value, phase=phase, task={}), _AT).events
    elif kind is EventType.LOST:
        for each in (before, watch):
            yield from give_up(each, LostReason.NOT_FOUND, "the upstream does not know the task", _AT).events
    elif kind is EventType.STALLED:
        yield from stall(before, 600.0, _AT).events
        yield from stall(watch, 600.0, _AT).events
    elif kind in (EventType.SOURCE_FAILING, EventType.SOURCE_RECOVERED):
        yield Event(type=kind, at=_AT, extra={"source": "vidu", "reason": "unavailable", "detail": "a sample"})
    elif kind is EventType.RELOAD_FAILED:
        yield Event(type=kind, at=_AT, extra={"problems": ["config.yaml:1:1: stroe: unknown key"]})
    else:
        yield Event(type=kind, at=_AT, extra={"endpoint": "app", "reason": "http_410", "detail": "a sample"})
        if kind is EventType.ENDPOINT_RECOVERED:
            yield Event(type=kind, at=_AT, extra={"endpoint": "app", "reason": "enabled"})


def _seen(event: Event) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(payload.body(event))
    data = seen["data"]
    if event.watch is not None:
        data["watch"]["labels"], data["watch"]["metadata"] = Open(sample="text"), Open(sample="text")
    if data.get("task") is not None:
        data["task"] = Open(sample="text")
    return {**seen, "id": payload.message_id(_AT, 1)}


_SCHEMA = WithJsonSchema({"type": "string", "minLength": 1, "examples": ["{{ data.watch.id }}: {{ data.state }}"]})

# for a field that follows a field `events`
JsonTemplate = Annotated[str, PlainValidator(_json_template), _SCHEMA]
TextTemplate = Annotated[str, PlainValidator(_text_template), _SCHEMA]
