"""The loops with real parts: a store on disk, a simulator and a listener on real sockets, a source, endpoints."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from waits import PATIENCE, until

from notifier.core import machine
from notifier.core.breaker import Silence
from notifier.core.model import Delivery, NewWatch, Observation, Phase, Watch
from notifier.core.reconnect import ReconnectPolicy
from notifier.core.retry import Attempt, Delivered
from notifier.core.routing import Route
from notifier.core.signers import StandardSigner
from notifier.core.signing import decode_secret
from notifier.deliver import Dispatcher, EndpointPolicy, EndpointSetup, Sender
from notifier.deliver.destination import Destination
from notifier.deliver.sender import StillOurs
from notifier.follow import Feed, FeedPolicy, Source
from notifier.follow.admission import Slots
from notifier.follow.recorder import Recorder
from notifier.follow.watcher import Watcher
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.senders.target import Target
from notifier.senders.webhook import WebhookSender
from notifier.sources.plan import SourceSettings
from notifier.sources.poll import PollSource
from notifier.sources.preset import Preset, raw
from notifier.sources.sse import SseSource
from notifier.store import Store
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript, snapshot

SOON_SILENT = Silence(many=5, seconds=0.0)  # five failures in a row open a breaker: nobody waits ten seconds for it
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "tok"
DEFAULT_EVENTS = ("task.*", "watch.*")


clock = Clock()


def transcript(*states: str) -> Transcript:
    return Transcript(snapshots=tuple(snapshot(state) for state in states))


def quick(**more: Any) -> FeedPolicy:
    """Return a policy with short time limits."""
    reconnect = ReconnectPolicy(
        backoff_initial=more.pop("backoff_initial", 0.02),
        backoff_max=more.pop("backoff_max", 0.05),
        not_found_grace=more.pop("not_found_grace", 60.0),
        give_up_after=more.pop("give_up_after", 60.0),
    )
    limits: dict[str, Any] = {
        "max_streams": 2000,
        "connect_rate": 5000.0,
        "idle_timeout": 30.0,
        "deadline": 86400.0,
        "stall_after": None,
    }
    return FeedPolicy(reconnect=reconnect, **limits | more)


def endpoint(**more: Any) -> EndpointPolicy:
    """Return a policy with a short schedule."""
    limits: dict[str, Any] = {
        "fingerprint": "one",
        "schedule": (0.0,) + (0.02,) * 20,
        "max_in_flight": 32,
        "rate_limit": None,
        "latest": False,
        "failing_after": 300.0,
        "disable_after": 5 * 86400.0,
    }
    return EndpointPolicy(**limits | more)


def webhook(url: str, **more: Any) -> WebhookSender:
    settings: dict[str, Any] = {"timeout": 10.0, "max_in_flight": 32} | more
    return WebhookSender(Target(url=url, **settings), signer=StandardSigner([decode_secret(SECRET)]), clock=clock)


class ScriptedSender:
    """A sender in memory that raises, holds a delivery, or counts, which no socket can."""

    def __init__(self, answer: Callable[[Delivery], Attempt] | None = None) -> None:
        self.answer = answer or (lambda _: Attempt(at=clock(), outcome=Delivered()))
        self.begun: list[Delivery] = []
        self.open = asyncio.Event()  # sends end only while it is set
        self.open.set()
        self.under_way = 0
        self.most = 0
        self.closed = 0

    async def send(self, delivery: Delivery, still_ours: StillOurs) -> Attempt:
        assert not self.closed, "a closed sender is used"
        self.begun.append(delivery)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.open.wait()
            return self.answer(delivery)
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        assert not self.under_way, "a sender is closed while it sends"
        self.closed += 1


class Rig:
    """The parts of one test."""

    def __init__(self, store: Store, path: Path, jitter: Callable[[], float], silence: Silence = SOON_SILENT) -> None:
        self.path = path
        self.store = store
        self.metrics = Metrics()
        self.jitter = jitter
        self.dispatcher = Dispatcher(
            store=store,
            metrics=self.metrics,
            clock=clock,
            jitter=jitter,
            silence=silence,
        )
        self.recorder = Recorder(store=store, outbox=self.dispatcher, metrics=self.metrics, clock=clock)
        self.watcher = Watcher(store=store)
        self.slots = Slots(1 << 20)
        self.sources: list[Source] = []
        self.loops: list[asyncio.Task[None]] = []
        self.setups: dict[str, EndpointSetup] = {}

    def source(
        self,
        sim: Simulator,
        kind: type[SseSource] = SseSource,
        *,
        name: str = "vidu",
        connect_timeout: float = 10.0,
        **fields: Any,
    ) -> SseSource:
        """Create a source of the simulator; `fields` override its preset's."""
        settings = SourceSettings(
            preset=preset(sim).model_copy(update=fields), token=TOKEN, connect_timeout=connect_timeout
        )
        source = kind(
            name=name,
            settings=settings,
            max_streams=100,
            user_agent="test",
            metrics=self.metrics,
        )
        self.sources.append(source)
        return source

    def polled(self, preset: Preset, kind: type[PollSource] = PollSource, **settings: Any) -> PollSource:
        """Create a source that is polled; `settings` are those of its requests."""
        source = kind(
            name="vidu",
            settings=SourceSettings(preset=preset, token=TOKEN, **{"connect_timeout": 10.0} | settings),
            user_agent="test",
            metrics=self.metrics,
        )
        self.sources.append(source)
        return source

    def feed(self, source: Source, policy: FeedPolicy | None = None, **more: Any) -> Feed:
        given: dict[str, Any] = {
            "recorder": self.recorder,
            "metrics": self.metrics,
            "slots": self.slots,
            "clock": clock,
            "unsure": self.watcher.unsure,
            "jitter": self.jitter,
        } | more
        return Feed(source=source, policy=policy or quick(), **given)

    def set_endpoints(
        self, senders: Mapping[str, Sender], routes: Sequence[Route] | None = None, **policies: EndpointPolicy
    ) -> None:
        """Configure these endpoints, each with its policy, if one is named after it."""
        self.recorder.routes = routes if routes is not None else [route(name) for name in senders]
        self.setups = {
            name: EndpointSetup(sender=sender, policy=policies.get(name) or endpoint())
            for name, sender in senders.items()
        }
        self.dispatcher.set_endpoints(self.setups, self.recorder.announce_or_log)

    async def want(self, *ids: str, source: str = "vidu", **more: Any) -> None:
        """Add these watches."""
        wanted = [NewWatch(source=source, id=id_, **more) for id_ in ids]
        await self.store.watches.apply(wanted, origin="api", now=clock())
        self.watcher.wake()

    async def claim(self, *ids: str, **more: Any) -> list[Watch]:
        """Add these watches, and claim them for a test that records by hand."""
        await self.want(*ids, **more)
        return await self.store.watches.claim(10_000)

    async def tell(self, watch: Watch, *states: str) -> Watch:
        """Record these states of a watch, as if they had been observed; return it as it is then."""
        for state in states:
            step = machine.step(watch, observed(state), clock())
            await self.recorder.record(step)
            watch = step.watch
        return watch

    async def settled(self, name: str, count: int, status: str = "delivered") -> None:
        """Return when an endpoint has that many deliveries of a status."""
        await until(lambda: self.statuses(name).get(status, 0) == count)

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Query the database directly."""
        with sqlite3.connect(self.path) as connection:
            found = connection.execute(query, arguments).fetchall()
        connection.close()
        return found

    def execute(self, statement: str) -> None:
        """Change the database directly."""
        with sqlite3.connect(self.path, timeout=10) as connection:
            connection.execute(statement)
        connection.close()

    def statuses(self, name: str) -> dict[str, int]:
        """Count an endpoint's deliveries by status."""
        query = "SELECT status, count(*) FROM deliveries WHERE endpoint = ? GROUP BY status"
        return dict(self.rows(query, name))

    def ended(self) -> set[str]:
        """Return the ids of watches that have ended."""
        return {row[0] for row in self.rows("SELECT id FROM watches WHERE ended")}

    def connects(self, outcome: str, source: str = "vidu") -> float:
        """Return the number of attempts to connect that had this result."""
        value = self.metrics.registry.get_sample_value(
            "notifier_stream_connects_total", {"source": source, "outcome": outcome}
        )
        return value or 0.0


def route(name: str, **more: Any) -> Route:
    return Route(**{"endpoint": name, "events": DEFAULT_EVENTS} | more)


def preset(sim: Simulator) -> Preset:
    return Preset.model_validate(raw("vidu") | {"base_url": sim.base_url})


def observed(state: str) -> Observation:
    phases = {"success": Phase.SUCCEEDED, "failed": Phase.FAILED, "queueing": Phase.QUEUED}
    return Observation(state=state, phase=phases.get(state, Phase.RUNNING), task={"state": state})


@asynccontextmanager
async def rig(
    tmp_path: Path,
    *,
    jitter: Callable[[], float] = lambda: 0.5,
    run: Iterable[str] = ("dispatcher", "watcher"),
    silence: Silence = SOON_SILENT,
) -> AsyncIterator[Rig]:
    """Open the store and start the loops; configure feeds and endpoints inside."""
    path = tmp_path / "n.db"
    store = Store.open(f"sqlite:///{path}")
    made = Rig(store, path, jitter, silence)
    writing = asyncio.create_task(store.run(), name="store")
    for name in run:
        made.loops.append(asyncio.create_task(getattr(made, name).run(), name=name))
    try:
        async with asyncio.timeout(PATIENCE):
            yield made
    finally:
        for task in made.loops:
            task.cancel()
        if made.loops:
            await asyncio.wait(made.loops)
        await made.dispatcher.close()
        for source in made.sources:
            await source.close()
        await store.close()
        await writing
        store.shutdown()
        for task in made.loops:  # a loop that died by itself is a failure of the test
            if not task.cancelled():
                task.result()


async def claimed(destination: Destination) -> None:
    """Return once the first claim of an endpoint's deliveries is over: until then it holds all places."""
    await until(lambda: not destination.backlog and not destination.reserved, "the first claim is over")


@asynccontextmanager
async def following(
    tmp_path: Path, sim: Simulator, listener: Listener, policy: FeedPolicy | None = None, **more: Any
) -> AsyncIterator[tuple[Rig, Feed]]:
    """Run everything with one source and one endpoint, `app`."""
    async with rig(tmp_path, **more) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        feed = made.feed(made.source(sim), policy)
        made.watcher.set_feeds({"vidu": feed})
        yield made, feed


@contextmanager
def locked(made: Rig) -> Iterator[sqlite3.Connection]:
    """Lock the database as another process can; the store goes on by itself afterwards."""
    connection = sqlite3.connect(made.path, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()


def story(callbacks: Iterable[ReceivedCallback], watch: str) -> list[str]:
    """Return the events delivered for a watch, as `type:state`, without repeats, in order of arrival."""
    told = {
        callback.id: f"{callback.type}:{callback.state}"
        for callback in reversed(list(callbacks))
        if callback.watch == watch
    }
    return list(reversed(told.values()))


def states(callbacks: Iterable[ReceivedCallback], watch: str) -> list[str | None]:
    """Return the delivered states of a watch, in order of arrival."""
    return [callback.state for callback in callbacks if callback.watch == watch]


def data(callback: ReceivedCallback) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(callback.body)["data"]
    return found
