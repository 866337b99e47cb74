"""`watch list --follow`: shows the list, then its changes from GET /v1/stream.

The stream is opened before the list is fetched, so that no change is missed in between. A broken stream is opened again
from the event after the last one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.text import Text

from notifier.cli.client import Client, Denied, Unreachable
from notifier.cli.listing import CUT, DROP, Wanted, columns, rows
from notifier.cli.output import complain, printable, show, show_json_line, show_table, table, terminal, when
from notifier.cli.timeline import change

if TYPE_CHECKING:
    from rich.console import Group

    from notifier.cli.session import DaemonSession
    from notifier.core.eventstream import StreamEvent

REDRAW = 0.5  # seconds between requests of the list, at least: there may be a thousand changes a second
RETRY = 1.0  # seconds until a broken stream is opened again
AWAY = "the daemon does not answer; trying again"
REST_OF_SCREEN = 5  # lines of a terminal that are kept for the text around the table
MAX_REMEMBERED = 100_000  # watches whose labels are remembered


def run(client: Client, wanted: Wanted, *, as_json: bool) -> None:
    """Show until Ctrl-C."""
    live = terminal().is_terminal and not as_json
    with suppress(KeyboardInterrupt):
        client.run(lambda daemon: _live(daemon, wanted) if live else _lines(daemon, wanted, as_json=as_json))


def _passing(exc: Unreachable | Denied) -> bool:
    return isinstance(exc, Unreachable) or exc.status >= 500


def _patiently(daemon: DaemonSession, wanted: Wanted) -> list[dict[str, Any]]:
    """Return the list; try again for as long as the daemon is away, since it may be restarting."""
    while True:
        try:
            return list(wanted.fetch(daemon)["items"])
        except (Unreachable, Denied) as exc:
            if not _passing(exc):
                raise
            time.sleep(RETRY)


class _Changes:
    """The events of the stream, across reconnections."""

    def __init__(self, daemon: DaemonSession, wanted: Wanted) -> None:
        self._daemon = daemon
        self._query = [("source", wanted.source)] if wanted.source is not None else []
        self._last: str | None = None  # id of the last event
        self.anew = True  # events may have been missed: the whole list has to be fetched
        self.broken: str | None = None  # why the stream is not open

    def __iter__(self) -> Iterator[dict[str, Any] | None]:
        """Yield events of watches, and None when something else may have changed. Raises as `DaemonSession.ask`."""
        while True:
            try:
                for event in self._daemon.events("/v1/stream", query=self._query, last=self._last):
                    yield self._taken(event)
                self.broken = AWAY
            except (Unreachable, Denied) as exc:
                if (self.anew and self.broken is None) or not _passing(exc):
                    raise
                self.broken = AWAY
            yield None
            time.sleep(RETRY)

    def _taken(self, event: StreamEvent | None) -> dict[str, Any] | None:
        self.broken = None
        if event is None:
            self.anew = self._last is None
            return None
        if event.last_event_id:
            self._last = event.last_event_id
        data: dict[str, Any] = {} if event.type == "status" else json.loads(event.text)
        return data if data.get("task") is not None else None


def _lines(daemon: DaemonSession, wanted: Wanted, *, as_json: bool) -> None:
    changes = _Changes(daemon, wanted)
    labels = _Labels(daemon, wanted)
    shown: dict[tuple[str, str], int] = {}  # the last sequence that the list shows
    complained = False
    for event in changes:
        if changes.broken and not complained:
            complain(f"notifier: {changes.broken}")
        complained = changes.broken is not None
        if event is not None:
            name = (event["source"], event["task"])
            if event["sequence"] > shown.get(name, 0) and wanted.takes(event) and labels.match(*name):
                show_json_line(event) if as_json else show(_line(event))
        elif changes.anew and changes.broken is None:
            changes.anew = False
            items = _patiently(daemon, wanted)
            shown = {(item["source"], item["id"]): item["sequence"] for item in items}
            for item in items if as_json else ():
                show_json_line(item)
            if not as_json:
                show_table(columns(items), rows(items), empty="no watches so far", cut=CUT, drop=DROP)
        sys.stdout.flush()


class _Labels:
    """Knows whether a watch has the selected labels, which events do not contain."""

    def __init__(self, daemon: DaemonSession, wanted: Wanted) -> None:
        self._daemon = daemon
        self._wanted = wanted
        self._known: dict[tuple[str, str], bool] = {}

    def match(self, source: str, task: str) -> bool:
        """Return whether the watch is selected; asks the daemon once for each."""
        if not self._wanted.labels:
            return True
        name = (source, task)
        if name not in self._known:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            only = Wanted(source=source, search=task, labels=self._wanted.labels)
            self._known[name] = any(item["id"] == task for item in _patiently(self._daemon, only))
        return self._known[name]


def _line(event: Mapping[str, Any]) -> Text:
    return Text(printable(f"{when(event['timestamp'])}  {event['source']}/{event['task']}  ")) + change(event)


def _live(daemon: DaemonSession, wanted: Wanted) -> None:
    from rich.live import Live  # here, as only this needs it

    changes = _Changes(daemon, wanted)
    last: list[Text] = []
    page: Any = None
    stale, drawn = True, 0.0
    with Live(console=terminal(), auto_refresh=False) as live:
        for event in changes:
            if event is not None:
                last = [_line(event)]
            stale = stale or event is not None or changes.anew
            now = time.monotonic()
            if now < drawn + REDRAW:
                continue  # a status event every two seconds leads here again: the last change is not missed
            if stale and changes.broken is None:
                try:
                    page = wanted.fetch(daemon)
                    stale = changes.anew = False
                except (Unreachable, Denied) as exc:
                    if page is None or not _passing(exc):
                        raise
                    changes.broken = AWAY
            drawn = now
            live.update(_screen(page, changes.broken, last), refresh=True)


def _screen(page: Any, broken: str | None, last: list[Text]) -> Group:
    from rich.console import Group

    room = max(1, terminal().height - REST_OF_SCREEN)
    items = page["items"]
    seen = items[:room]
    lines = [Text("no watches so far")]
    if seen:
        lines = table(columns(seen), rows(seen), width=terminal().width, cut=CUT, drop=DROP)
    hidden = len(items) - room
    below = [Text(f"and {hidden} more" + (", at least" if page["next"] else ""), style="dim")] if hidden > 0 else []
    state = Text(printable(broken), style="red") if broken else Text("live; Ctrl-C ends", style="dim")
    for line in (*lines, *below, *last, state):
        line.no_wrap = True
        line.overflow = "ellipsis"
    return Group(*lines, *below, *last, state)
