"""A queue's message -> what it asks for, or why it is refused. Pure; knows no broker and no configuration.

A message is a watch as in YAML, a list of watches, `{"remove": ...}`, or a bare id. It is taken whole or refused whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice

from notifier.core import strictjson
from notifier.core.errors import NotifierError
from notifier.core.model import Json, NewWatch
from notifier.core.strictjson import SameKeyTwice

MAX_BYTES = 1024 * 1024  # of one message, NATS's own default: reading it holds up the loop
MAX_ORDERS = 5000  # of one message, for the same reason
MAX_WATCHES = 1000  # wanted in one transaction: bounds its time, and so everyone's wait
EXCERPT = 200  # characters of a message that a log shows
DATA = "data"  # the field of an entry that holds a whole message
REMOVE = "remove"

_OWN = re.compile(r"callback|https?:|whsec_", re.IGNORECASE)  # where an excerpt ends

Content = bytes | Mapping[str, bytes]  # a body, or an entry of fields as Redis has them
ParseWatch = Callable[[Json], NewWatch]  # raises NotifierError that says what is wrong


class MessageRefused(NotifierError):
    """The message cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Follow a task."""

    watch: NewWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwant:
    """Follow a task no longer."""

    source: str
    id: str


Order = Want | Unwant


def read(content: Content, parse_watch: ParseWatch) -> tuple[Order, ...]:
    """Return what a message asks for, in its order. Raises MessageRefused."""
    size = len(content) if isinstance(content, bytes) else sum(map(len, content.values()))
    if size > MAX_BYTES:
        raise MessageRefused(f"larger than {MAX_BYTES // 1024} KiB; send several messages")
    value = _document(content) if isinstance(content, bytes) else _entry(content)
    orders = tuple(islice(_orders(value, parse_watch), MAX_ORDERS + 1))
    if len(orders) > MAX_ORDERS:
        raise MessageRefused(f"asks for more than {MAX_ORDERS} watches; send several messages")
    return orders


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What can be done at once without changing the outcome: one of the two is empty."""

    wanted: tuple[NewWatch, ...] = ()
    unwanted: tuple[Unwant, ...] = ()


def steps(orders: Iterable[Order]) -> Iterator[Step]:
    """Put together runs of the same kind, of bounded size."""
    for wanting, run in groupby(orders, key=lambda order: isinstance(order, Want)):
        if not wanting:
            yield Step(unwanted=tuple(order for order in run if isinstance(order, Unwant)))
            continue
        # A queue does not change a watch that is there: of one that comes twice, the first counts.
        watches: dict[tuple[str, str], NewWatch] = {}
        for order in run:
            if isinstance(order, Want):
                watches.setdefault((order.watch.source, order.watch.id), order.watch)
        whole = tuple(watches.values())
        for start in range(0, len(whole), MAX_WATCHES):
            yield Step(wanted=whole[start : start + MAX_WATCHES])


def excerpt(content: Content) -> str:
    """Return the beginning of a message, for a log; of a watch's own URL, which may be secret, nothing is shown."""
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
    # A number is an id as it is written: `1234e56` is no float, and no digit of a long one may be lost.
    return text if isinstance(value, int | float) and not isinstance(value, bool) else value


def _entry(fields: Mapping[str, bytes]) -> Json:
    """Return the message of an entry: the field `data`, or a watch's own fields, JSON but for those that are text."""
    if DATA in fields:
        return _document(fields[DATA])
    value: dict[str, Json] = {}
    for name, content in fields.items():
        try:
            match name:
                case "id" | "source" | "callback_url" | "callback_secret":
                    value[name] = _text(content)
                case "remove":
                    value[name] = _document(content)
                case _:
                    value[name] = strictjson.parse(_text(content))
        except RecursionError as exc:
            raise MessageRefused(f"{name}: nested too deeply") from exc
        except (MessageRefused, SameKeyTwice) as exc:
            raise MessageRefused(f"{name}: {exc}") from exc
        except ValueError as exc:
            raise MessageRefused(f"{name}: expected JSON text: {exc}") from exc
    return value


def _orders(value: Json, parse_watch: ParseWatch) -> Iterator[Order]:
    if not isinstance(value, list):
        yield from _order(value, parse_watch)
        return
    for index, item in enumerate(value):
        try:
            yield from _order(item, parse_watch)
        except NotifierError as exc:
            raise MessageRefused(f"[{index}]: {exc}") from exc


def _order(value: Json, parse_watch: ParseWatch) -> Iterator[Order]:
    try:
        if not isinstance(value, dict) or REMOVE not in value:
            yield Want(watch=parse_watch(value))
            return
        if len(value) > 1:
            raise MessageRefused(f"{REMOVE} stands alone, without the keys of a watch")
        named = value[REMOVE]
        for target in named if isinstance(named, list) else [named]:
            if isinstance(target, dict) and target.keys() - {"id", "source"}:
                raise MessageRefused(f"{REMOVE} names a watch by id and source alone")
            watch = parse_watch(target)
            yield Unwant(source=watch.source, id=watch.id)
    except MessageRefused:
        raise
    except NotifierError as exc:
        raise MessageRefused("; ".join(str(exc).splitlines())) from exc


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig").strip()
    except UnicodeDecodeError as exc:
        raise MessageRefused("not UTF-8") from exc
