"""The place of a run: an upstream, a receiver, and nodes that reach them, and their database, through proxies."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import databases
import psutil
import psycopg
from broker_servers import broker_url
from clocks import ahead, shift
from daemon_process import EXECUTED, PYTHON, SECRET, Daemon, Fields, Log, config, webhook
from judge import EndpointTerms, Terms
from redis.asyncio import Redis
from waits import PATIENCE

from chaos.clock import settable
from chaos.proxy import Proxy
from chaos.receiver import Receiver
from chaos.scribe import Scribe
from chaos.upstream import Upstream

CLOCK_NOTICED = 2.5  # seconds: libfaketime reads its file, and the daemon looks at its clock, once a second
AWAY = ('"event":"store.', "the store cannot be used for now")  # of errors that an outage of the database makes
PATIENT = 2.0  # seconds of an attempt
IDLE = 6.0  # seconds without a byte after which a stream is given up
STARTS = 30  # attempts: a database may be slow for a while
TIMEOUT = 2.0  # seconds of silence after which a node is declared dead
WAITS = (0.0, *[0.2] * 20, *[2.0] * 300)  # seconds before the attempts of a message
JOBS = {  # a source without streams
    "preset": "generic",
    "url": "{base_url}/jobs/{id}",
    "transport": "poll",
    "headers": {},
    "paths": {"state": "state"},
    "states": {
        "queued": ["queueing", "scheduling", "preparation"],
        "running": ["processing"],
        "succeeded": ["success"],
        "failed": ["failed"],
        "canceled": ["canceled"],
    },
    "poll": {"interval": "500ms", "max_interval": "1s"},
    "backoff": {"initial": "50ms", "max": "500ms"},
}


@dataclass(slots=True, kw_only=True)
class Node:
    """A daemon and what stands between it and the others."""

    name: str
    daemon: Daemon
    upstream: Proxy
    receiver: Proxy
    database: Proxy | None  # None: a file
    broker: Proxy
    clock: Path | None  # the file that sets its clock; None: it has the machine's
    logs: list[Log]
    paused: bool = False

    @property
    def runs(self) -> bool:
        """Return whether its process is there."""
        return self.daemon.process is not None and self.daemon.process.returncode is None

    def usage(self) -> tuple[int, int]:
        """Return its resident memory in KiB, and its descriptors."""
        process = psutil.Process(self.daemon.pid)
        return process.memory_info().rss // 1024, process.num_fds()


class Site:
    """All of it."""

    def __init__(
        self, directory: Path, scribe: Scribe, upstream: Upstream, receiver: Receiver, url: str | None, stream: str
    ) -> None:
        """Use the PostgreSQL database of a URL, or an SQLite file in the directory; `stream` is the queue's name."""
        self.directory = directory
        self.scribe = scribe
        self.upstream = upstream
        self.receiver = receiver
        self.url = url
        self.stream = stream
        self.nodes: dict[str, Node] = {}
        self.listed: list[Any] = []  # watches of the file
        self._reloads = 0

    async def make(self, name: str, stack: AsyncExitStack, *, clock: bool) -> Node:
        """Make a node, not started yet; with `clock`, one whose clock may be set."""
        proxies = [Proxy(self.upstream.port), Proxy(self.receiver.port), Proxy(urlsplit(broker_url("redis")).port or 0)]
        if self.url is not None:
            proxies.append(Proxy(urlsplit(self.url).port or 5432))
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        upstream, receiver, broker, *database = proxies
        place = self.directory / name
        place.mkdir(exist_ok=True)
        file = place / "clock" if clock else None
        env = {} if file is None else settable(file)
        daemon = Daemon(place, {}, env=env, python=EXECUTED if env else PYTHON)
        if env:
            daemon.env.pop("FAKETIME", None)  # of a shifted run (clocks.py): it would win over the file
        stack.push_async_callback(daemon.kill)
        node = self.nodes[name] = Node(
            name=name, daemon=daemon, upstream=upstream, receiver=receiver, broker=broker,
            database=database[0] if database else None, clock=file, logs=[],
        )  # fmt: skip
        daemon.write(self.settings(node))
        return node

    def settings(self, node: Node) -> Fields:
        """Make the configuration of a node, for this moment."""
        base, out = f"http://127.0.0.1:{node.upstream.port}", f"http://127.0.0.1:{node.receiver.port}"
        # The parts that reloads change; nothing of streams, and nothing of what is on its way.
        gentle = {"max_in_flight": 16 + self._reloads % 3}
        waits = [f"{wait:g}s" for wait in WAITS]
        more = {"headers": {"x-node": node.name}, "retry_schedule": waits, "timeout": f"{PATIENT:g}s"}
        store = {} if self.url is None else {"store": {"url": self._through(node)}}
        vidu = {"idle_timeout": f"{IDLE:g}s", "connect_timeout": "3s", "backoff": {"initial": "50ms", "max": "1s"}}
        made = config(
            upstream=base,
            endpoints={"app": webhook(f"{out}/app", **more, **gentle), "log": webhook(f"{out}/log", **more)},
            watches=self.listed,
            vidu=vidu | {"default": True},
            node={"name": node.name, "timeout": f"{TIMEOUT:g}s"},
            queues=[{"url": f"redis://127.0.0.1:{node.broker.port}", "stream": self.stream, "group": "notifier"}],
            shutdown_timeout="3s",
            **store,
        )
        made["sources"]["jobs"] = JOBS | {"base_url": base}
        if node.daemon.settings:
            made["http"] = node.daemon.settings["http"]
        return made

    def _through(self, node: Node) -> str:
        assert self.url is not None
        assert node.database is not None
        parts = urlsplit(self.url)
        there = parts.netloc.rpartition("@")[0]
        netloc = f"{there}@127.0.0.1:{node.database.port}" if there else f"127.0.0.1:{node.database.port}"
        return parts._replace(netloc=netloc, query=f"application_name={node.name}").geturl()

    def terms(self, *, slack: float) -> Terms:
        """Return what was agreed; `slack` is how late notes of this process may be, in seconds."""
        terms = EndpointTerms(schedule=WAITS)
        return Terms(endpoints={"app": terms, "log": terms}, polled=frozenset({"jobs"}), slack=slack, gives_up=PATIENT)

    # -- life of nodes

    async def start(self, node: Node) -> None:
        """Start a node; return once it is ready. One that finds no database is started again, as systemd does."""
        for _ in range(STARTS):
            await self.launch(node)
            try:
                await node.daemon.log.wait("daemon.ready")
            except AssertionError:
                if not node.daemon.log.ended or not any("cannot use" in line for line in node.daemon.log.lines):
                    raise
                code = await node.daemon.ended()
                self.scribe.did("stop", node.name, clean=False, code=code)
                node.logs.pop()  # it says so on one line for people
            else:
                return
        raise AssertionError(f"{node.name} did not start in {STARTS} attempts")

    async def launch(self, node: Node) -> None:
        """Start its process."""
        self.scribe.did("start", node.name)
        node.daemon.write(self.settings(node))
        await node.daemon.launch()
        node.logs.append(node.daemon.log)

    async def kill(self, node: Node) -> None:
        """End it this instant."""
        await node.daemon.kill()
        node.paused = False
        self.scribe.did("kill", node.name)

    async def stop(self, node: Node) -> int:
        """Ask it to end; return its exit code."""
        code = await node.daemon.stop()
        left = node.daemon.log.events("daemon.undelivered")
        self.scribe.did("stop", node.name, clean=code == 0 and not left, code=code)
        return code

    def pause(self, node: Node) -> None:
        """Let it stand still."""
        self.scribe.did("pause", node.name)
        node.paused = True
        node.daemon.signal(signal.SIGSTOP)

    def resume(self, node: Node) -> None:
        """Let it go on."""
        node.paused = False
        node.daemon.signal(signal.SIGCONT)
        self.scribe.did("resume", node.name)

    async def reload(self, node: Node) -> bool:
        """Have it read its configuration again, with other numbers in it; return whether it answered."""
        self._reloads += 1
        node.daemon.write(self.settings(node))
        at, answered = self.scribe.now(), True
        try:
            async with asyncio.timeout(10):
                status, _ = await node.daemon.post("/v1/reload")
                answered = status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            answered = False
        self.scribe.did("reload", node.name, at=at, until=self.scribe.now(), endpoints=["app"])
        return answered

    def set_clock(self, node: Node, by: float) -> None:
        """Set its clock to so many seconds before or after the machine's."""
        assert node.clock is not None
        node.clock.write_text(f"{by + shift():+.0f}s\n")
        self.scribe.did("clock", node.name, until=self.scribe.now() + CLOCK_NOTICED, by=by)

    # -- what became of it

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database, past the nodes."""
        if self.url is not None:
            with psycopg.connect(self.url, autocommit=True) as connection:
                return connection.execute(query.encode()).fetchall()
        with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as connected:
            return connected.execute(query).fetchall()

    @property
    def database(self) -> Path:
        """Return the SQLite file."""
        return self.directory / "a" / "notifier.db"

    def left(self) -> str | None:
        """Return what is not settled yet, of tasks that have all ended; None: nothing."""
        done = {(source, id_) for source, id_ in self.rows("SELECT source, id FROM watches WHERE ended")}
        missing = [task.id for task in self.upstream.tasks.values() if (task.source, task.id) not in done]
        if missing:
            return f"{len(missing)} watches go on: {missing[:5]}"
        [(open_,)] = self.rows("SELECT count(*) FROM deliveries WHERE status IN ('ready', 'waiting')")
        return f"{open_} deliveries are open" if open_ else None

    def note_takeovers(self) -> None:
        """Note from the nodes' logs who was declared dead, and who found that out and began anew."""
        for node in self.nodes.values():
            for log in node.logs:
                note_takeovers(self.scribe, node.name, log)

    def errors(self) -> list[str]:
        """Return what the nodes logged as errors, beyond an unavailable store and reloads that it refuses."""
        return [
            line
            for node in self.nodes.values()
            for log in node.logs
            for line in log.lines
            if ('"level":"error"' in line and not any(known in line for known in AWAY)) or not line.startswith("{")
        ]


def note_takeovers(scribe: Scribe, name: str, log: Log) -> None:
    """Note from a node's log whom it declared dead, and when it found out that it had been, and began anew."""
    for event in log.events("node.dead"):
        scribe.did("takeover", event["name"], at=_moment(event))
    for event in log.events("node.lost"):
        scribe.did("start", name, at=_moment(event), again=True)


def _moment(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


@contextmanager
def _database(nodes: int) -> Iterator[str | None]:
    if nodes == 1:
        yield None
        return
    with databases.new_database() as url:
        yield url


@asynccontextmanager
async def site(directory: Path, scribe: Scribe, dice: random.Random, *, nodes: int, clock: bool) -> AsyncIterator[Site]:
    """Build it, with so many nodes, none of them started."""
    stream = f"notifier:chaos:{secrets.token_hex(6)}"
    redis = Redis.from_url(broker_url("redis"), socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE)
    with ExitStack() as files:
        url = files.enter_context(_database(nodes))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(redis.aclose)
            stack.push_async_callback(redis.delete, stream, f"{stream}:dead")
            upstream = await stack.enter_async_context(Upstream(scribe))
            ears = Receiver(scribe, SECRET, dice, timeout=PATIENT, ahead=ahead(url or ""))
            receiver = await stack.enter_async_context(ears)
            made = Site(directory, scribe, upstream, receiver, url, stream)
            for name in "abcdefgh"[:nodes]:
                await made.make(name, stack, clock=clock and nodes == 1)
            yield made
