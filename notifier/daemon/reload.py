"""Replaces the configuration in force by the one in the files. Every step that can fail comes before the replacement.

A signal, the API or the file follower asks for a reload. One replacement happens at a time. A reload that hangs while
it reads does not block later ones. Once a later one has read the files, it changes nothing and has the same problems.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from pathlib import Path

import structlog

from notifier.config import Config, ConfigError, ConfigInForce, NotNow, Problem, compare
from notifier.core.errors import NotifierError, StoreUnavailable
from notifier.core.model import Event, EventType
from notifier.daemon.config_reader import ConfigReader, ReadAbandoned, ReadHangs
from notifier.daemon.file_watches import apply_files
from notifier.daemon.installation import Installation
from notifier.follow import NO_SOURCE, Recorder, Watcher
from notifier.runtime import logs
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.runtime.systemd import SystemdNotifier
from notifier.runtime.wake import Wake
from notifier.store import Store

log = structlog.get_logger(__name__)

STOPPING = NotNow.at_large("the daemon is stopping")


class Reloader:
    """Reloads until stopped. Create it inside the running loop."""

    def __init__(
        self,
        *,
        path: Path,
        installation: Installation,
        in_force: ConfigInForce,
        store: Store,
        watcher: Watcher,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        systemd: SystemdNotifier,
        files_read: Wake,
        left_over: Callable[[], Awaitable[Mapping[str, int]]],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Create it; `left_over` counts the open watches without a source, by its name."""
        self.installation = installation
        self.in_force = in_force
        self.reading = installation.config.reading  # the files as the last reload read them, accepted or refused
        self._path = path
        self._started_with = installation.config  # keys that a reload cannot change are compared with it
        self._store = store
        self._watcher = watcher
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._systemd = systemd
        self._files_read = files_read  # set when `reading` has changed
        self._left_over = left_over
        self._tasks = tasks
        self._reader = ConfigReader(path)
        self._lock = asyncio.Lock()  # held by the replacement
        self._begun = 0  # reloads that have begun to read; a later one reads newer files
        self._taken = 0  # the latest of them whose files were taken over or refused
        self._problems: Sequence[Problem] = ()  # of that one
        self._superseded: dict[int, asyncio.Future[None]] = {}  # by reload that reads; done once a later one has read
        self._requested = False  # a further reload has not begun yet
        self._stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._record_success()

    @property
    def config(self) -> Config:
        """Return the configuration in force."""
        return self.installation.config

    @property
    def stopping(self) -> bool:
        """Return whether reloads have ended for good."""
        return self._stop.done()

    def soon(self) -> None:
        """Reload in the background. A second request before the reload has begun adds none."""
        if not self._requested and not self.stopping:
            self._requested = True
            self._tasks.create_task(self.reload(), name="reload")

    async def reload(self) -> Sequence[Problem]:
        """Reload; return the problems, once they are logged, counted and announced."""
        problems = await self.attempt()
        if problems and not self.stopping:
            self.refuse(problems)
        return problems

    async def attempt(self) -> Sequence[Problem]:
        """Reload; return the problems without announcing them."""
        try:
            await self._reader.turn(self._stop)
        except ReadHangs as exc:
            return [Problem.at_large(str(exc))]
        finally:
            self._requested = False
        if self.stopping:
            return [STOPPING]
        self._systemd.reloading()
        try:
            return await self._read_and_replace()
        finally:
            self._systemd.ready()

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Log, count and announce that a reload was refused."""
        self._metrics.reload_success.set(0)
        lines = list(map(str, problems))  # without excerpts, which are for who sees them in a terminal
        log.error("reload.refused", problems=lines, hint="the running configuration stays")
        event = Event(type=EventType.RELOAD_FAILED, at=self._clock(), extra={"problems": lines})
        # In a task: it waits while the store is away, and neither the caller nor a shutdown should wait with it.
        self._tasks.create_task(self._recorder.announce_or_log(event), name="announce a refused reload")

    async def stop(self, timeout: float) -> None:
        """End reloads for good.

        A reload that only reads is given up; one that changes things has `timeout` seconds to end.
        """
        self._stop.set_result(None)
        try:
            async with asyncio.timeout(timeout), self._lock:
                return
        except TimeoutError:
            log.warning("reload.unfinished", hint="it still waits for the store")

    async def _read_and_replace(self) -> Sequence[Problem]:
        self._begun += 1
        number = self._begun
        superseded = self._superseded[number] = asyncio.get_running_loop().create_future()
        config: Config | ConfigError
        try:
            config = await self._reader.read(self._stop, superseded, before=self.config.reading)
        except ConfigError as exc:
            config = exc
        except ReadHangs as exc:
            return [Problem.at_large(str(exc))]
        except ReadAbandoned:
            return [STOPPING] if self.stopping else self._problems
        finally:
            del self._superseded[number]
        async with self._lock:
            if self.stopping:
                return [STOPPING]
            if number > self._taken:
                self._taken = number
                self._problems = await self._take(config)
                for earlier, superseded_before in list(self._superseded.items()):
                    if earlier < number and not superseded_before.done():
                        superseded_before.set_result(None)
            return self._problems

    async def _take(self, config: Config | ConfigError) -> Sequence[Problem]:
        before = self.reading
        try:
            if isinstance(config, ConfigError):
                self.reading = config.reading or self.reading
                return list(config.problems)
            return await self._replace(config)
        finally:
            if self.reading is not before:
                self._files_read.set()

    async def _replace(self, config: Config) -> Sequence[Problem]:
        try:
            prepared = await self.installation.prepare(config)
        except (OSError, NotifierError) as exc:
            self.reading = config.reading
            return [Problem.at_large(_unprepared(exc), file=str(self._path))]
        try:
            await self._store.probe()
        except StoreUnavailable as exc:  # `reading` stays: this failure says nothing about the files
            await self.installation.discard(prepared)
            return [NotNow.at_large(f"the store cannot be used for now: {exc}")]
        changes = compare(self.config, config.without_watches(), started=self._started_with)
        gone = self.config.sources.keys() - config.sources.keys()
        warnings = self.installation.install(config.without_watches(), prepared, self._tasks)
        self.reading = config.reading
        try:
            counts = await apply_files(
                config, store=self._store, watcher=self._watcher, clock=self._clock, replace=True, hold=True
            )
        except StoreUnavailable:  # it is closed; the next start reads the files again
            return [STOPPING]
        logs.configure(format=config.log.format, level=config.log.level)
        self._record_success()
        if gone:
            warnings += await self._warn_of(gone)
        self.in_force.changes, self.in_force.watches, self.in_force.warnings = changes, counts, warnings
        if changes.needs_restart:
            log.warning("reload.needs_restart", keys=list(changes.needs_restart))
        log.info("reload.done", **counts)
        return []

    async def _warn_of(self, gone: Set[str]) -> list[str]:
        """Warn of the open watches that the removed sources leave behind: those of the API and of queues."""
        try:
            left = await self._left_over()
        except StoreUnavailable:  # the status tells of them when the store is back
            return []
        warnings: list[str] = []
        for source in sorted(gone & left.keys()):
            count = left[source]
            log.warning("watch.no_source", source=source, watches=count, hint=NO_SOURCE)
            watches = "watch" if count == 1 else "watches"
            warnings.append(f"the source {source} is gone, with {count} open {watches}: {NO_SOURCE}")
        return warnings

    def _record_success(self) -> None:
        self._metrics.reload_success.set(1)
        self._metrics.reload_timestamp.set(self._clock() / 1e6)


def _unprepared(exc: OSError | NotifierError) -> str:
    if isinstance(exc, NotifierError):  # for example, a queue's client library is not installed
        return str(exc)
    # A certificate file that has vanished since the configuration was read.
    return f"cannot read {exc.filename or 'a certificate'}: {exc.strerror or exc}"
