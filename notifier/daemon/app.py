"""The daemon: owns every loop, from the start to the stop.

Resources open in order and close in reverse. One TaskGroup owns the loops. A loop that dies ends the process, and
systemd starts it again; nothing that was committed is lost.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog

from notifier import __version__
from notifier.cluster import Readiness
from notifier.config import Config
from notifier.core.errors import NotifierError
from notifier.daemon import clock_follower, periodic
from notifier.daemon.build import Cluster, Parts, Start, build
from notifier.daemon.clock_follower import ClockFollower
from notifier.daemon.file_watches import apply_files
from notifier.daemon.heartbeat import Heartbeat
from notifier.runtime.clock import Era
from notifier.runtime.systemd import SystemdNotifier

log = structlog.get_logger(__name__)

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})  # that the daemon handles


class Application:
    """One daemon."""

    def __init__(self, path: Path, config: Config, *, migrate: bool = False) -> None:
        self._path = path
        self._config = config.without_watches()  # as started
        self._given: Config | None = config  # with the watches, until they are stored
        self._listed = len(config.watches)
        self._migrate = migrate
        self._systemd = SystemdNotifier.from_environment()
        self._readiness = Readiness()
        self.parts: Parts | None = None  # None until they are built
        self._stop = asyncio.Event()
        self._hung_up = False  # SIGHUP came during the start
        self._eras: tuple[Era, ...] = ()  # of the clock, if it was set while nothing ran

    @property
    def address(self) -> str | None:
        """Return the address of the HTTP listener, once it is open."""
        return self._readiness.address

    async def run(self) -> None:
        """Run until stopped. Raises StoreError or ListenFailed when it cannot start."""
        self._handle_signals()
        try:
            await self._run()
        except ExceptionGroup as group:
            fault: Exception = group
            while isinstance(fault, ExceptionGroup) and len(fault.exceptions) == 1:
                fault = fault.exceptions[0]
            if isinstance(fault, NotifierError):  # it says what is wrong; its traceback would add nothing
                raise fault from group
            raise
        log.info("daemon.stopped")

    def stop(self) -> None:
        """Begin to stop."""
        self._stop.set()

    def ready(self) -> str | None:
        """Return the reason why the daemon is not ready; None if it is."""
        return self._readiness.problem(None if self.parts is None else self.parts.store)

    async def _run(self) -> None:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            start = Start(
                path=self._path,
                config=self._config,
                migrate=self._migrate,
                systemd=self._systemd,
                readiness=self._readiness,
                tasks=tasks,
            )
            parts = self.parts = await build(start, stack)
            store = tasks.create_task(self._run_store(parts), name="store")
            await self._start(parts, tasks, stack)
            follower = ClockFollower(
                parts.store,
                clock=parts.clock,
                in_force=parts.in_force,
                dispatcher=parts.dispatcher,
                before=self._eras,
            )
            loops = [tasks.create_task(loop, name=name) for name, loop in self._loops(parts, follower).items()]
            self._announce_start()
            await self._stop.wait()
            await self._drain(parts, loops)
            await follower.finish()
            await parts.store.close()
            await store

    async def _run_store(self, parts: Parts) -> None:
        lost = None if parts.cluster is None else parts.cluster.membership.on_lost
        await parts.store.run(lost=lost, seconds=parts.metrics.commit_seconds.observe)

    def _loops(self, parts: Parts, follower: ClockFollower) -> dict[str, Coroutine[Any, Any, None]]:
        """Return the loops by the names of their tasks."""
        loops = {
            "dispatcher": parts.dispatcher.run(),
            "watcher": parts.watcher.run(),
            "inputs": parts.inputs.run(),
            "stream": parts.hub.run(),
            "follow files": parts.follower.run(),
            "prune": periodic.prune(parts.store, in_force=parts.in_force, clock=parts.clock),
            "clock": follower.run(),
            "heartbeat": Heartbeat(in_force=parts.in_force, this=parts.this).run(),
            "status": periodic.report(self._systemd, parts.report, true=parts.watcher.claimed),
        }
        if parts.listener is not None:
            loops["http"] = parts.listener.run()
        if parts.cluster is not None:
            from notifier.store import listen  # it needs the client library of PostgreSQL

            loops |= {
                "membership": parts.cluster.membership.run(),
                "endpoints": parts.cluster.shared_endpoints.run(),
                "listening": listen(
                    self._config.store.url.reveal(),
                    parts.cluster.membership.on_message,
                    timeout=self._config.node.timeout,
                ),
            }
        return loops

    # -- starting

    def _handle_signals(self) -> None:
        """Handle signals until the process ends: the default of each is death without a drain."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # `run` of cli/daemon.py blocked them until now

    async def _start(self, parts: Parts, tasks: asyncio.TaskGroup, stack: AsyncExitStack) -> None:
        """Put the configuration in force and open the listener."""
        if parts.cluster is not None:
            await parts.cluster.membership.join()
        self._eras = await clock_follower.recall(parts.store, parts.clock)
        states = await parts.store.endpoints.states()
        prepared = await parts.installation.prepare(self._config)
        parts.installation.install(self._config, prepared, tasks)
        parts.dispatcher.recall(states)
        await parts.dispatcher.mutes.look()  # before anybody can ask for them
        # A start on a shared store only adds and describes: its files may be older than those of another node.
        alone = parts.store.nodes is None
        given, self._given = self._given, None
        assert given is not None  # it starts once
        counts = await apply_files(given, store=parts.store, watcher=parts.watcher, clock=parts.clock, replace=alone)
        if counts["added"] or counts["changed"] or counts["removed"]:
            log.info("files.applied", **counts)
        if parts.listener is not None:
            await parts.listener.start()
            stack.push_async_callback(parts.listener.stop)
            self._readiness.address = parts.listener.address

    def _announce_start(self) -> None:
        self._readiness.started = True
        self._systemd.ready()
        log.info(
            "daemon.ready",
            version=__version__,
            config=str(self._path),
            store=str(self._config.store.url),
            http=self.address,
            sources=len(self._config.sources),
            endpoints=len(self._config.endpoints),
            watches=self._listed,
            loop=type(asyncio.get_running_loop()).__module__.partition(".")[0],
        )
        if self._hung_up:
            self._hang_up()

    def _hang_up(self) -> None:
        """Reload; during the start, reload once it is complete, since the files read then may be old already."""
        if self._readiness.stopping:
            return
        self._hung_up = not self._readiness.started
        if self.parts is not None and self._readiness.started:
            self.parts.reloader.soon()

    # -- stopping

    async def _drain(self, parts: Parts, loops: Sequence[asyncio.Task[None]]) -> None:
        """Send what was begun, within `shutdown_timeout`, and end the loops."""
        self._readiness.stopping = True
        loop, timeout = asyncio.get_running_loop(), parts.installation.config.shutdown_timeout
        end = loop.time() + timeout
        await parts.reloader.stop(timeout)  # a reload under way needs the store and the loops to end
        self._systemd.stopping()
        log.info("daemon.stopping", timeout=timeout)
        await parts.inputs.stop()
        if parts.cluster is not None:
            await self._hand_over(parts.cluster, loops)
        left = await parts.dispatcher.drain(max(0.0, end - loop.time()), hand_over=parts.cluster is not None)
        if left:
            log.warning(
                "daemon.undelivered", deliveries=left, hint="they stay in the outbox and are sent after a start"
            )
        for task in loops:
            task.cancel()
        await asyncio.wait(loops)

    async def _hand_over(self, cluster: Cluster, loops: Sequence[asyncio.Task[None]]) -> None:
        """Let other nodes follow the watches and serve the endpoints while this one sends what it has begun."""
        taking = {task for task in loops if task.get_name() in ("watcher", "endpoints")}
        for task in taking:
            task.cancel()
        await asyncio.wait(taking)
        await cluster.membership.leave()
