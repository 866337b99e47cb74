"""What a daemon is killed in: tasks, endpoints that accept, refuse and bury, and an operator at work.

A round starts the daemon, has it do everything that it can do to its store, and stops it; killed on the way, the
daemon simply does not answer any more. The next round goes on with the same database. All that happens is recorded, and
judged at the end.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import psycopg
from chaos.scribe import Scribe
from clocks import ahead, clock_of
from daemon_process import SECRET, SECRET_2, Daemon, Fields, config, webhook
from judge import Case, EndpointTerms, Terms, verdict
from judge.database import read
from recorded import QUICK, RecordedSimulator, heard, note_kill
from slack_workspace import TOKEN, Workspace, workspace
from store_rig import SECOND, follow, move, running, settled
from waits import until

from notifier.core.callback import Callback
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

BASE = ("base-1", "base-2")  # tasks that go on through all rounds
ASIDE = ("ops", "down")  # endpoints of which nothing is asked: one shows the newest state, one accepts nothing
LONG_AGO = 1_000_000_000 * SECOND  # in 2001, by any clock
SILENT = Transcript(snapshots=())  # tasks move by hand alone
ROWS = """
SELECT d.endpoint, e.id, w.id, e.sequence, d.status
FROM deliveries d JOIN events e ON e.pk = d.event JOIN watches w ON w.pk = e.watch
"""
Row = tuple[str, str, str, int, str]


class Scene:
    """The world around a daemon."""

    def __init__(self, scribe: Scribe, sim: Simulator, slack: Workspace, url: str) -> None:
        self.scribe, self.sim, self.slack, self.url = scribe, sim, slack, url
        self._ahead = ahead(url)
        self.ears = Listener(
            secrets=[SECRET, SECRET_2],
            clock=clock_of(url),
            respond=["/app=200*4|500", "/dying=500|200", "/down=500", "/own/*=200"],
            on_callback=self._enter,
            keep=1,
            seed=1,
        )
        self.wanted: dict[tuple[str, str], str] = {}  # ends that must arrive: by endpoint and task, why
        self.ended: set[tuple[str, str]] = set()  # those that were accepted
        self._settled: set[tuple[str, str]] = set()  # messages that the database is known to know as accepted
        self._listed: set[str] = set()  # tasks in the file as it was written last

    def _enter(self, callback: ReceivedCallback) -> None:
        """Note an arrival."""
        endpoint = callback.path.split("/")[1]
        name = Callback(url=self.ears.base_url + callback.path).name if endpoint == "own" else endpoint
        self.scribe.note(heard(callback, name, ahead=self._ahead))
        if callback.type == "task.succeeded" and callback.answer == "200" and callback.watch is not None:
            self.ended.add((endpoint, callback.watch))

    @property
    def untold(self) -> set[tuple[str, str]]:
        """Ends that must still arrive."""
        return self.wanted.keys() - self.ended

    def end_of_life(self, code: int) -> None:
        """Note how a life ended, and what the database knows of by then."""
        if code == -signal.SIGKILL:
            note_kill(self.scribe)
        else:
            self.scribe.did("stop", clean=code == 0)
        for endpoint, event, _, _, status in self.rows():
            if status == "delivered" and (event, endpoint) not in self._settled:
                self._settled.add((event, endpoint))
                self.scribe.did("settled", webhook_id=event, endpoint=endpoint)

    def judged(self, lag: float) -> Case:
        """Return the case of the whole run, of which the judge has nothing to say."""
        terms = Terms(
            endpoints={"app": QUICK, "dying": EndpointTerms(schedule=(0.0,)), "down": EndpointTerms(schedule=(0.0,))},
            aside=frozenset(ASIDE),
            slack=0.02 + lag,
        )
        case = Case(self.scribe.entries, read(self.url.removeprefix("sqlite:///")), terms)
        findings = [str(finding) for finding in verdict(case)]
        assert findings == [], findings
        return case

    def write(self, daemon: Daemon, number: int, **more: Any) -> set[str]:
        """Write the configuration of a round, which names a task of its own; return the tasks that come or go.

        A task whose end must still be told stays in the file: without it, the daemon would rightly forget the task.
        """
        untold = {task for _, task in self.untold if task.startswith("file-")}
        before, self._listed = self._listed, {*BASE, f"file-{number}", *untold}
        for task in before - self._listed:
            self.scribe.did("remove", source="vidu", task=task)
        daemon.write(self.settings(*self._listed) | more)
        return before ^ self._listed

    def settings(self, *tasks: str) -> Fields:
        """Return a configuration with tasks in its file."""
        quick = {"timeout": "5s", "events": ["task.*"]}
        bot = {"type": "slack", "token": TOKEN, "channel": "ops", "api_url": self.slack.url, "rate_limit": "200/s"}
        return config(
            upstream=self.sim.base_url,
            endpoints={
                "app": webhook(f"{self.ears.base_url}/app", **quick),
                "dying": webhook(f"{self.ears.base_url}/dying", retry_schedule=["0s"], **quick),
                "down": webhook(f"{self.ears.base_url}/down", retry_schedule=["0s"], **quick),
                "ops": bot | {"events": ["task.*", "notifier.*"]},
            },
            watches=list(tasks),
            store={"url": self.url},
            callbacks={"secret": SECRET_2, "allow_networks": ["127.0.0.0/8"], "allow_http": True},
            shutdown_timeout="3s",
            node={"timeout": "2s"},
        )

    def rows(self) -> list[Row]:
        """Read the deliveries of all watches."""
        if self.url.startswith("sqlite"):
            with sqlite3.connect(self.url.removeprefix("sqlite:///")) as connection:
                return connection.execute(ROWS).fetchall()
        with psycopg.connect(self.url) as database:
            return database.execute(ROWS).fetchall()

    async def remember(self) -> None:
        """Store what ended long ago, for every start to forget; a crash must not leave a part of it."""
        async with running(self.url) as store:
            for watch in await follow(store, "old-1", "old-2", now=LONG_AGO):
                _, deliveries = await move(store, watch, "success", at=LONG_AGO)
                for delivery in deliveries:
                    await store.outbox.settle(settled(delivery, at=LONG_AGO))


class Life:
    """One life of a daemon: what is asked of it once it is dead has no answer."""

    def __init__(self, daemon: Daemon, scene: Scene, number: int) -> None:
        self.daemon, self.scene, self.number = daemon, scene, number

    @property
    def over(self) -> bool:
        return self.daemon.log.ended

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any] | None:
        """Return status and body of an answer; None: there was none."""
        if self.over:
            return None
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, self.daemon.url + path, json=body) as reply,
            ):
                return reply.status, await reply.json(content_type=None)
        except aiohttp.ClientError:
            await until(lambda: self.over, "only a dead daemon does not answer")
            return None

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Return once something holds, or the daemon is dead."""
        await until(lambda: self.over or holds(), what)

    async def live(self) -> int:
        """Do everything once, and stop; return the exit code."""
        scene, n = self.scene, self.number
        scene.write(self.daemon, n)
        scene.scribe.did("start")
        await self.daemon.launch()
        await self.until(lambda: bool(self.daemon.log.events("daemon.ready")), "it is ready")
        await self._mute()
        posted = len(scene.slack.calls)
        await self._add(n)
        await self._manage()
        await self._reload(n + 1)
        await until(lambda: self.over or not scene.untold, lambda: f"life {n} tells {scene.untold}")
        await self.until(lambda: len(scene.slack.calls) > posted, "people are told")
        self.daemon.signal(signal.SIGTERM)
        code = await self.daemon.ended()
        scene.end_of_life(code)
        return code

    async def _add(self, n: int) -> None:
        """Add tasks, take one away, and have them end."""
        scene = self.scene
        own = {"callback_url": f"{scene.ears.base_url}/own/{n}", "endpoints": []}
        at, tasks = scene.scribe.now(), (f"api-{n}", f"own-{n}", f"gone-{n}")
        answer = await self.ask("POST", "/v1/watches", [f"api-{n}", {"id": f"own-{n}"} | own, f"gone-{n}"])
        for task in tasks if answer is not None else ():
            scene.scribe.did("add", at=at, source="vidu", task=task)
        for task in (*BASE, f"gone-{n}"):
            scene.sim.push(task, f"step {n}")
        for endpoint, task in (("app", f"api-{n}"), ("own", f"own-{n}")):
            scene.sim.push(task, "success")
            if answer is not None:
                assert answer[0] == 201, answer
                scene.wanted[endpoint, task] = "its addition was acknowledged"
        scene.scribe.did("remove", source="vidu", task=f"gone-{n}")
        await self.ask("DELETE", f"/v1/watches/vidu/gone-{n}")

    async def _mute(self) -> None:
        """Silence an endpoint for a moment; and end what a life before has left of that."""
        await self.ask("POST", "/v1/mutes", {"endpoint": "ops", "for": "1h"})
        answer = await self.ask("GET", "/v1/mutes")
        for mute in answer[1]["items"] if answer is not None else ():
            await self.ask("DELETE", f"/v1/mutes/{mute['id']}")

    async def _manage(self) -> None:
        """Disable, enable and retry, as operators do."""
        await self.until(lambda: self.scene.ears.counts["received"] > 0, "something was sent")
        await self.ask("POST", "/v1/endpoints/down/disable")
        await self.ask("POST", "/v1/endpoints/down/enable")
        await self.retry()

    async def retry(self) -> None:
        """Ask again for what is dead."""
        self.scene.scribe.did("retry", endpoint="dying")
        await self.ask("POST", "/v1/deliveries/retry", {"endpoint": "dying"})

    async def _reload(self, n: int) -> None:
        """Replace the configuration: first by one that is refused."""
        scene = self.scene
        self.daemon.write("watches: [1")
        await self.ask("POST", "/v1/reload")
        changed = scene.write(self.daemon, n, http=self.daemon.settings["http"])
        at = scene.scribe.now()
        answer = await self.ask("POST", "/v1/reload")
        scene.scribe.did("reload", at=at, until=scene.scribe.now(), tasks=sorted(changed))
        scene.sim.push(f"file-{n}", "success")
        if answer is not None:
            assert answer[0] == 200, answer
            scene.wanted["app", f"file-{n}"] = "the reload was acknowledged"


@asynccontextmanager
async def scene(url: str) -> AsyncIterator[Scene]:
    """Make the world of a database, which is filled with what a start forgets."""
    scribe = Scribe()
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(RecordedSimulator(scribe, transcript=SILENT, keep_open=True))
        slack = await stack.enter_async_context(workspace())
        made = Scene(scribe, sim, slack, url)
        await stack.enter_async_context(made.ears)
        await made.remember()
        yield made


async def finish(life: Life, lag: Callable[[], float]) -> Case:
    """Have a last daemon tell everything, and judge the whole; return the case."""
    scene = life.scene
    scene.write(life.daemon, life.number)
    scene.scribe.did("start")
    await life.daemon.start()
    for task in (*BASE, f"file-{life.number}"):
        scene.sim.push(task, "success")
        scene.wanted["app", task] = "it is in the file"
    await until(lambda: not scene.untold, lambda: f"the last life tells {scene.untold}")

    async def settled() -> bool:
        open_ = [row for row in await asyncio.to_thread(scene.rows) if row[0] not in ASIDE and row[4] != "delivered"]
        if any(row[4] == "dead" for row in open_):
            await life.retry()
        return not open_

    await until(settled, "everything is delivered")
    assert await life.daemon.stop() == 0
    scene.scribe.did("stop", clean=True)
    return scene.judged(lag())
