"""`kill -9` at any instant loses nothing that was acknowledged (DESIGN.md section 1, the first promise)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from store_rig import T0, claim, follow, running

from notifier.store import DeliveryFilter

HERE = Path(__file__).parent


@dataclass
class Acknowledged:
    """The rows that killed processes had acknowledged."""

    sequence: dict[int, int] = field(default_factory=dict)  # by watch
    events: dict[int, str] = field(default_factory=dict)  # webhook-id by delivery
    done: set[int] = field(default_factory=set)

    def hear(self, line: str) -> None:
        match line.split():
            case ["watch", pk, sequence]:
                assert int(sequence) > self.sequence.get(int(pk), 0), "a sequence was given twice"
                self.sequence[int(pk)] = int(sequence)
            case ["delivery", number, event]:
                assert self.events.setdefault(int(number), event) == event, "an id was given twice"
            case ["done", number]:
                self.done.add(int(number))
            case _:
                raise AssertionError(line)


def run_and_kill(url: str, heard: Acknowledged, lines: int) -> None:
    """Let a process write, and kill it after it has acknowledged some."""
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent / 'rig'}{os.pathsep}{HERE.parents[1]}"}
    with subprocess.Popen(
        [sys.executable, str(HERE / "crasher.py"), url], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        for _ in range(lines):
            line = child.stdout.readline()
            assert line, "it ended by itself"
            heard.hear(line)
        child.kill()
        for line in child.stdout:  # what it had said before it died
            if line.endswith("\n"):
                heard.hear(line)
    assert child.returncode == -9


@pytest.mark.parametrize("seed", range(2))
async def test_killed_again_and_again_it_loses_nothing(url: str, path: Path, seed: int) -> None:
    """Every acknowledged step, delivery and settlement is there after each crash; no id or sequence is used twice.

    What was saved but not acknowledged may be there too: it is then claimed and told, whole.
    """
    chance = random.Random(seed)
    heard = Acknowledged()
    for _ in range(5):
        run_and_kill(url, heard, chance.randrange(1, 900))
        assert path.with_name("notifier.db-wal").exists(), "it did not close in order"
    async with running(url) as store:
        watches = {watch.pk: watch for watch in await follow(store)}
        listed = {item["id"]: item for item in await store.lists.deliveries(DeliveryFilter(), limit=1_000_000)}
        free = await claim(store, now=2 * T0, room=1000)
    assert all(watches[pk].sequence >= sequence for pk, sequence in heard.sequence.items())
    assert all(listed[number]["event_id"] == event for number, event in heard.events.items())
    assert all(listed[number]["status"] == "delivered" for number in heard.done)
    per_task: dict[str, list[int]] = {}
    for item in listed.values():
        per_task.setdefault(item["task"] or "", []).append(item["sequence"])
    assert {task: sorted(found) for task, found in per_task.items()} == {
        watch.id: list(range(1, watch.sequence + 1)) for watch in watches.values() if watch.sequence
    }
    still_open = {item["task"] for item in listed.values() if item["status"] in ("ready", "waiting")}
    assert {listed[delivery.id]["task"] for delivery in free} == still_open
