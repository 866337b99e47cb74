"""The operators of a run: they add tasks, take some away, reload good files and bad ones, and ask for deliveries again.

They do not give up: what was not answered, since the process ended or the store was away, is asked again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

from notifier.core.errors import StoreUnavailable
from notifier.store import DeliveryFilter
from notifier.web import Api
from notifier.web.refusals import Invalid, Unavailable, Unknown
from simulation.process import Process
from simulation.scene import Scene
from simulation.settings import POLLED, STREAMED, Settings
from simulation.upstream import Upstream

AGAIN = 3.0  # seconds until something is asked again
CALLBACK = "http://back.example/hook"

Ask = Callable[[Api], Awaitable[None]]


class Operators:
    """Those who give the daemon its work."""

    def __init__(self, scene: Scene, rng: Random, upstreams: dict[str, Upstream], path: Path) -> None:
        self.settings = Settings()
        self.process: Process | None = None  # that runs
        self.open = 0  # questions without an answer, and what is put off
        self._scene = scene
        self._rng = rng
        self._upstreams = upstreams
        self._path = path
        self._added: list[tuple[str, str]] = []  # by the API
        self._serial = 0
        self._reloading = False  # two would write one file

    def plan(self, span: float) -> None:
        """Do things within so many seconds, and some at once: in the file that the first start reads."""
        rng, agenda = self._rng, self._scene.agenda
        for _ in range(rng.randint(0, 2)):
            self._list_task(span)
        for _ in range(rng.randint(1, 4)):
            agenda.after(rng.uniform(0.0, span), lambda: self.add(span))
        for _ in range(rng.choice([0, 0, 1, 2])):
            agenda.after(rng.uniform(0.0, span), self.change)
        for _ in range(rng.choice([0, 0, 1])):
            agenda.after(rng.uniform(0.0, span), self._reload_broken)
        for _ in range(rng.choice([0, 0, 1, 2])):
            agenda.after(rng.uniform(0.0, span), self._remove)
        for _ in range(rng.choice([0, 0, 0, 1])):
            agenda.after(rng.uniform(0.0, span), self._disable)
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            agenda.after(rng.uniform(0.0, span), self._stop)

    # -- tasks

    def add(self, span: float) -> None:
        """Give the daemon some tasks."""
        rng, entries = self._rng, []
        for _ in range(rng.choice([1, 1, 2, 4])):
            source, task = self._new_task(span)
            entry: dict[str, object] = {"id": task, "source": source, "metadata": {"order": self._serial}}
            if rng.random() < 0.3:
                entry["callback_url"] = CALLBACK
            entries.append(entry)
        at = self._scene.agenda.now

        async def ask(api: Api) -> None:
            await api.add_watches(entries, listed=True)
            for entry in entries:
                self._added.append((str(entry["source"]), str(entry["id"])))
                detail = {"source": entry["source"], "task": entry["id"], "metadata": entry["metadata"]}
                self._scene.did_at(at, "add", detail)

        self._ask("add", ask)

    def _new_task(self, span: float) -> tuple[str, str]:
        self._serial += 1
        source, task = self._rng.choice([STREAMED, STREAMED, POLLED]), f"t-{self._serial}"
        self._upstreams[source].begin(task, length=self._rng.uniform(0.02, 0.8) * span)
        return source, task

    def _list_task(self, span: float) -> None:
        source, task = self._new_task(span)
        self.settings.tasks[task] = source
        self._scene.did("add", source=source, task=task, metadata={})

    def _remove(self) -> None:
        if not self._added:
            return
        source, task = self._added.pop(self._rng.randrange(len(self._added)))
        self._scene.did("remove", source=source, task=task)

        async def ask(api: Api) -> None:
            with suppress(Unknown):  # an answer was lost: it is gone already
                await api.remove_watch(source, task)
            self._scene.did("remove", source=source, task=task, done=True)
            if self._rng.random() < 0.5:
                self._later(self._rng.uniform(0.0, 9.0), lambda: self._add_again(source, task))

        self._ask("remove", ask)

    def _add_again(self, source: str, task: str) -> None:
        self._scene.did("add", source=source, task=task, metadata={})

        async def ask(api: Api) -> None:
            await api.add_watches([{"id": task, "source": source}], listed=True)

        self._ask("add again", ask)

    # -- the process, and an endpoint

    def _stop(self) -> None:
        """Stop the process as systemd does; it is started again."""
        if self._scene.agenda.now < self._scene.agenda.set_until:
            self._later(AGAIN, self._stop)
        elif self.process is not None and self.process.ready:
            self.process.app.stop()

    def _disable(self) -> None:
        async def ask(api: Api) -> None:
            with suppress(Unknown):  # a reload has removed it
                await api.enable("extra", enabled=False)
                self._scene.did("disable", endpoint="extra")

        self._ask("disable an endpoint", ask)

    def enable(self) -> None:
        """Let the third endpoint be there and get what was kept for it."""

        async def ask(api: Api) -> None:
            await api.enable("extra", enabled=True)

        if self.settings.extra:
            self._scene.did("enable", endpoint="extra")
            self._ask("enable an endpoint", ask)
        else:
            self.settings.extra = True
            self._reload([], ["extra"], [])

    # -- reloads

    def change(self) -> None:
        """Change the file, and reload it."""
        if self._reloading:
            self._later(AGAIN, self.change)
            return
        self._reloading = True
        rng, settings = self._rng, self.settings
        sources: list[str] = []
        endpoints: list[str] = []
        tasks: list[str] = []
        match rng.randrange(6):
            case 0:
                settings.timeouts["app"] = rng.choice([5.0, 8.0, 12.0])
                endpoints.append("app")
            case 1:
                settings.in_flight = rng.choice([1, 2, 32])
                endpoints.append("app")
            case 2:
                settings.max_streams = rng.choice([1, 2, 2000])
                sources.append(STREAMED)
            case 3:
                settings.interval = rng.choice([1.0, 2.0, 5.0])
                sources.append(POLLED)
            case 4:
                settings.extra = not settings.extra
                endpoints.append("extra")
            case _ if settings.tasks and rng.random() < 0.5:
                task, source = settings.tasks.popitem()
                self._scene.did("remove", source=source, task=task)
                tasks.append(task)
            case _:
                self._list_task(60.0)
                tasks.append(next(reversed(settings.tasks)))
        self._reload(sources, endpoints, tasks)

    def _reload(self, sources: list[str], endpoints: list[str], tasks: list[str]) -> None:
        self.settings.write(self._path)
        at = self._scene.agenda.now

        async def ask(api: Api) -> None:
            await api.reload()
            until = self._scene.agenda.now
            detail = {"sources": sources, "endpoints": endpoints, "tasks": tasks, "until": until}
            self._scene.did_at(at, "reload", detail)
            self._reloading = False

        self._ask("reload", ask)

    def _reload_broken(self) -> None:
        """Reload a file that must be refused; mend it right after."""
        if self._reloading:
            self._later(AGAIN, self._reload_broken)
            return
        self._reloading = True
        at = self._scene.agenda.now

        async def ask(api: Api) -> None:
            self._path.write_text(self._rng.choice(["endpoints: [", "{}}", "sources: {vidu: {presset: x}}", "- 7"]))
            try:
                await api.reload()
            except Invalid:
                detail = {"sources": [], "endpoints": [], "tasks": [], "until": self._scene.agenda.now}
                self._scene.did_at(at, "reload", detail)
            else:
                self._scene.faults.append("a broken file was accepted")
            finally:
                self.settings.write(self._path)
            self._reloading = False

        self._ask("reload a broken file", ask)

    # -- deliveries

    def retry_dead(self, dead: Sequence[tuple[str, str, int, str]]) -> None:
        """Ask again for every delivery that is dead: these, by webhook id, endpoint, attempts and reason."""
        for id_, endpoint, attempt, reason in dead:
            self._scene.did("dead", webhook_id=id_, endpoint=endpoint, attempt=attempt, reason=reason)
        self._scene.did("retry")

        async def ask(api: Api) -> None:
            await api.retry(DeliveryFilter())

        self._ask("retry", ask)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something later; the run does not end before that."""
        self.open += 1

        def now() -> None:
            self.open -= 1
            do()

        self._scene.agenda.after(seconds, now)

    def _ask(self, name: str, ask: Ask) -> None:
        """Ask the process that runs, and ask again until there is an answer."""
        self.open += 1
        answered = False

        async def once(api: Api) -> None:
            nonlocal answered
            try:
                await ask(api)
            except (StoreUnavailable, Unavailable):
                asked_of[0] = None
            else:
                if not answered:
                    answered, self.open = True, self.open - 1

        def look() -> None:
            process = self.process
            if answered:
                return
            if process is not None and process is not asked_of[0] and process.ready:
                asked_of[0] = process
                process.ask(once(process.api()), f"operator: {name}")
            self._scene.agenda.after(AGAIN, look)

        asked_of: list[Process | None] = [None]
        look()
