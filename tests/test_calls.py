"""A change costs a bounded number of calls. Calls are counted, not seconds, so that a busy machine changes little."""

from __future__ import annotations

import asyncio
import cProfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon_rig import serving
from store_rig import follow, move, running, settled
from waits import PATIENCE

from bench.child import LoadGenerator
from bench.programs import SECRET, Bout, configuration, free_port
from notifier.runtime.loops import runner

STREAMS, RATE = 200, 400.0  # 600 changes
LOOP_CALLS = 660  # of functions, by the event loop's thread, for a change: 540 to 600 were counted
GROUPS, SIZE = 10, 50  # changes that are saved together
STORE_CALLS = 55  # by the store's thread, for a change of such a group: 48 were counted
DRIVER_CALLS = 0.6  # of SQLite's driver among them: 0.54 were counted


def counted(profile: cProfile.Profile, counts: Callable[[Any], bool] = lambda _: True) -> int:
    """Return how often the functions that count were called."""
    profile.create_stats()
    return sum(calls for code, (_, calls, *_) in profile.stats.items() if counts(code))


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
        bout = Bout(
            name="daemon",
            directory=tmp_path,
            streams=STREAMS,
            upstream=f"http://127.0.0.1:{ports['upstream']}",
            callback=f"http://127.0.0.1:{ports['receiver']}/callback",
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
