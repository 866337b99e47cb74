"""The selection of watches, and how a list of them looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.text import Text

from notifier.cli.output import when

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession
    from notifier.core.model import Json

PAGE = 1000  # watches in one answer of the daemon, at most
COLUMNS = ("watch", "phase", "state", "changed", "stream", "node", "labels")
CUT = ("labels",)
DROP = ("node", "stream", "labels", "changed")  # on a narrow terminal, the least useful first


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A selection of watches."""

    source: str | None = None
    phase: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    search: str | None = None
    ended: bool | None = None
    limit: int | None = None  # None: all

    def fetch(self, daemon: DaemonSession) -> Json:
        """Return a list in the API's form, joined from as many pages as necessary. Raises as `ask`."""
        items: list[Json] = []
        cursor: str | None = None
        while True:
            left = PAGE if self.limit is None else min(PAGE, self.limit - len(items))
            query = [*self._query(), ("limit", str(left)), *([("cursor", cursor)] if cursor is not None else ())]
            page = daemon.ask("GET", "/v1/watches", query=query)
            items += page["items"]
            cursor = page["next"]
            if cursor is None or len(items) == self.limit:
                return {"items": items, "next": cursor}

    def _query(self) -> Iterator[tuple[str, str]]:
        fields = {"source": self.source, "phase": self.phase, "q": self.search}
        yield from ((name, value) for name, value in fields.items() if value is not None)
        if self.ended is not None:
            yield "ended", "true" if self.ended else "false"
        yield from (("label", f"{name}:{value}") for name, value in self.labels.items())

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event belongs to the selection; labels are not checked, since an event has none."""
        over = event["type"] == "watch.lost" or event["phase"] in ("succeeded", "failed", "canceled")
        return (
            event["task"] is not None
            and self.source in (None, event["source"])
            and self.phase in (None, event["phase"])
            and (self.search is None or self.search in event["task"])
            and self.ended in (None, over)
        )


def columns(items: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns of a list; the node only where there are several."""
    several = len({item["node"] for item in items} - {None}) > 1
    return COLUMNS if several else tuple(name for name in COLUMNS if name != "node")


def rows(items: Sequence[Mapping[str, Any]]) -> list[Sequence[object]]:
    """Return a row for each watch, in the order of `columns`."""
    shown = [COLUMNS.index(name) for name in columns(items)]
    return [tuple(row[index] for index in shown) for row in _rows(items)]


def _rows(items: Iterable[Mapping[str, Any]]) -> list[Sequence[object]]:
    return [
        (
            f"{item['source']}/{item['id']}",
            "lost" if item["lost"] else item["phase"] or "new",
            item["lost"] or item["state"],
            when(item["changed_at"]),
            _stream(item),
            item["node"],
            ", ".join(f"{name}={value}" for name, value in item["labels"].items()),
        )
        for item in items
    ]


def _stream(item: Mapping[str, Any]) -> Text | None:
    """Describe the stream; empty for a watch that has none, or whose stream another node has."""
    if item["ended"] or item["connected"] is None:
        return None
    return Text("open", "green") if item["connected"] else Text("closed", "yellow")
