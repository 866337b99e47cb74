"""The daemon: builds everything, owns every loop, and stops.

Resources open in order and close in reverse. One TaskGroup owns the loops; one that dies ends the process, and systemd
starts it again: nothing that was committed is lost by that.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from notifier import __version__
from notifier.cluster.leadership import Sharing
from notifier.cluster.membership import Membership
from notifier.cluster.peers import Identity
from notifier.config import Config, QueueConfig
from notifier.core.errors import NotifierError, StoreUnavailable
from notifier.core.model import Event
from notifier.daemon import build
from notifier.daemon import periodic as upkeep
from notifier.daemon.file_follower import Follower
from notifier.daemon.installation import Installation
from notifier.daemon.reload import Reloading, apply_files, counts
from notifier.deliver.claiming import LOOK_AGAIN
from notifier.deliver.dispatcher import Dispatcher
from notifier.follow.admission import Slots
from notifier.follow.recorder import Recorder
from notifier.follow.watcher import Watcher
from notifier.inputs.intake import Intake
from notifier.inputs.running import Inputs
from notifier.runtime.loops import raise_file_limit
from notifier.runtime.metrics import Metrics
from notifier.runtime.systemd import SystemdNotifier
from notifier.store.cluster import Nodes
from notifier.store.store import Store
from notifier.store.values import Changed, EndpointChange
from notifier.web import Api, Guard, Hub, Listener, StatusReport, application, split, unix_path

log = structlog.get_logger(__name__)

HEEDED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
LOOK_SHARED = 1.0  # seconds between looks for what other nodes left in the store
RESERVED_FILES = 256  # descriptors kept for everything that is no stream


class Application:
    """One daemon."""

    def __init__(self, path: Path, config: Config, *, migrate: bool = False) -> None:
        self._path = path
        self._config = config  # as started
        self._migrate = migrate
        self._node_name = config.node.name or socket.gethostname()
        self._systemd = SystemdNotifier.from_environment()
        self._membership: Membership | None = None  # among the nodes that share the store, if it is shared
        self._stop = asyncio.Event()
        self._started = False
        self._stopping = False
        self._hung_up = False  # while it started
        self.address: str | None = None  # of the HTTP listener, once it is open

    async def run(self) -> None:
        """Run until told to stop. Raises StoreError or ListenFailed when it cannot start."""
        self._heed_signals()
        try:
            await self._live()
        except ExceptionGroup as group:
            fault: Exception = group
            while isinstance(fault, ExceptionGroup) and len(fault.exceptions) == 1:
                fault = fault.exceptions[0]
            if isinstance(fault, NotifierError):  # what is wrong is plain: no need for the way that it came
                raise fault from group
            raise
        log.info("daemon.stopped")

    async def _live(self) -> None:
        async with AsyncExitStack() as stack:
            await self._build(stack)
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                store = tasks.create_task(self._store.run(), name="store")
                await self._start(stack)
                loops = [
                    tasks.create_task(loop, name=name)
                    for name, loop in (
                        ("dispatcher", self._dispatcher.run()),
                        ("watcher", self._watcher.run()),
                        ("inputs", self._inputs.run()),
                        ("stream", self._hub.run()),
                        ("follow files", self._follower.run()),
                        ("prune", upkeep.prune(self._store, retention=self._retention, clock=build.clock)),
                        ("status", upkeep.tell(self._systemd, self._report.line)),
                    )
                ]
                if self._membership is not None:
                    loops += self._share(self._membership, tasks)
                self._ready()
                await self._stop.wait()
                await self._drain(loops)
                await self._store.close()
                await store

    def _share(self, membership: Membership, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        from notifier.store.listening import listen  # needs the client library of PostgreSQL

        heard = listen(self._config.store.url.reveal(), membership.hear, timeout=self._config.node.timeout)
        return [
            tasks.create_task(membership.run(), name="membership"),
            tasks.create_task(self._sharing.run(), name="endpoints"),
            tasks.create_task(heard, name="listening"),
        ]

    def stop(self) -> None:
        """Begin to stop."""
        self._stop.set()

    def ready(self) -> str | None:
        """Return None when all is well, or what is missing."""
        if not self._started:
            return "starting"
        if self._stopping:
            return "stopping"
        if not self._store.available:
            return "the store cannot be written"
        if not self._store.holds():
            return "no answer from the store for node.timeout: other nodes may have taken over"
        return None

    # -- starting

    def _heed_signals(self) -> None:
        """Take signals from the first moment to the last: the default of each would be a death without a drain."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)  # `run` of cli/daemon.py held them back until now

    async def _build(self, stack: AsyncExitStack) -> None:
        """Make every part out of those before it; none runs yet."""
        slots = _slots()
        self._metrics = Metrics()
        self._store = await self._open_store(stack)
        nodes = self._store.nodes
        self._dispatcher = Dispatcher(
            store=self._store,
            metrics=self._metrics,
            clock=build.clock,
            announce=self._announce,
            may_send=self._store.holds,
            look_again=LOOK_AGAIN if nodes is None else LOOK_SHARED,
            shared=nodes is not None,
        )
        stack.push_async_callback(self._dispatcher.close)
        self._watcher = Watcher(store=self._store, nodes=nodes)
        self._inputs: Inputs[QueueConfig] = Inputs()
        self._build_report()
        self._recorder = Recorder(
            store=self._store, outbox=self._dispatcher, metrics=self._metrics, committed=self._hub.notice
        )
        self._installation = Installation(
            self._config,
            dispatcher=self._dispatcher,
            recorder=self._recorder,
            watcher=self._watcher,
            inputs=self._inputs,
            intake=Intake(store=self._store, watcher=self._watcher, clock=build.clock),
            metrics=self._metrics,
            slots=slots,
        )
        stack.push_async_callback(self._installation.close)
        if nodes is not None:
            self._build_sharing(nodes)

    async def _open_store(self, stack: AsyncExitStack) -> Store:
        store = await asyncio.to_thread(
            Store.open,
            self._config.store.url.reveal(),
            name=self._node_name,
            timeout=self._config.node.timeout,
            migrate=self._migrate,
        )
        stack.callback(store.shutdown)
        store.observe_commits(self._metrics.commit_seconds.observe)
        return store

    def _build_report(self) -> None:
        """Make what tells of the daemon."""
        self._identity = Identity(
            name=self._node_name,
            number=lambda: self._store.number,
            started_at=build.clock(),
            timeout=self._config.node.timeout,
            ready=self.ready,
            http=lambda: self.address,
        )
        self._report = StatusReport(
            store=self._store,
            metrics=self._metrics,
            dispatcher=self._dispatcher,
            watcher=self._watcher,
            identity=self._identity,
            config=str(self._path),
            clock=build.clock,
            census=lambda: None if self._membership is None else self._membership.census,
        )
        look_again = None if self._store.nodes is None else LOOK_SHARED
        self._hub = Hub(store=self._store, summary=self._report.pulse, look_again=look_again)

    def _build_sharing(self, nodes: Nodes) -> None:
        """Make what shares the work with other nodes."""
        self._sharing = Sharing(nodes=nodes, dispatcher=self._dispatcher)
        self._membership = Membership(
            nodes=nodes,
            timeout=self._config.node.timeout,
            clock=build.clock,
            watcher=self._watcher,
            dispatcher=self._dispatcher,
            sharing=self._sharing,
            rate=lambda: build.connect_rate(self._installation.config),
            status=self._report.itself,
        )
        self._store.on_lost(self._membership.lost)

    async def _start(self, stack: AsyncExitStack) -> None:
        if self._membership is not None:
            await self._membership.join()
        states = await self._store.endpoint_states()
        self._installation.install(self._config, await self._installation.make(self._config), self._tasks)
        self._dispatcher.recall(states)
        applied = await apply_files(self._store, self._config, insist=False)
        if applied.added or applied.changed or applied.removed:
            log.info("files.applied", **counts(applied))
        self._reloading = Reloading(
            path=self._path,
            installation=self._installation,
            store=self._store,
            watcher=self._watcher,
            metrics=self._metrics,
            systemd=self._systemd,
            announce=self._announce,
            tasks=self._tasks,
        )
        self._follower = Follower(reloading=self._reloading, can_reload=lambda: self._store.available)
        if self._config.http.listen is not None:
            listener = Listener(application(self._api(), self._guard), self._config.http.listen)
            await listener.start()
            stack.push_async_callback(listener.stop)
            self.address = listener.address

    def _api(self) -> Api:
        return Api(
            store=self._store,
            status=self._report,
            hub=self._hub,
            dispatcher=self._dispatcher,
            watcher=self._watcher,
            clock=build.clock,
            config=lambda: self._installation.config,  # of the moment
            reload=self._reloading.reload,
        )

    def _ready(self) -> None:
        self._started = True
        self._systemd.ready()
        log.info(
            "daemon.ready",
            version=__version__,
            config=str(self._path),
            store=str(self._config.store.url),
            http=self.address,
            sources=len(self._config.sources),
            endpoints=len(self._config.endpoints),
            watches=len(self._config.watches),
            loop=type(asyncio.get_running_loop()).__module__.partition(".")[0],
        )
        if self._hung_up:
            self._hang_up()

    # -- stopping

    async def _drain(self, loops: Sequence[asyncio.Task[None]]) -> None:
        self._stopping = True
        loop, timeout = asyncio.get_running_loop(), self._installation.config.shutdown_timeout
        end = loop.time() + timeout
        await self._reloading.stop(timeout)  # one that is under way needs the store and the loops to end
        self._systemd.stopping()
        log.info("daemon.stopping", timeout=timeout)
        await self._inputs.stop()
        if self._membership is not None:
            await self._hand_over(self._membership, loops)
        left = await self._dispatcher.drain(max(0.0, end - loop.time()), hand_over=self._membership is not None)
        if left:
            log.warning(
                "daemon.undelivered", deliveries=left, hint="they stay in the outbox and are sent after a start"
            )
        for task in loops:
            task.cancel()
        await asyncio.wait(loops)

    async def _hand_over(self, membership: Membership, loops: Sequence[asyncio.Task[None]]) -> None:
        """Let other nodes follow the watches and serve the endpoints while this one sends what it has begun."""
        taking = {task for task in loops if task.get_name() in ("watcher", "endpoints")}
        for task in taking:
            task.cancel()
        await asyncio.wait(taking)
        await membership.leave()

    # -- the configuration

    def _guard(self) -> Guard:
        token = self._installation.config.http.token
        listen = self._config.http.listen or ""
        host = None if unix_path(listen) is not None else split(listen)[0]
        return Guard(token=token.reveal() if token else None, host=host)

    def _retention(self) -> float:
        return self._installation.config.store.retention

    def _hang_up(self) -> None:
        if self._stopping:
            return
        self._hung_up = not self._started  # what was read a moment ago may be old already: again, once all is up
        if self._started:
            self._reloading.soon()

    async def _announce(self, event: Event, change: EndpointChange | None = None) -> Changed | None:
        try:
            return await self._recorder.announce(event, change)
        except StoreUnavailable:  # the daemon stops while the store is away; the log has told of the event itself
            log.warning("event.not_kept", type=event.type.value)
            return None


def _slots() -> Slots:
    """Allow as many descriptors as the system does, and keep some; return places for streams in the rest."""
    files = raise_file_limit()
    return Slots(max(1, files - RESERVED_FILES) if files > 0 else 1 << 30)
