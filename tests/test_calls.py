"""A change costs a bounded number of calls. Calls are counted, not seconds, so that a busy machine changes little."""

from __future__ import annotations

import asyncio
import cProfile
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon_rig import serving
from store_rig import follow, move, running, settled
from waits import PATIENCE

from bench import polls
from bench.child import LoadGenerator
from bench.programs import SECRET, Bout, configuration, free_port
from notifier.runtime.loops import runner

# 1,500 changes, faster than any machine takes them: how many share a round and a commit is then the program's doing.
# At a rate that it can follow, the machine's speed decides that, and the count with it.
STREAMS, RATE = 500, 20_000.0
LOOP_CALLS = 385  # of functions, by the event loop's thread, for a change: 362 to 376 were counted, busy or at rest
GROUPS, SIZE = 10, 50  # changes that are saved together
STORE_CALLS = 55  # by the store's thread, for a change of such a group: 48 were counted
DRIVER_CALLS = 0.6  # of SQLite's driver among them: 0.54 were counted
TASKS, POLLS, POLL_RATE = 100, 300, 500.0
POLL_CALLS = 340  # by the event loop's thread, for a poll that brings nothing new: 323 to 328 were counted


def counted(profile: cProfile.Profile, counts: Callable[[Any], bool] = lambda _: True) -> int:
    """Return how often the functions that count were called.

    `profile.stats` would keep one of those that have a name in common, as constructors made at import have.
    """
    return sum(each.callcount for each in profile.getstats() if counts(each.code))


async def test_changes_that_are_saved_together_share_the_calls_of_the_driver(tmp_path: Path) -> None:
    """Each call gives up the interpreter's lock, and waits for it again."""
    profile = cProfile.Profile()
    async with running(f"sqlite:///{tmp_path / 'notifier.db'}") as store:
        watches = await follow(store, *map(str, range(GROUPS * SIZE)))
        thread = store._writer._thread
        await thread.call(lambda each: each.enable(), profile)
        for start in range(0, len(watches), SIZE):
            moves = (move(store, watch, "queueing") for watch in watches[start : start + SIZE])
            taken = [delivery for _, deliveries in await asyncio.gather(*moves) for delivery in deliveries]
            assert len(taken) == SIZE
            await asyncio.gather(*(store.outbox.settle(settled(delivery), urgent=True) for delivery in taken))
        await thread.call(lambda each: each.disable(), profile)
    calls = counted(profile) / len(watches)
    driver = counted(profile, lambda code: "sqlite3" in str(code)) / len(watches)
    assert calls <= STORE_CALLS, (calls, driver)
    assert driver <= DRIVER_CALLS, (calls, driver)


def test_a_change_costs_a_bounded_number_of_calls(tmp_path: Path) -> None:
    """From the bytes of a snapshot to the saved verdict on its delivery; in the thread of the event loop.

    The whole daemon runs here, under the profiler; what it follows and what it calls runs in another process.
    """
    profile = cProfile.Profile()
    with LoadGenerator(streams=STREAMS, rate=RATE, secret=SECRET) as load:
        ports = load.expect("ready", within=PATIENCE)
        path = tmp_path / "notifier.yaml"
        bout = Bout.beside(
            ports,
            name="daemon",
            directory=tmp_path,
            streams=STREAMS,
        )
        path.write_text(configuration(bout, loop="auto", port=free_port()))

        async def run() -> dict[str, Any]:
            async with serving(path):
                await asyncio.to_thread(load.expect, "open", within=PATIENCE)
                profile.enable()
                load.go()
                done = await asyncio.to_thread(load.expect, "done", within=PATIENCE)
                profile.disable()
                return dict(done["tally"])

        with runner("uvloop") as loop:
            tally = loop.run(run())
    assert tally["missing"] == tally["duplicates"] == 0
    calls = counted(profile) / tally["expected"]
    assert calls <= LOOP_CALLS


def test_a_poll_costs_a_bounded_number_of_calls(tmp_path: Path) -> None:
    """One that brings nothing new, as most do; in the thread of the event loop."""
    profile = cProfile.Profile()
    with answering() as (upstream, url):
        path = polls.configuration(tmp_path, url, TASKS, POLL_RATE, batch=False, interval="200ms")
        settings = json.loads(path.read_text())
        settings["http"]["listen"] = f"127.0.0.1:{free_port()}"
        path.write_text(json.dumps(settings))

        async def run() -> None:
            async with serving(path):
                await asyncio.to_thread(upstream.reached, 2 * TASKS)  # each was seen, and the first answers are saved
                profile.enable()
                await asyncio.to_thread(upstream.reached, 2 * TASKS + POLLS)
                profile.disable()

        with runner("uvloop") as loop:
            loop.run(run())
    assert upstream.errors == 0
    assert counted(profile) / POLLS <= POLL_CALLS


class CountingUpstream(polls.Upstream):
    """Tells other threads how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def reached(self, count: int) -> None:
        """Block until it was asked so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked >= count, PATIENCE), self.asked

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        with self._changed:
            self._changed.notify_all()
        return await super()._head(reader)


@contextmanager
def answering() -> Iterator[tuple[CountingUpstream, str]]:
    """Serve polls in a thread of its own, whose calls nobody counts."""
    upstream, places, loop = CountingUpstream(), [], asyncio.new_event_loop()
    ready = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        places.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await ended.wait()
            await upstream.hang_up()

    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield upstream, f"http://127.0.0.1:{places[0]}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(PATIENCE)
        loop.close()
