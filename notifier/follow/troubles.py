"""The troubles of one source: each kind is logged once, however many watches have it, and counted by watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from notifier.core.errors import SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.reconnect import Ending

log = structlog.get_logger(__name__)

QUIET = 60.0  # seconds in which the same kind is logged at most once, though it goes and comes
SILENT = Unavailable("the stream ends without an event")
KINDS = ("refused", "unreadable", "unavailable", "no_content")  # of errors that are a source's trouble, not one watch's


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One kind of trouble of a source, in words."""

    error: str  # the latest one
    hint: str  # what to do about it
    excerpt: str  # of a snapshot that cannot be read; empty: there is none


@dataclass(slots=True)
class _Kind:
    latest: SourceError | None = None
    watches: dict[int, bool] = field(default_factory=dict)  # by pk: whether snapshots came before the error
    logged: bool = False  # and its end was not yet
    logged_at: float | None = None


class Troubles:
    """Remembers which watches of a source are in trouble; `now` is a clock in seconds that nobody sets."""

    def __init__(self, source: str, *, now: Callable[[], float]) -> None:
        self._source = source
        self.now = now
        self._kinds = {kind: _Kind() for kind in KINDS}
        self.failing_since: float | None = None  # when the first of the latest tries failed, if all failed since
        self.fault: SourceError | None = None  # of the latest try, if it failed
        self.any = False  # a watch is in trouble, or the end of a trouble is still to be logged

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of watches in trouble, by kind; kinds without any are left out."""
        return {name: len(kind.watches) for name, kind in self._kinds.items() if kind.watches}

    @property
    def words(self) -> Mapping[str, Trouble]:
        """Return the same kinds in words."""
        return {
            name: Trouble(error=str(kind.latest), hint=_hint(kind.latest), excerpt=_excerpt(kind.latest))
            for name, kind in self._kinds.items()
            if kind.watches and kind.latest is not None
        }

    def tried(self, fault: SourceError | None) -> None:
        """Record how a try ended: with an answer of the upstream, or with a fault of the source as a whole."""
        self.fault = fault
        if fault is None:
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = self.now()

    def ended(self, pk: int, ending: Ending, *, attempts: int, longest: float) -> None:
        """Record how a watch's connection ended, after `attempts` in a row that brought nothing new.

        A connection that was open for `longest` seconds has proved that the source works.
        """
        error = ending.error or ending.unread or (SILENT if ending.silent and not _lasting(ending, longest) else None)
        answered = error is None or ending.observed or isinstance(error, TaskNotFound)
        self.tried(None if answered else error)
        if error is None:
            if ending.observed and self.any:
                self.end(pk, proven=True)
        elif not ending.opened or error.kind == "unreadable" or (attempts and not _lasting(ending, longest)):
            self.begin(pk, error, observed=ending.observed)  # any stream may break once

    def begin(self, pk: int, error: SourceError, *, observed: bool) -> None:
        """Record that a watch is in trouble. `observed`: its connection brought a snapshot before the error."""
        kind = self._kinds.get(error.kind)
        if kind is None:
            return
        kind.watches[pk] = observed
        kind.latest = error
        self.any = True
        now = self.now()
        if kind.logged or (kind.logged_at is not None and now - kind.logged_at < QUIET):
            return
        kind.logged, kind.logged_at = True, now
        quoted = {"excerpt": excerpt} if (excerpt := _excerpt(error)) else {}
        log.warning(f"source.{error.kind}", source=self._source, error=str(error), hint=_hint(error), **quoted)

    def end(self, pk: int, *, proven: bool) -> None:
        """Record that a watch is well.

        A snapshot ends a trouble that came before any snapshot. A trouble that comes after a good snapshot each time
        ends only when something has `proven` that it is over: a change, an orderly end, a stream that stays.
        """
        ended: list[str] = []
        for name, kind in self._kinds.items():
            if pk in kind.watches and (proven or not kind.watches[pk]):
                del kind.watches[pk]
            if kind.logged and not kind.watches:
                kind.logged = False
                ended.append(name)
        self.any = any(kind.watches or kind.logged for kind in self._kinds.values())
        if ended:
            log.info("source.recovered", source=self._source, after=sorted(ended))

    def forget(self, pk: int) -> None:
        """Stop counting a watch that is no longer followed; that is no sign of recovery."""
        for kind in self._kinds.values():
            kind.watches.pop(pk, None)


def _lasting(ending: Ending, longest: float) -> bool:
    return ending.news or ending.lasted >= longest


_HINTS = {
    400: "the upstream refuses the request: check the task's id and the source's url",
    401: "check the source's token",
    402: "check the account: the upstream wants to be paid",
    403: "check what the source's token may see",
    405: "check the source's method and url",
    406: "check the source's header Accept",
    407: "check the credentials of the source's proxy",
    422: "the upstream refuses the request: check the task's id and the source's url",
    425: "trying again",
    429: "trying again; lower connect_rate or max_streams if it goes on",
}


def _excerpt(error: SourceError) -> str:
    return error.excerpt or "" if isinstance(error, Unreadable) else ""


def _hint(error: SourceError) -> str:
    """Return what to do about it."""
    if error.status in _HINTS:
        return _HINTS[error.status]
    match error.kind:
        case "refused":
            return "check the source's url and headers"
        case "no_content":
            return "trying again; a task of which it tells nothing is lost at the source's deadline"
        case "unreadable":
            return "trying again; check the source's url, paths and states"
        case _:
            return "trying again"
