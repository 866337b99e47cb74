"""kill -9 at any instant loses nothing that was observed, and keeps every promise made to receivers."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from daemon_process import SECRET, Daemon, Start, config, webhook
from waits import PATIENCE, until

from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript, parse_spec

KILLS = 34
WATCHES = 360
ENDS = ("success", "failed:CreditInsufficient", "canceled")


class Ledger:
    """The arrivals at a receiver, by watch and sequence."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.first: dict[str, list[int]] = defaultdict(list)  # sequences in the order of their first arrival
        self.accepted: set[str] = set()
        self.repeats = 0  # after one that was accepted
        self.ended: set[str] = set()

    def enter(self, callback: ReceivedCallback) -> None:
        """Write an arrival in."""
        assert callback.watch is not None
        assert callback.sequence is not None
        assert callback.id is not None
        key = (callback.watch, callback.sequence)
        if key not in self.ids:
            self.first[callback.watch].append(callback.sequence)
        self.ids[key].add(callback.id)
        self.repeats += callback.accepted_before
        if callback.answer == "200":
            self.accepted.add(callback.id)
            if callback.type != "task.state_changed":
                self.ended.add(callback.watch)


def transcripts(dice: random.Random) -> dict[str, Transcript]:
    """Make lively tasks: some end early, some go on until they are told to end, some go back and forth."""
    made: dict[str, Transcript] = {}
    for number in range(WATCHES):
        length = dice.choice((3, 10, 25, 200))
        states = [dice.choice(("queueing", "processing", f"step-{n}")) for n in range(length)]
        made[f"task-{number}"] = parse_spec(",".join([*states, dice.choice(ENDS)]))
    return made


async def kill_often(daemon: Daemon, dice: random.Random, listener: Listener) -> Counter[str]:
    """Kill the daemon at random moments, of its start too; start it again at once."""
    moments: Counter[str] = Counter()
    for _ in range(KILLS):
        await daemon.launch()
        if dice.random() < 0.2:
            moments["starting"] += 1
            await asyncio.sleep(dice.uniform(0.0, 0.8))
        else:
            moments["running"] += 1
            await daemon.log.wait("daemon.ready")
            await listener.wait(listener.counts["received"] + dice.randint(0, 60))
            await asyncio.sleep(dice.uniform(0.0, 0.3))
        await daemon.kill()
    return moments


@pytest.mark.slow
async def test_nothing_is_lost_by_sigkill(daemons: Start, record_property: Callable[[str, object], None]) -> None:
    """Each committed event arrives at least once under one id, in order, and each task's end arrives."""
    seed = int(os.environ.get("NOTIFIER_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    dice = random.Random(seed)
    print(f"NOTIFIER_TEST_SEED={seed}")  # shown if the test fails
    ledger, tasks = Ledger(), transcripts(dice)
    async with (
        Simulator(transcripts=tasks, interval=0.6, jitter=0.9, seed=seed) as sim,
        Listener(
            secrets=[SECRET], respond="200*60|500|reset|drop", keep=10, on_callback=ledger.enter, seed=seed
        ) as ears,
    ):
        settings = config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=list(tasks))
        daemon = daemons(settings)
        moments = await kill_often(daemon, dice, ears)
        await daemon.start()
        for task in tasks:  # those that are still going end now
            if not sim.tasks[task].ended:
                sim.push(task, dice.choice(("success", "failed", "canceled")))
        await ears.wait_for(lambda _: len(ledger.ended) == WATCHES, timeout=PATIENCE)
        open_ = "SELECT count(*) FROM deliveries WHERE status != 'delivered'"
        await until(lambda: daemon.rows(open_) == [(0,)], what="every delivery is settled")
        assert await daemon.stop() == 0
    stored = daemon.rows("SELECT w.id, e.sequence, e.id FROM events e JOIN watches w ON w.pk = e.watch ORDER BY e.pk")
    told = f"{len(stored)} events, {ears.counts['received']} callbacks, {ledger.repeats} repeats, {dict(moments)}"
    print(told)
    record_property("kill", told)
    check(ledger, {(watch, sequence): id_ for watch, sequence, id_ in stored}, list(tasks))
    assert len(stored) > 3 * WATCHES, "the upstream was lively"
    assert ears.counts["rejected"] == 0


def check(ledger: Ledger, stored: dict[tuple[str, int], str], tasks: list[str]) -> None:
    """Hold what arrived against what the store committed."""
    assert set(stored.values()) <= ledger.accepted, "what was committed has arrived"
    assert ledger.ids.keys() == stored.keys(), "what has arrived was committed"
    for key, id_ in stored.items():
        assert ledger.ids[key] == {id_}, f"{key} came under one id alone"
    for task in tasks:
        assert ledger.first[task] == list(range(1, len(ledger.first[task]) + 1)), f"{task}: in order, without gaps"
    assert ledger.ended == set(tasks)
