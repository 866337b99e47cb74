"""What befalls a run: its weather, receivers that are down, a full disk, steps of the clock, standstills, crashes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

from simulation.receiver import Receiver
from simulation.scene import Scene
from simulation.seams import Disk
from simulation.wires import Network, Weather

SHORTEST, LONGEST = 8.0, 90.0  # seconds of a storm
MOST_STEPS = 20_000  # of a process, before it crashes
DAY = 86400.0
NOTICE = 3.0  # seconds in which a daemon notices that its clock was set, and has moved the dates of its rows


class Faults:
    """Draws them."""

    def __init__(self, scene: Scene, rng: Random, network: Network, disk: Disk, receivers: Sequence[Receiver]) -> None:
        self._scene = scene
        self._rng = rng
        self._network = network
        self._disk = disk
        self._receivers = receivers
        self.running: Callable[[], bool] = lambda: False  # a daemon has started, and does not stop
        self._crashes = rng.choice([0, 1, 1, 2, 4])

    def plan(self) -> float:
        """Plan a storm; return how many seconds it lasts."""
        rng, agenda = self._rng, self._scene.agenda
        span = rng.uniform(SHORTEST, LONGEST)
        self.begin()
        for _ in range(rng.choice([0, 0, 1, 2])):
            agenda.after(rng.uniform(0.0, span), self._receiver_down)
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            agenda.after(rng.uniform(0.0, span), self._disk_full)
        for _ in range(rng.choice([0, 0, 0, 1, 3])):
            agenda.after(rng.uniform(0.0, span), self._set_clock)
        for _ in range(rng.choice([0, 0, 1])):
            agenda.after(rng.uniform(0.0, span), self._pause)
        return span

    def begin(self) -> None:
        """Begin a storm on the network."""
        rng, share = self._rng, self._scene.trouble / 3
        self._network.weather = Weather(
            refused=rng.random() * share, hanging=rng.random() * share / 3, nameless=rng.random() * share
        )

    def end(self) -> None:
        """End the storm."""
        self._network.weather = Weather()

    def done(self) -> None:
        """Let no more processes crash."""
        self._crashes = 0

    def crash(self) -> int | None:
        """Return after how many steps the next process crashes; early ones are as likely as late ones."""
        if self._crashes <= 0:
            return None
        self._crashes -= 1
        return round(math.exp(self._rng.uniform(0.0, math.log(MOST_STEPS))))

    def downtime(self) -> float:
        """Return how many seconds pass before the next start."""
        return self._rng.choice([0.1, 1.0, self._rng.uniform(0.0, 60.0)])

    def _receiver_down(self) -> None:
        receiver, seconds = self._rng.choice(self._receivers), self._rng.uniform(5.0, 120.0)
        receiver.go_down(seconds)

    def _disk_full(self) -> None:
        if self._scene.agenda.now < self._scene.agenda.set_until:
            self._scene.agenda.after(NOTICE, self._disk_full)
            return
        seconds = self._rng.choice([0.5, 5.0, self._rng.uniform(0.0, 60.0)])
        self._disk.full = True
        self._scene.did("disk_full", until=self._scene.agenda.now + seconds)
        self._scene.agenda.after(seconds, self._disk_has_room)

    def _disk_has_room(self) -> None:
        self._disk.full = False

    def _set_clock(self) -> None:
        """Set the clock while a daemon runs, and can see it."""
        agenda = self._scene.agenda
        if self._disk.full or not self.running():
            agenda.after(NOTICE, self._set_clock)
            return
        agenda.set_until = agenda.now + NOTICE
        by = self._rng.choice([-1, 1]) * self._rng.choice([0.3, 2.0, 90.0, 3700.0, DAY, 40 * DAY]) * self._rng.random()
        self._scene.agenda.offset += round(by * 1e6)
        self._scene.did("clock", by=by)

    def _pause(self) -> None:
        seconds = self._rng.choice([0.2, 3.0, 30.0])
        self._scene.did("pause")
        self._scene.agenda.now += seconds
        self._scene.did("resume")
