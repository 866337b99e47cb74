"""What the HTTP listener may ask of the daemon, answered: translates between plain JSON and the loops and the store.

Implements `web.Control`. Nothing here runs by itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from notifier.cluster.peers import Identity
from notifier.config import WatchRefused
from notifier.core import payload
from notifier.core.callback import LABEL, is_callback
from notifier.core.model import Delivery, Json, Micros, NewWatch
from notifier.core.retry import Delivered
from notifier.deliver.dispatcher import Dispatcher
from notifier.follow.subscription import Subscription
from notifier.follow.watcher import Watcher
from notifier.store.store import Store
from notifier.store.values import DeliveryFilter, EventFilter, WatchFilter
from notifier.web.control import Refused, Unknown
from notifier.web.hub import Hub
from notifier.web.report import Report

AT_ONCE = 1000  # watches in one transaction: others wait for it
SLICE = 0.005  # seconds of reading watches before others have their turn on the loop
MAX_PROBLEMS = 1000  # told of one request
TEST = "notifier.test"  # the type of an event that is about nothing
GREETING = "this is a test; nothing happened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What only the application itself knows."""

    config: str  # the file's path
    clock: Callable[[], Micros]
    identity: Identity
    reload: Callable[[], Awaitable[Sequence[str]]]
    parse_watch: Callable[[Json], NewWatch]  # raises WatchRefused
    origins: Callable[[], Mapping[str, Json]]  # of each endpoint: its type, and as much of its URL as is no secret


class DaemonControl:
    """The daemon, as seen from outside."""

    def __init__(
        self, *, daemon: Daemon, store: Store, dispatcher: Dispatcher, watcher: Watcher, report: Report, hub: Hub
    ) -> None:
        self.hub = hub
        self._daemon = daemon
        self._store = store
        self._dispatcher = dispatcher
        self._watcher = watcher
        self._report = report

    # -- the daemon

    def ready(self) -> str | None:
        """Return None when all is well, or what is missing."""
        return self._daemon.identity.ready()

    async def metrics(self) -> bytes:
        """Return the Prometheus text."""
        return await self._report.metrics()

    async def status(self) -> Json:
        """Describe the daemon at a glance."""
        return await self._report.status(config=self._daemon.config)

    async def nodes(self) -> list[Json]:
        """List the nodes that share the store."""
        return self._report.nodes()

    async def reload(self) -> Sequence[str]:
        """Load the configuration again; return what is wrong with it."""
        return await self._daemon.reload()

    # -- watches

    async def follow(self, entries: Sequence[Json], *, listed: bool) -> list[Json]:
        """Want watches; return of each its source, id and whether it is new."""
        asked: dict[tuple[str, str], NewWatch] = {}
        wanted = await self._read(entries, listed=listed)
        for watch in wanted:
            asked.setdefault((watch.source, watch.id), watch)  # of one that comes twice, the first counts
        unique, created = list(asked.values()), set[tuple[str, str]]()
        for start in range(0, len(unique), AT_ONCE):
            applied = await self._store.apply(unique[start : start + AT_ONCE], origin="api", now=self._daemon.clock())
            created.update((watch.source, watch.id) for watch in applied.added)
            self._watcher.describe(applied.changed)
            if applied.added:
                self._watcher.wake()
        told: list[Json] = []
        for watch in wanted:
            key = (watch.source, watch.id)
            told.append({"source": watch.source, "id": watch.id, "created": key in created})
            created.discard(key)
        return told

    async def _read(self, entries: Sequence[Json], *, listed: bool) -> list[NewWatch]:
        """Read every watch, before any is written. Raises Refused."""
        loop = asyncio.get_running_loop()
        wanted: list[NewWatch] = []
        problems: list[str] = []
        pause = loop.time() + SLICE
        for index, entry in enumerate(entries):
            try:
                wanted.append(self._daemon.parse_watch(entry))
            except WatchRefused as exc:
                place = f"[{index}]" if listed else ""
                problems.extend(_placed(place, problem.key, str(problem)) for problem in exc.problems)
                if len(problems) > MAX_PROBLEMS:
                    problems[MAX_PROBLEMS:] = ["and more; these are the first"]
                    break
            if loop.time() >= pause:
                await asyncio.sleep(0)
                pause = loop.time() + SLICE
        if problems:
            raise Refused(problems)
        return wanted

    async def watches(self, which: WatchFilter, *, limit: int, before: int | None) -> tuple[list[Json], int | None]:
        """List watches, newest first, and where the next page begins."""
        found = await self._store.watches(which, limit=limit, before=before)
        following = found[-1]["pk"] if len(found) == limit else None
        return [self._placed(item)[0] for item in found], following

    async def watch(self, source: str, task_id: str) -> Json:
        """Show one with its events, their deliveries, and its connection."""
        found = await self._store.watch(source, task_id)
        if found is None:
            raise _no_watch(source, task_id)
        item, subscription = self._placed(found)
        if item["connected"] is None:
            return item | {"connection": None}
        health = subscription.health if subscription is not None else None
        return item | {
            "connection": {
                "open": item["connected"],
                "failures": health.failures if health else 0,
                "trouble": health.trouble if health else None,
            }
        }

    def _placed(self, found: Json) -> tuple[Json, Subscription | None]:
        """Say of a watch who follows it, and whether its stream is open: only the node that has it knows."""
        owner, pk = found.pop("owner"), found.pop("pk")
        found["node"] = None if owner is None else self._report.node_name(owner)
        found["connected"] = None
        if owner is not None and owner != self._daemon.identity.number():
            return found, None
        subscription = self._watcher.subscription(found["source"], pk)
        found["connected"] = subscription is not None and subscription.stream is not None
        return found, subscription

    async def forget(self, source: str, task_id: str) -> None:
        """Want a watch no longer; what was recorded is still delivered."""
        removed = await self._store.remove(source, task_id, now=self._daemon.clock())
        if removed is None:
            raise _no_watch(source, task_id)
        self._watcher.drop([removed])

    # -- events

    async def events(self, which: EventFilter, *, limit: int, before: int | None, after: int | None) -> list[Json]:
        """List events, newest first; with `after`, oldest first."""
        return await self._store.events(which, limit=limit, before=before, after=after)

    # -- deliveries

    async def deliveries(self, which: DeliveryFilter, *, limit: int, before: int | None) -> list[Json]:
        """List deliveries, newest first."""
        return await self._store.deliveries(which, limit=limit, before=before)

    async def delivery(self, number: int) -> Json:
        """Show one with its attempts and payload."""
        found = await self._store.deliveries(DeliveryFilter(id=number), limit=1)
        if not found:
            raise Unknown(f"there is no delivery {number}")
        return found[0]

    async def retry(self, which: DeliveryFilter) -> int:
        """Make dead deliveries ready again."""
        if which.endpoint is not None and which.endpoint != LABEL and not is_callback(which.endpoint):
            self._check(which.endpoint)
        count = await self._store.retry(which, now=self._daemon.clock())
        for name in self._dispatcher.queues:
            self._dispatcher.stored(name)
        self._dispatcher.callbacks.stir()
        return count

    # -- endpoints

    async def endpoints(self) -> list[Json]:
        """List endpoints with their health."""
        origins = self._daemon.origins()
        return [item | origins.get(item["name"], {}) for item in await self._report.endpoints()]

    async def test(self, endpoint: str) -> Json:
        """Send a test event to an endpoint at once, past the outbox; return what became of it."""
        self._check(endpoint)
        now = self._daemon.clock()
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
        attempt = await self._dispatcher.queues[endpoint].link.send(delivery)
        failed = None if isinstance(attempt.outcome, Delivered) else attempt.outcome
        return {
            "outcome": type(attempt.outcome).__name__.lower(),
            "status": attempt.status,
            "seconds": attempt.seconds,
            "reason": failed and failed.reason,
            "detail": failed and failed.detail,
            "reply": attempt.reply,
        }

    async def enable(self, endpoint: str, *, enabled: bool) -> None:
        """Enable or disable an endpoint."""
        self._check(endpoint)
        if enabled:
            await self._dispatcher.enable(endpoint)
        else:
            await self._dispatcher.disable(endpoint, "operator", "disabled by hand")

    def _check(self, endpoint: str) -> None:
        if endpoint not in self._dispatcher.queues:
            raise Unknown(f"there is no endpoint {endpoint}")


def _no_watch(source: str, task_id: str) -> Unknown:
    return Unknown(f"no watch of source {source} has the id {task_id}")


def _placed(place: str, key: str, problem: str) -> str:
    """Put the place of an entry before what is wrong with it."""
    if not place:
        return problem
    return f"{place}.{problem}" if key else f"{place}: {problem}"
