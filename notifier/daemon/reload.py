"""Exchanges the configuration in force for what the files say now. Everything that can fail comes before the exchange.

One try at a time. What tries, and when, is decided elsewhere: a signal, the API, the follower of files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

from notifier import config as configuration
from notifier.config import Config, ConfigError
from notifier.core.errors import NotifierError, StoreUnavailable
from notifier.core.model import Event, EventType
from notifier.daemon import build
from notifier.daemon.installation import Installation
from notifier.follow.watcher import Watcher
from notifier.runtime import logs
from notifier.runtime.metrics import Metrics
from notifier.runtime.systemd import SystemdNotifier
from notifier.runtime.threads import beside
from notifier.store.store import Store
from notifier.store.values import Applied

log = structlog.get_logger(__name__)

FIXED = ("store.url", "http.listen", "node", "loop")  # parts that a reload cannot change
STOPPING = "the daemon is stopping"


class Reloading:
    """Reloads, one at a time, until stopped. Make it inside the running loop."""

    def __init__(
        self,
        *,
        path: Path,
        installation: Installation,
        store: Store,
        watcher: Watcher,
        metrics: Metrics,
        systemd: SystemdNotifier,
        announce: Callable[[Event], Coroutine[Any, Any, Any]],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.reading = installation.config.reading  # by the last try, taken or refused for what it says
        self.tried: Callable[[], None] = lambda: None  # told when `reading` is another
        self._path = path
        self._installation = installation
        self._started_with = installation.config  # what a reload cannot change is compared with it
        self._store = store
        self._watcher = watcher
        self._metrics = metrics
        self._systemd = systemd
        self._announce = announce
        self._tasks = tasks
        self._lock = asyncio.Lock()
        self._asked = False  # for one more, which has not begun
        self._stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._taken()

    @property
    def config(self) -> Config:
        """Return the configuration in force."""
        return self._installation.config

    @property
    def stopping(self) -> bool:
        """Say whether nothing is reloaded any more."""
        return self._stop.done()

    def soon(self) -> None:
        """Reload in the background. Asked for again before it has begun, it is still one."""
        if not self._asked and not self.stopping:
            self._asked = True
            self._tasks.create_task(self.reload(), name="reload")

    async def reload(self) -> Sequence[str]:
        """Reload; return what is wrong, after telling everybody of it."""
        problems = await self.attempt()
        if problems and not self.stopping:
            self.refuse(problems)
        return problems

    async def attempt(self, *, insist: bool = True) -> Sequence[str]:
        """Reload; return what is wrong, and tell nobody. `insist`: what the files list holds, whatever others have."""
        async with self._lock:
            self._asked = False
            if self.stopping:
                return [STOPPING]
            self._systemd.reloading()
            before = self.reading
            try:
                return await self._exchange(insist)
            finally:
                self._systemd.ready()
                if self.reading is not before:
                    self.tried()

    def refuse(self, problems: Sequence[str]) -> None:
        """Tell everybody that a reload came to nothing."""
        self._metrics.reload_success.set(0)
        log.error("reload.refused", problems=problems, hint="the running configuration stays")
        event = Event(type=EventType.RELOAD_FAILED, at=build.clock(), extra={"problems": list(problems)})
        # By itself, as it waits for a store that is away, and neither the caller nor a shutdown should.
        self._tasks.create_task(self._announce(event), name="announce a refused reload")

    async def stop(self, timeout: float) -> None:
        """Reload no more. What only reads is given up; what has begun to change things ends first, within `timeout`."""
        self._stop.set_result(None)
        try:
            async with asyncio.timeout(timeout), self._lock:
                return
        except TimeoutError:
            log.warning("reload.unfinished", hint="it still waits for the store")

    async def _exchange(self, insist: bool) -> Sequence[str]:
        loading = beside(lambda: configuration.load(self._path), name="load the configuration")
        either: set[asyncio.Future[Any]] = {loading, self._stop}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():  # it may wait for a file server that never answers
            loading.cancel()
            return [STOPPING]
        try:
            config = loading.result()
        except ConfigError as exc:
            self.reading = exc.reading or self.reading
            return [str(problem) for problem in exc.problems]
        try:
            made = await self._installation.make(config)
        except OSError as exc:  # a certificate file that was there when the configuration was read
            self.reading = config.reading
            return [f"{self._path}: cannot read {exc.filename or 'a certificate'}: {exc.strerror or exc}"]
        except NotifierError as exc:  # a queue's client library is not installed, say
            self.reading = config.reading
            return [f"{self._path}: {exc}"]
        try:
            applied = await apply_files(self._store, config, insist=insist)
        except StoreUnavailable as exc:  # the reading is as good as never made: it says nothing of the files
            await self._installation.discard(made)
            return [f"the store cannot be used for now: {exc}"]
        self._installation.install(config, made, self._tasks)
        self.reading = config.reading
        self._watcher.drop(applied.removed)
        self._watcher.describe(applied.changed)
        self._watcher.wake()
        logs.configure(format=config.log.format, level=config.log.level)
        self._taken()
        unmoved = [name for name in FIXED if _part(config, name) != _part(self._started_with, name)]
        if unmoved:
            log.warning("reload.needs_restart", keys=unmoved)
        log.info("reload.done", **counts(applied))
        return []

    def _taken(self) -> None:
        self._metrics.reload_success.set(1)
        self._metrics.reload_timestamp.set(build.clock() / 1e6)


async def apply_files(store: Store, config: Config, *, insist: bool) -> Applied:
    """Want what the files list, and of files nothing else, unless another node has newer. Raises StoreUnavailable."""
    watches = [watch.to_new_watch() for watch in config.watches]
    applied = await store.apply(watches, origin="file", now=build.clock(), replace=True, insist=insist)
    if applied.newer is not None:
        log.warning(
            "files.older",
            node=applied.newer,
            hint="the watches that its files list hold; bring yours up to date, or insist on them: notifier reload",
        )
    return applied


def counts(applied: Applied) -> dict[str, int]:
    """Say how many watches were added, changed, removed and left as they were."""
    return {
        "added": len(applied.added),
        "changed": len(applied.changed),
        "removed": len(applied.removed),
        "unchanged": applied.unchanged,
    }


def _part(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value
