"""Reads a queue's message as a list of changes. Pure; it knows no broker.

A message is a watch as in YAML, a list of watches, `{"remove": ...}`, or a bare id. It is accepted or refused as a
whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, islice

from notifier.config import Config, parse_watch
from notifier.core import strictjson
from notifier.core.errors import NotifierError
from notifier.core.model import Json, NewWatch
from notifier.core.strictjson import SameKeyTwice
from notifier.core.trace import accepted

MAX_BYTES = 1024 * 1024  # of one message, NATS's own default: reading a message blocks the loop
MAX_CHANGES = 5000  # of one message, for the same reason
MAX_WATCHES = 1000  # added in one transaction: other writers wait for it
MAX_NAMED = 20  # fields that a reason names
EXCERPT = 200  # characters of a message that are logged
DATA = "data"  # the field of an entry that contains a whole message
REMOVE = "remove"
JSON_FIELDS = frozenset({"endpoints", "labels", "metadata", "variables"})  # of an entry; its other fields are text

_OWN = re.compile(r"callback|https?:|whsec_", re.IGNORECASE)  # the end of an excerpt

Content = bytes | Mapping[str, bytes]  # a body, or the fields of a Redis entry


class MessageRefused(NotifierError):
    """The message cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddWatch:
    """A request to follow a task."""

    watch: NewWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveWatch:
    """A request to follow a task no longer."""

    source: str
    id: str


Change = AddWatch | RemoveWatch


def read(content: Content, config: Config, *, traceparent: str | None = None) -> tuple[Change, ...]:
    """Return the changes of a message, in its order. Raises MessageRefused.

    Watches without a trace of their own get `traceparent`. If that is not valid it counts as missing, as the
    specification asks: the sender of the message need not know of it.
    """
    size = len(content) if isinstance(content, bytes) else sum(map(len, content.values()))
    if size > MAX_BYTES:
        raise MessageRefused(f"larger than {MAX_BYTES // 1024} KiB; send several messages")
    value = _document(content) if isinstance(content, bytes) else _entry(content)
    changes = tuple(islice(_changes(value, config), MAX_CHANGES + 1))
    if len(changes) > MAX_CHANGES:
        raise MessageRefused(f"asks for more than {MAX_CHANGES} watches; send several messages")
    trace = accepted(traceparent)
    return changes if trace is None else tuple(_traced(change, trace) for change in changes)


def _traced(change: Change, traceparent: str) -> Change:
    if isinstance(change, RemoveWatch) or change.watch.traceparent is not None:
        return change
    return AddWatch(watch=replace(change.watch, traceparent=traceparent))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBatch:
    """Changes that can be made together; one of the two tuples is empty."""

    added: tuple[NewWatch, ...] = ()
    removed: tuple[RemoveWatch, ...] = ()


def batches(changes: Iterable[Change]) -> Iterator[ChangeBatch]:
    """Yield batches of bounded size, each of consecutive changes of one kind."""
    for adding, run in groupby(changes, key=lambda change: isinstance(change, AddWatch)):
        if not adding:
            yield ChangeBatch(removed=tuple(change for change in run if isinstance(change, RemoveWatch)))
            continue
        # A queue does not change an existing watch, so the first of two equal ones counts.
        unique: dict[tuple[str, str], NewWatch] = {}
        for change in run:
            if isinstance(change, AddWatch):
                unique.setdefault((change.watch.source, change.watch.id), change.watch)
        watches = tuple(unique.values())
        for start in range(0, len(watches), MAX_WATCHES):
            yield ChangeBatch(added=watches[start : start + MAX_WATCHES])


def excerpt(content: Content) -> str:
    """Return the beginning of a message for a log, without a callback URL, which may be secret."""
    if not isinstance(content, bytes):
        content = b" ".join(name.encode() + b"=" + value[: EXCERPT * 4] for name, value in content.items())
    text = content[: EXCERPT * 4].decode("utf-8", "replace")
    if (own := _OWN.search(text)) is not None:
        return text[: min(own.start(), EXCERPT)] + "..."
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "..."


def _document(body: bytes) -> Json:
    """Return the JSON value, or the bare id."""
    text = _text(body)
    if not text:
        raise MessageRefused("the message is empty")
    try:
        value = strictjson.parse(text)
    except SameKeyTwice as exc:
        raise MessageRefused(str(exc)) from exc
    except RecursionError as exc:
        raise MessageRefused("nested too deeply") from exc
    except ValueError as exc:
        if text[0] in '{["':
            raise MessageRefused(f"neither JSON nor a bare id: {exc}") from exc
        return text
    # A number is an id in its spelling: `1234e56` is not a float, and a long number keeps all its digits.
    return text if isinstance(value, int | float) and not isinstance(value, bool) else value


def _entry(fields: Mapping[str, bytes]) -> Json:
    """Return the message of an entry: its field `data`, or a watch's own fields, which are JSON or plain text."""
    if DATA in fields:
        return _document(fields[DATA])
    if fields.keys().isdisjoint(("id", "remove")):
        there = ", ".join(islice(fields, MAX_NAMED))
        raise MessageRefused(f"put JSON into the field `{DATA}`, or the id into `id`; the fields are {there[:EXCERPT]}")
    value: dict[str, Json] = {}
    for name, content in fields.items():
        try:
            if name == "remove":
                value[name] = _document(content)
            else:  # a field that no watch has is refused by its name, whatever it holds
                value[name] = strictjson.parse(_text(content)) if name in JSON_FIELDS else _text(content)
        except RecursionError as exc:
            raise MessageRefused(f"{name}: nested too deeply") from exc
        except (MessageRefused, SameKeyTwice) as exc:
            raise MessageRefused(f"{name}: {exc}") from exc
        except ValueError as exc:
            raise MessageRefused(f'{name}: expected JSON, in which a text has quotes: "...": {exc}') from exc
    return value


def _changes(value: Json, config: Config) -> Iterator[Change]:
    if not isinstance(value, list):
        yield from _change(value, config)
        return
    for index, item in enumerate(value):
        try:
            yield from _change(item, config)
        except NotifierError as exc:
            raise MessageRefused(f"[{index}]: {exc}") from exc


def _change(value: Json, config: Config) -> Iterator[Change]:
    try:
        if not isinstance(value, dict) or REMOVE not in value:
            yield AddWatch(watch=parse_watch(value, config))
            return
        if len(value) > 1:
            raise MessageRefused(f"{REMOVE} stands alone, without the keys of a watch")
        targets = value[REMOVE]
        for target in targets if isinstance(targets, list) else [targets]:
            if isinstance(target, dict) and target.keys() - {"id", "source"}:
                raise MessageRefused(f"{REMOVE} names a watch by id and source alone")
            watch = parse_watch(target, config, named=True)
            yield RemoveWatch(source=watch.source, id=watch.id)
    except MessageRefused:
        raise
    except NotifierError as exc:
        raise MessageRefused("; ".join(str(exc).splitlines())) from exc


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig").strip()
    except UnicodeDecodeError as exc:
        raise MessageRefused("not UTF-8") from exc
