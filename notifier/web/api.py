"""The daemon as the HTTP handlers see it: the loops and the store, in plain values. Nothing here runs by itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import cast

from aiohttp import web

from notifier.config import Config, ConfigInForce, NotNow, Problem, WatchRefused, parse_watch
from notifier.core import payload
from notifier.core.callback import LABEL, is_callback
from notifier.core.model import Delivery, Json, Micros, NewWatch
from notifier.core.mute import Mute
from notifier.core.retry import Delivered
from notifier.core.routing import receivers
from notifier.deliver import Dispatcher
from notifier.follow import Watcher
from notifier.store import (
    AttemptOutcome,
    DeliveryDetail,
    DeliveryFilter,
    Store,
    WatchFacts,
    WatchFilter,
    WatchHistory,
    WatchRow,
)
from notifier.web import answers
from notifier.web.hub import Hub
from notifier.web.refusals import Conflict, Invalid, Unavailable, Unknown
from notifier.web.requests import MuteRequest
from notifier.web.status import StatusReport, mute_items

WATCHES_PER_COMMIT = 1000  # in one transaction: other writers wait for it
SLICE = 0.005  # seconds of reading watches before other tasks have their turn on the loop
MAX_PROBLEMS = 1000  # in one answer
TEST = "notifier.test"  # the type of a test event, which is about no watch
NAMED = 5  # watches that a warning names
NOBODY = "no `match` accepts it, and it names no endpoint"
GREETING = "this is a test; nothing happened"
_FACTS = frozenset(WatchFacts.__annotations__)


class Api:
    """What the daemon does for its HTTP clients. Handlers read `store`, `status` and `hub` directly."""

    def __init__(
        self,
        *,
        store: Store,
        status: StatusReport,
        hub: Hub,
        dispatcher: Dispatcher,
        watcher: Watcher,
        clock: Callable[[], Micros],
        in_force: ConfigInForce,
        reload: Callable[[], Awaitable[Sequence[Problem]]],
    ) -> None:
        """Create it; `reload` loads the configuration again, and returns its problems."""
        self.store = store
        self.status = status
        self.hub = hub
        self._dispatcher = dispatcher
        self._watcher = watcher
        self._clock = clock
        self._in_force = in_force
        self._reload = reload

    async def reload(self) -> answers.Reloaded:
        """Load the configuration again; return what it changed.

        Raises Invalid, and Unavailable if the files may be good.
        """
        problems = await self._reload()
        if problems and isinstance(problems[0], NotNow):
            raise Unavailable(str(problems[0]))
        if problems:
            told = [each.in_full() for each in problems]
            raise Invalid(
                "the configuration was refused; nothing was changed", told, places=list(map(asdict, problems))
            )
        changes = self._in_force.changes
        return {
            "reloaded": True,
            "watches": dict(self._in_force.watches),
            "added": list(changes.added),
            "changed": list(changes.changed),
            "removed": list(changes.removed),
            "needs_restart": list(changes.needs_restart),
            "warnings": list(self._in_force.warnings),
        }

    # -- watches

    async def add_watches(
        self, entries: Sequence[Json], *, listed: bool, traceparent: str | None = None
    ) -> tuple[list[answers.AddedWatch], list[str]]:
        """Add watches; return one item for each entry, and warnings, after the commit.

        Raises Invalid with every problem and adds none; `listed`: problems name the entry's index. `traceparent` is for
        watches without one.
        """
        watches = await self._read(entries, listed=listed)
        if traceparent is not None:
            watches = [replace(w, traceparent=traceparent) if w.traceparent is None else w for w in watches]
        unique: dict[tuple[str, str], NewWatch] = {}
        for watch in watches:
            unique.setdefault((watch.source, watch.id), watch)  # the first of several entries for one task counts
        wanted, created = list(unique.values()), set[tuple[str, str]]()
        for start in range(0, len(wanted), WATCHES_PER_COMMIT):
            applied = await self.store.watches.apply(
                wanted[start : start + WATCHES_PER_COMMIT], origin="api", now=self._clock()
            )
            created.update(applied.added)
            self._watcher.describe(applied.changed)
            if applied.added:
                self._watcher.wake()
        items: list[answers.AddedWatch] = []
        new = [watch for key, watch in unique.items() if key in created]
        warnings = [*self._unheard(new), *_odd(new)]
        for watch in watches:
            key = (watch.source, watch.id)
            items.append({"source": watch.source, "id": watch.id, "created": key in created})
            created.discard(key)
        return items, warnings

    def _unheard(self, watches: Sequence[NewWatch]) -> list[str]:
        """Return a warning if nobody receives the events of some watches."""
        routes = self._in_force.config.routes
        names = [
            f"{watch.source}/{watch.id}"
            for watch in watches
            if watch.callback is None and not any(receivers(routes, watch.source, watch.labels, watch.endpoints))
        ]
        if not names:
            return []
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return [f"no endpoint receives the events of {', '.join(names[:NAMED])}{more}: {NOBODY}"]

    async def _read(self, entries: Sequence[Json], *, listed: bool) -> list[NewWatch]:
        """Read every watch by the configuration in force, before any is written. Raises Invalid.

        Reading gives turns to other tasks. After a reload in one of them, everything is read again.
        """
        while True:
            config = self._in_force.config
            try:
                watches = await self._parse(entries, config, listed=listed)
            except Invalid:
                if self._in_force.config is config:
                    raise
            else:
                if self._in_force.config is config:
                    return watches

    async def _parse(self, entries: Sequence[Json], config: Config, *, listed: bool) -> list[NewWatch]:
        """Read every watch by a configuration. Raises Invalid."""
        loop = asyncio.get_running_loop()
        watches: list[NewWatch] = []
        problems: list[str] = []
        pause = loop.time() + SLICE
        for index, entry in enumerate(entries):
            try:
                watches.append(parse_watch(entry, config))
            except WatchRefused as exc:
                place = f"[{index}]" if listed else ""
                problems.extend(_with_place(place, problem.key, str(problem)) for problem in exc.problems)
                if len(problems) > MAX_PROBLEMS:
                    problems[MAX_PROBLEMS:] = ["and more; these are the first"]
                    break
            if loop.time() >= pause:
                await asyncio.sleep(0)
                pause = loop.time() + SLICE
        if problems:
            raise Invalid("refused; nothing was changed", problems)
        return watches

    async def watches(
        self, which: WatchFilter, *, limit: int, before: int | None
    ) -> tuple[list[answers.WatchItem], int | None]:
        """List watches, newest first, and return the cursor of the next page."""
        rows = await self.store.lists.watches(which, limit=limit, before=before)
        next_cursor = rows[-1]["pk"] if len(rows) == limit else None
        return [self._watch(row) for row in rows], next_cursor

    async def watch(self, source: str, task_id: str, *, removed: bool = False) -> answers.WatchItem:
        """Return one watch; with `removed`, also one that was removed. Raises Unknown."""
        rows = await self.store.lists.watches(WatchFilter(source=source, id=task_id, removed=removed), limit=1)
        if not rows:
            raise _no_watch(source, task_id)
        return self._watch(rows[0])

    async def watch_details(self, source: str, task_id: str) -> answers.WatchDetail:
        """Return one watch with its events, their deliveries, and its connection. Raises Unknown."""
        row = await self.store.lists.watch(source, task_id)
        if row is None:
            raise _no_watch(source, task_id)
        watch = self._watch(row)
        history: WatchHistory = {"events": row["events"], "more": row["more"]}
        hearing = list(receivers(self._in_force.config.routes, row["source"], row["labels"], row["endpoints"]))
        return {**watch, **history, "receivers": hearing, "connection": self._connection(row)}

    def _watch(self, row: WatchRow) -> answers.WatchItem:
        """Add the node that follows a watch, and whether its stream is open, to the facts of the store."""
        facts = cast(WatchFacts, {key: value for key, value in row.items() if key in _FACTS})
        node = None if row["owner"] is None else self.status.node_name(row["owner"])
        connection = self._connection(row)
        return {**facts, "node": node, "connected": None if connection is None else connection["open"]}

    def _connection(self, row: WatchRow) -> answers.WatchConnection | None:
        """Describe the connection of a watch; None: another node follows it, and only that node knows."""
        if row["owner"] not in (None, self.store.number):
            return None
        subscription = self._watcher.subscription(row["source"], row["pk"])
        if subscription is None:
            named = row["ended"] or row["source"] in self._watcher.feeds
            error = None if named else f"the configuration names no source {row['source']}"
            return {"open": False, "failures": 0, "trouble": None, "error": error, "unread": None}
        health, stream = subscription.health, subscription.stream
        return {
            "open": stream is not None,
            "failures": health.failures,
            "trouble": None if health.trouble is None else health.trouble.value,
            "error": health.error,
            "unread": None if stream is None or stream.unread is None else stream.unread.in_full,
        }

    async def remove_watch(self, source: str, task_id: str) -> None:
        """Stop following a watch; recorded events are still delivered. Raises Unknown."""
        removed = await self.store.watches.remove(source, task_id, now=self._clock())
        if removed is None:
            raise _no_watch(source, task_id)
        self._watcher.drop([removed])
        self.hub.signal(source, task_id)

    # -- deliveries

    async def delivery(self, number: int) -> DeliveryDetail:
        """Return one delivery with its attempts and payload. Raises Unknown."""
        detail = await self.store.lists.delivery(number)
        if detail is None:
            raise Unknown(f"there is no delivery {number}")
        return detail

    async def retry(self, which: DeliveryFilter) -> int:
        """Make dead deliveries ready again; return their number. Raises Unknown for an endpoint not configured."""
        if which.endpoint is not None and which.endpoint != LABEL and not is_callback(which.endpoint):
            self._check(which.endpoint)
        count = await self.store.outbox.retry(which, now=self._clock())
        self._dispatcher.look()
        return count

    # -- endpoints

    async def endpoints(self) -> list[answers.EndpointItem]:
        """List endpoints with their health."""
        states = await self.status.endpoints()
        configured = self._in_force.config.endpoints  # after the await, in which a reload may change both together
        items: list[answers.EndpointItem] = []
        for health in states:
            endpoint = configured[health["name"]]
            items.append({**health, "type": endpoint.type, "url": endpoint.origin})
        return items

    async def test(self, endpoint: str) -> answers.TestResult:
        """Send a test event to an endpoint at once, past the outbox; return its outcome. Raises Unknown."""
        self._check(endpoint)
        now = self._clock()
        delivery = Delivery(
            id=0,
            endpoint=endpoint,
            event_id=payload.message_id(now, secrets.randbits(80)),
            event_type=TEST,
            body=payload.encode(
                {"type": TEST, "timestamp": payload.timestamp(now), "data": {"endpoint": endpoint, "detail": GREETING}}
            ),
            lane=None,
            observed_at=now,
        )
        attempt = await self._dispatcher.endpoints[endpoint].attempt(delivery)
        failure = None if isinstance(attempt.outcome, Delivered) else attempt.outcome
        return {
            "outcome": cast(AttemptOutcome, type(attempt.outcome).__name__.lower()),
            "status": attempt.status,
            "seconds": attempt.seconds,
            "reason": None if failure is None else failure.reason,
            "detail": None if failure is None else failure.detail,
            "reply": attempt.reply,
        }

    async def enable(self, endpoint: str, *, enabled: bool) -> None:
        """Enable or disable an endpoint. Raises Unknown."""
        self._check(endpoint)
        if enabled:
            await self._dispatcher.endpoints[endpoint].enable()
        else:
            await self._dispatcher.endpoints[endpoint].disable("operator", "disabled by hand")

    # -- mutes

    def mutes(self) -> list[answers.MuteItem]:
        """List the mutes that last, oldest first."""
        return mute_items(self._dispatcher.mutes.active)

    async def mute(self, wanted: MuteRequest) -> answers.MuteItem:
        """Silence endpoints that people read. Raises Unknown, Conflict, BadRequest."""
        if wanted.endpoint is not None:
            self._check(wanted.endpoint)
            if self._in_force.config.endpoints[wanted.endpoint].type == "webhook":
                raise Conflict(f"{wanted.endpoint} is a webhook: a program relies on its events; it cannot be muted")
        now = self._clock()
        mute = Mute(
            id=f"mute_{secrets.token_hex(5)}",
            endpoint=wanted.endpoint,
            labels=wanted.labels,
            until=wanted.end(now),
            created_at=now,
            comment=wanted.comment,
        )
        await self._dispatcher.mute(mute)
        return mute_items([mute])[0]

    async def unmute_all(self) -> None:
        """Remove the mutes that last."""
        for mute in self._dispatcher.mutes.active:
            await self._dispatcher.mutes.remove(mute.id)

    async def unmute(self, mute: str) -> None:
        """Remove a mute. Raises Unknown."""
        if not await self._dispatcher.mutes.remove(mute):
            raise Unknown(f"there is no mute {mute}")

    def _check(self, endpoint: str) -> None:
        names = list(self._dispatcher.endpoints)
        if endpoint not in names:
            there = "there is none" if not names else "there is only" if len(names) == 1 else "there are"
            raise Unknown(f"there is no endpoint {endpoint}; {there} {', '.join(names)}".rstrip())


API = web.AppKey("api", Api)


def _odd(watches: Iterable[NewWatch]) -> list[str]:
    """Return a warning if ids hold blanks, which no provider gives out: a quote, or a comma between ids, is missing."""
    odd = [f"{watch.source}/{watch.id}" for watch in watches if any(map(str.isspace, watch.id))]
    more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
    return [f"there is a blank in the id {', '.join(odd[:NAMED])}{more}: is it one id?"] if odd else []


def _no_watch(source: str, task_id: str) -> Unknown:
    return Unknown(f"no watch of source {source} has the id {task_id}")


def _with_place(place: str, key: str, problem: str) -> str:
    """Put the place of an entry before its problem."""
    if not place:
        return problem
    return f"{place}.{problem}" if key else f"{place}: {problem}"
