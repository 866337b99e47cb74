"""The timeline of a watch: each change with its time, and the outcome of its delivery to each endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

from rich.text import Text

from notifier.cli.output import STYLES, cell, printable, receiver, span, terminal, when
from notifier.core.trace import trace_id

Item = Mapping[str, Any]
Attempts = Mapping[int, Sequence[Item]]  # by delivery, for those with failed attempts

TIME = len("12:34:56.789")  # or a date
UTC_TIME = "2026-11-22T06:21:01Z"
ELAPSED = len("+123.4ms")
ORIGINS = {"file": "added from a file", "api": "added by the API", "queue": "added by a queue"}
REPEATS = 4  # reasons of failed attempts that are listed


def lines(item: Item, attempts: Attempts) -> Iterator[Text]:
    """Draw the timeline of a watch in the API's form."""
    yield from _head(item)
    yield Text("")
    margin = " " * ((TIME if terminal().is_terminal else len(UTC_TIME)) + ELAPSED + 4)
    began = datetime.fromisoformat(item["created_at"])
    before = [event for event in item["events"] if datetime.fromisoformat(event["timestamp"]) < began]
    since = item["events"][len(before) :]
    if item["more"]:
        yield Text(margin + "... earlier events are left out; notifier delivery list has them", style="dim")
    for event in before:  # of a watch that was removed, and added again
        yield from _told(event, began, margin, attempts)
    again = " again" if before else ""
    yield _at(item["created_at"], began, Text(f"followed{again}, {ORIGINS.get(item['origin'], item['origin'])}"))
    for event in since:
        yield from _told(event, began, margin, attempts)
    if not since:
        yield Text(margin + "nothing was observed yet", style="dim")


def _told(event: Item, began: datetime, margin: str, attempts: Attempts) -> Iterator[Text]:
    """Draw an event and its deliveries."""
    yield _at(event["timestamp"], began, change(event))
    yield from (Text(margin) + line for line in _remarks(event))
    names = [printable(receiver(delivery)) for delivery in event["deliveries"]]
    for name, delivery in zip(names, event["deliveries"], strict=True):
        outcome = _outcome(event, delivery, attempts.get(delivery["id"], ()))
        yield Text(f"{margin}  {name:<{max(map(len, names))}}  ") + outcome


def _head(item: Item) -> Iterator[Text]:
    state = "" if item["state"] == item["phase"] else f" ({item['state']})"
    how = (f"lost: {item['lost']}", "red") if item["lost"] else _phase(item["phase"]) if item["phase"] else "new"
    yield Text.assemble(
        (printable(f"{item['source']}/{item['id']}"), "bold"), "  ", how, printable(state) if item["phase"] else ""
    )
    if item["labels"]:
        yield _field("labels", ", ".join(f"{name}={value}" for name, value in item["labels"].items()))
    if item["variables"]:
        yield _field("variables", ", ".join(f"{name}={value}" for name, value in item["variables"].items()))
    if item["metadata"] not in (None, {}):  # null: of a daemon of an earlier version
        yield _field("metadata", json.dumps(item["metadata"], ensure_ascii=False))
    if item["traceparent"] is not None:
        yield _field("trace", trace_id(item["traceparent"]))
    receivers = list(item["receivers"])
    receivers += [f"its callback at {item['callback']}"] if item["callback"] is not None else []
    yield _field("told", ", ".join(receivers) or "nobody: no endpoint receives its events")
    yield _field("stream", _stream(item))
    if item["node"] is not None:
        yield _field("node", item["node"])


def _field(name: str, value: str) -> Text:
    return Text(f"{name:>8}  {printable(value)}")


def _stream(item: Item) -> str:
    if item["ended"]:
        return "none: it has ended"
    connection = item["connection"]
    if connection is None:
        return f"of node {item['node']}, which alone knows how it is"
    if connection["open"]:
        unread = connection.get("unread")  # a daemon of an earlier version does not say
        return "open" if unread is None else f"open, but it cannot be read: {unread}"
    failures, trouble = connection["failures"], connection["trouble"]
    if not failures:
        return "not open yet" if connection["error"] is None else f"none: {connection['error']}"
    reason = ": ".join(part for part in (trouble, connection["error"]) if part)
    times = "1 failure" if failures == 1 else f"{failures} failures in a row"
    return f"closed after {times}: {reason or 'no answer yet'}"


def _at(at: str, began: datetime, what: Text) -> Text:
    """Put the time, and the time since the beginning, before a text."""
    seconds = (datetime.fromisoformat(at) - began).total_seconds()
    elapsed = f"+{span(seconds) if seconds else '0s'}" if seconds >= 0 else ""
    return Text(f"{_time(at):<{TIME}}  {elapsed:>{ELAPSED}}  ") + what


def _time(at: str) -> str:
    """Shorten a time as lists do; a time of today keeps its milliseconds."""
    shown = when(at) or ""
    local = datetime.fromisoformat(at).astimezone()
    return local.strftime("%H:%M:%S.%f")[:-3] if len(shown) == len("12:34:56") else shown


def change(event: Item) -> Text:
    """Describe an event in a few words."""
    if not event["type"].startswith("task."):
        return Text(event["type"], style="red" if event["type"] == "watch.lost" else "yellow")
    before = printable(f"{event['previous_state']} -> ") if event["previous_state"] is not None else ""
    if event["state"] == event["phase"]:
        return Text(before) + _phase(event["phase"])
    return Text(printable(f"{before}{event['state']}  ")) + _phase(event["phase"])


def _phase(phase: str) -> Text:
    return Text(phase, style=STYLES.get(phase, ""))


def _remarks(event: Item) -> Iterator[Text]:
    """List what the payload adds to a change of state."""
    data = (event.get("payload") or {}).get("data", {})
    if data.get("error"):
        parts = [str(part) for part in data["error"].values() if part]
        yield Text(printable(f"  error: {': '.join(parts) or 'without a word'}"), style="red")
    if data.get("reason"):
        yield Text(printable(f"  {data['reason']}: {data.get('detail', '')}"))
    result = data.get("result") or {}
    for url, kept in zip_longest(result.get("urls", ()), result.get("archived", ())):
        yield Text(printable(f"  result: {url}"))
        if kept is not None:
            yield Text(printable(f"    kept: {kept['url']}" if kept["url"] else f"    not kept: {kept['reason']}"))


def _outcome(event: Item, delivery: Item, attempts: Sequence[Item]) -> Text:
    """Describe in one line what happened to a delivery."""
    tries = f", {delivery['attempt']} tries" if delivery["attempt"] > 1 else ""
    failed = [attempt["detail"] or attempt["reason"] for attempt in attempts if attempt["outcome"] != "delivered"]
    why = f": {_reasons(failed)}" if failed else f": {delivery['reason']}" if delivery["reason"] else ""
    match delivery["status"]:
        case "delivered":
            took = datetime.fromisoformat(delivery["settled_at"]) - datetime.fromisoformat(event["timestamp"])
            rest = f" after {span(max(took.total_seconds(), 0.001))}{tries}{why}"
        case "superseded":
            rest = " by a newer state"
        case "muted":
            rest = f" ({delivery['reason']})"
        case "waiting":
            rest = " for the event before it"
        case "ready" if delivery["attempt"] or delivery["reason"]:
            rest = f" for another try at {when(delivery['due'])}{tries}{why}"
        case "ready":
            rest = " to be sent"
        case _:
            rest = f"{tries}{why}; notifier delivery retry {delivery['id']}"
    return Text.assemble(cell(delivery["status"]), printable(rest))


def _reasons(failed: Sequence[str]) -> str:
    counted = {reason: failed.count(reason) for reason in failed}
    named = [f"{reason} ({count} times)" if count > 1 else reason for reason, count in counted.items()]
    more = f", and {len(named) - REPEATS} others" if len(named) > REPEATS else ""
    return ", ".join(named[:REPEATS]) + more
