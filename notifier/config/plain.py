"""Parses YAML into plain data in one pass, for the usual document: a large list of watches takes a third of the time.

Anything else, such as an anchor, a tag, a duplicate key, an error or a missing variable, is left to `tree`, which keeps
the place of every value. Both give the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from notifier.config import tree
from notifier.config.packed import CHUNK, Packed
from notifier.config.scalars import Interpolated, Unclear, resolve

LIST = "watches"  # the key of the list that may be long, in a text that is no list itself


class NotPlain(Exception):
    """The document has something unusual."""


def parse_plain(text: str, fill: Callable[[str], str], *, clear: bool) -> Any:
    """Return the document's data, None for an empty one. Raises NotPlain, and what `fill` raises.

    `fill` replaces the variables of a text. With `clear`, an Unclear value inside of the document is unusual. Without,
    a long list of watches is Packed.
    """
    if tree.unprintable(text):
        raise NotPlain
    protected, restore = tree.protect(text)
    loader = tree.LOADER(protected)
    try:
        return build(loader.get_event, _scalar(fill, restore, clear=clear), restore, packs=not clear)
    except yaml.YAMLError as exc:
        raise NotPlain from exc
    finally:
        loader.dispose()


def _scalar(fill: Callable[[str], str], restore: dict[int, str], *, clear: bool) -> Callable[[Any, bool], Any]:
    """Return the function that reads the value of a scalar's event; the flag says that it is inside of something."""

    def read(event: Any, inside: bool) -> Any:
        value = event.value
        if "$" in value:
            value = value.translate(restore)
            value = fill(value)
            if event.style or type(value) is Interpolated:
                return value
        elif event.style:
            return value
        value = resolve(value)
        if clear and inside and type(value) is Unclear:
            raise NotPlain
        return value

    return read


def build(
    get_event: Callable[[], Any],
    scalar: Callable[[Any, bool], Any],
    restore: dict[int, str],
    *,
    packs: bool = False,
    deepest: int = tree.MAX_DEPTH,
) -> Any:
    """Return the data of the events; `scalar` reads a scalar's. Raises NotPlain, also beyond `deepest` containers.

    With `packs`, a long list is Packed if it is the whole, or stands under the key LIST.
    """
    outside: list[tuple[Any, str | None]] = []  # the open containers around `container`, and the key of the next value
    container: Any = None
    key: str | None = None
    keys: dict[str, str] = {}  # each key once: a hundred thousand watches have the same
    root, documents = None, 0
    while True:
        event = get_event()
        kind = type(event)
        if kind is yaml.ScalarEvent:
            if event.tag is not None or event.anchor is not None:
                raise NotPlain
            if key is None and type(container) is dict:
                key = _key(event, container, keys, restore)
                continue
            value = scalar(event, container is not None)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            unusual = event.tag is not None or event.anchor is not None or len(outside) >= deepest
            if unusual or (key is None and type(container) is dict):
                raise NotPlain
            outside.append((container, key))
            if kind is yaml.MappingStartEvent:
                container = {}
            else:
                may_be_long = packs and (len(outside) == 1 or (len(outside) == 2 and key == LIST))
                container = Packed() if may_be_long else []
            key = None
            continue
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            value = container
            if type(value) is Packed and len(value) < CHUNK:
                value = list(value)
            container, key = outside.pop()
        elif kind is yaml.StreamEndEvent:
            return root
        elif kind is yaml.AliasEvent or (kind is yaml.DocumentStartEvent and documents):
            raise NotPlain
        else:
            documents += kind is yaml.DocumentStartEvent
            continue
        if container is None:
            root = value
        elif key is None:
            container.append(value)
        else:
            container[key] = value
            key = None


def _key(event: Any, container: dict[str, Any], keys: dict[str, str], restore: dict[int, str]) -> str:
    value: str = event.value.translate(restore) if restore else event.value
    if value in container or (value == "<<" and not event.style):
        raise NotPlain  # a duplicate, or a merge
    return keys.setdefault(value, value)
