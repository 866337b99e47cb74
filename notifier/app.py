"""The daemon: builds everything, owns every loop, reloads and stops.

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
from typing import Any

import structlog

from notifier import __version__, assembly, logs
from notifier import config as configuration
from notifier.admission import Slots
from notifier.config import Config, ConfigError, QueueConfig
from notifier.control import Daemon, DaemonControl
from notifier.core.errors import NotifierError, StoreUnavailable
from notifier.core.model import Event, EventType
from notifier.dispatcher import Dispatcher
from notifier.inputs.running import Inputs
from notifier.installation import Installation
from notifier.intake import Intake
from notifier.loops import raise_file_limit
from notifier.metrics import Metrics
from notifier.recorder import Recorder
from notifier.report import Report
from notifier.sdnotify import SystemdNotifier
from notifier.store.sql import SqlStore
from notifier.watcher import Watcher
from notifier.web.guard import Guard
from notifier.web.hub import Hub
from notifier.web.server import Listener, application, split, unix_path

log = structlog.get_logger(__name__)

HEEDED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
STATUS_EVERY = 5.0  # seconds between status lines to systemd
PRUNE_EVERY = 3600.0  # seconds
RESERVED_FILES = 256  # descriptors kept for everything that is no stream
FIXED = ("store.url", "http.listen", "node", "loop")  # parts that a reload cannot change


class Application:
    """One daemon."""

    def __init__(self, path: Path, config: Config) -> None:
        self._path = path
        self._config = config
        self._running = config  # as started: what a reload cannot change is compared with it
        self._systemd = SystemdNotifier.from_environment()
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
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
                        ("prune", self._prune()),
                        ("status", self._tell_systemd()),
                    )
                ]
                self._ready()
                await self._stop.wait()
                await self._drain(loops)
                await self._store.close()
                await store

    def stop(self) -> None:
        """Begin to stop."""
        self._stop.set()

    def ready(self) -> str | None:
        """Return None when all is well, or what is missing."""
        if not self._started:
            return "starting"
        if self._stopping:
            return "stopping"
        return None if self._store.available else "the store cannot be written"

    # -- starting

    def _heed_signals(self) -> None:
        """Take signals from the first moment to the last: the default of each would be a death without a drain."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)  # `run` of cli/daemon.py held them back until now

    async def _build(self, stack: AsyncExitStack) -> None:
        files = raise_file_limit()
        self._metrics = Metrics()
        self._store = await asyncio.to_thread(SqlStore.open, self._config.store.url.reveal())
        stack.callback(self._store.shutdown)
        self._store.observe_commits(self._metrics.commit_seconds.observe)
        self._dispatcher = Dispatcher(
            store=self._store, metrics=self._metrics, clock=assembly.clock, announce=self._announce
        )
        stack.push_async_callback(self._dispatcher.close)
        self._watcher = Watcher(store=self._store)
        self._inputs: Inputs[QueueConfig] = Inputs()
        self._report = Report(
            store=self._store, metrics=self._metrics, dispatcher=self._dispatcher, watcher=self._watcher
        )
        self._hub = Hub(store=self._store, summary=self._report.pulse)
        self._recorder = Recorder(
            store=self._store, outbox=self._dispatcher, metrics=self._metrics, committed=self._hub.notice
        )
        self._installation = Installation(
            self._config,
            dispatcher=self._dispatcher,
            recorder=self._recorder,
            watcher=self._watcher,
            inputs=self._inputs,
            intake=Intake(store=self._store, watcher=self._watcher, clock=assembly.clock),
            metrics=self._metrics,
            slots=Slots(max(1, files - RESERVED_FILES) if files > 0 else 1 << 30),
        )
        stack.push_async_callback(self._installation.close)

    async def _start(self, stack: AsyncExitStack) -> None:
        states = await self._store.endpoint_states()
        self._installation.install(self._config, await self._installation.make(self._config), self._tasks)
        self._dispatcher.recall(states)
        await self._store.apply(
            [watch.to_new_watch() for watch in self._config.watches], origin="file", now=assembly.clock(), replace=True
        )
        self._metrics.reload_success.set(1)
        self._metrics.reload_timestamp.set(assembly.clock() / 1e6)
        if self._config.http.listen is not None:
            listener = Listener(application(self._control(), self._guard), self._config.http.listen)
            await listener.start()
            stack.push_async_callback(listener.stop)
            self.address = listener.address

    def _control(self) -> DaemonControl:
        daemon = Daemon(
            config=str(self._path),
            node=self._running.node.name or socket.gethostname(),
            ready=self.ready,
            reload=self.reload,
            parse_watch=lambda value: configuration.parse_watch(value, self._config),  # of the moment
            origins=lambda: assembly.origins(self._config),
        )
        return DaemonControl(
            daemon=daemon,
            store=self._store,
            dispatcher=self._dispatcher,
            watcher=self._watcher,
            report=self._report,
            hub=self._hub,
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
        if idle := configuration.without_effect(self._config):
            log.warning("config.without_effect", keys=idle, hint="this version checks them, but does not act on them")
        if self._hung_up:
            self._hang_up()

    # -- stopping

    async def _drain(self, loops: Sequence[asyncio.Task[None]]) -> None:
        self._stopping = True
        async with self._reloading:  # one that is under way needs the store and the loops to end
            self._systemd.stopping()
        log.info("daemon.stopping", timeout=self._config.shutdown_timeout)
        await self._inputs.stop()
        left = await self._dispatcher.drain(self._config.shutdown_timeout)
        if left:
            log.warning(
                "daemon.undelivered", deliveries=left, hint="they stay in the outbox and are sent after a start"
            )
        for task in loops:
            task.cancel()
        await asyncio.wait(loops)

    # -- the configuration

    def _guard(self) -> Guard:
        token = self._config.http.token
        listen = self._running.http.listen or ""
        host = None if unix_path(listen) is not None else split(listen)[0]
        return Guard(token=token.reveal() if token else None, host=host)

    def _hang_up(self) -> None:
        if self._stopping:
            return
        self._hung_up = not self._started  # what was read a moment ago may be old already: again, once all is up
        if self._started:
            self._tasks.create_task(self.reload(), name="reload")

    async def reload(self) -> Sequence[str]:
        """Load the configuration again; everything that can fail comes before anything changes."""
        async with self._reloading:
            if self._stopping:
                return ["the daemon is stopping"]
            self._systemd.reloading()
            try:
                problems = await self._reload()
            finally:
                self._systemd.ready()
        self._metrics.reload_success.set(0 if problems else 1)
        if problems:
            log.error("reload.refused", problems=problems, hint="the running configuration stays")
            event = Event(type=EventType.RELOAD_FAILED, at=assembly.clock(), extra={"problems": list(problems)})
            # By itself, as it waits for a store that is away, and neither the caller nor a shutdown should.
            self._tasks.create_task(self._announce(event), name="announce a refused reload")
        return problems

    async def _reload(self) -> Sequence[str]:
        try:
            config = await asyncio.to_thread(configuration.load, self._path)
        except ConfigError as exc:
            return [str(problem) for problem in exc.problems]
        wanted = [watch.to_new_watch() for watch in config.watches]
        try:
            made = await self._installation.make(config)
        except OSError as exc:  # a certificate file that was there when the configuration was read
            return [f"{self._path}: cannot read {exc.filename or 'a certificate'}: {exc.strerror or exc}"]
        except NotifierError as exc:  # a queue's client library is not installed, say
            return [f"{self._path}: {exc}"]
        try:
            applied = await self._store.apply(wanted, origin="file", now=assembly.clock(), replace=True)
        except StoreUnavailable as exc:
            await self._installation.discard(made)
            return [f"the store cannot be used for now: {exc}"]
        self._config = config
        self._installation.install(config, made, self._tasks)
        self._watcher.drop(applied.removed)
        self._watcher.describe(applied.changed)
        self._watcher.wake()
        logs.configure(format=config.log.format, level=config.log.level)
        self._metrics.reload_timestamp.set(assembly.clock() / 1e6)
        unmoved = [name for name in FIXED if _part(config, name) != _part(self._running, name)]
        if unmoved:
            log.warning("reload.needs_restart", keys=unmoved)
        log.info(
            "reload.done",
            added=len(applied.added),
            changed=len(applied.changed),
            removed=len(applied.removed),
            unchanged=applied.unchanged,
        )
        return []

    async def _announce(self, event: Event) -> None:
        try:
            await self._recorder.announce(event)
        except StoreUnavailable:  # the daemon stops while the store is away; the log has told of the event itself
            log.warning("event.not_kept", type=event.type.value)

    # -- in the background

    async def _prune(self) -> None:
        while True:
            before = assembly.clock() - round(self._config.store.retention * 1e6)
            try:
                rows = await self._store.prune(before)
            except StoreUnavailable:
                rows = 0  # the store has said so; there is another time
            if rows:
                log.info("store.pruned", rows=rows)
            await asyncio.sleep(PRUNE_EVERY)

    async def _tell_systemd(self) -> None:
        """Keep the watchdog quiet and the status line true; runs on the loop that everything runs on."""
        every = min(STATUS_EVERY, self._systemd.watchdog_interval or STATUS_EVERY)
        while True:
            self._systemd.watchdog()
            self._systemd.status(self._report.line())
            await asyncio.sleep(every)


def _part(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value
