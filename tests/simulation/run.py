"""One run: a storm that a seed draws, a calm until all is quiet, and the judge.

Whatever can be drawn is drawn from the seed, each part from a randomness of its own, so that the same seed gives the
same run, step by step.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from judge import EndpointTerms, Terms, judge

from notifier.core.callback import Callback
from notifier.store import migrate
from simulation.faults import Faults
from simulation.http import Answering, Server
from simulation.operators import CALLBACK, Operators
from simulation.process import Process, count, select
from simulation.receiver import Receiver
from simulation.scene import Scene
from simulation.seams import Disk, Opened, replaced
from simulation.settings import POLLED, SCHEDULE, STREAMED
from simulation.upstream import Upstream
from simulation.wires import FAR, ON_THE_WAY, Network

LOOK = 10.0  # seconds between looks whether all is quiet
# Seconds after a storm in which all has to become quiet. Attempts that a clock brought forward, since it was set, may
# leave a callback to wait for its sixth, 18,000 s.
LONGEST_CALM = 21_600.0
SHM = Path("/dev/shm")  # where there is one: a sync costs nothing there

_OPEN_WATCHES = "SELECT count(*) FROM watches WHERE NOT ended AND removed_at IS NULL"
_OPEN_DELIVERIES = "SELECT count(*) FROM deliveries WHERE status IN ('ready', 'waiting')"
_DISABLED = "SELECT count(*) FROM endpoints WHERE disabled_at IS NOT NULL"
_DEAD = """
SELECT events.id, endpoint, attempt, coalesce(reason, '') FROM deliveries JOIN events ON events.pk = deliveries.event
WHERE status = 'dead' ORDER BY deliveries.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run."""

    seed: int
    trace: str  # a hash of all that happened, step by step
    findings: tuple[str, ...]  # promises that were not kept; none: all were
    steps: int
    seconds: float  # of virtual time
    lines: tuple[str, ...]  # of the trace, where they were wanted


def run(seed: int, *, lines: bool = False) -> Result:
    """Run a seed."""
    with place() as directory:
        return Run(seed, directory, lines=lines).run()


@contextmanager
def place() -> Iterator[Path]:
    """Lend a directory for a run."""
    directory = tempfile.mkdtemp(prefix="notifier-simulation-", dir=SHM if SHM.is_dir() else None)
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory)


class Run:
    """One seed's world, and the daemon in it."""

    def __init__(self, seed: int, directory: Path, *, lines: bool) -> None:
        self.scene = scene = Scene(seed)
        scene.lines = [] if lines else None
        self.path, self.database = directory / "n.yaml", directory / "n.db"
        self._network = Network(scene.agenda, scene.rng("network"))
        self._network.on_no_name = lambda: scene.did("cut", where="names")
        self._upstreams = {name: Upstream(name, scene, scene.rng(name)) for name in (STREAMED, POLLED)}
        names = {"app": "app", "latest": "latest", "extra": "extra", "back": Callback(url=CALLBACK).name}
        receivers = {
            place: Receiver(name, scene, scene.rng(place), gone=0.02 * (place == "extra"))
            for place, name in names.items()
        }
        places: dict[str, Answering] = {**self._upstreams, **receivers}
        for number, (name, answering) in enumerate(places.items(), 1):
            self._network.add(f"{name}.example", f"10.0.0.{number}", Server(answering))
        self._disk = Disk(scene, scene.rng("disk"))
        self._operators = Operators(scene, scene.rng("operators"), self._upstreams, self.path)
        self._faults = Faults(scene, scene.rng("faults"), self._network, self._disk, list(receivers.values()))
        self._faults.running = lambda: self._operators.process is not None and self._operators.process.ready
        self._calm_since = 0.0
        self._over = False
        self._steps = 0

    def run(self) -> Result:
        """Run to the end, and judge."""
        _new_database(self.database)
        began = self.scene.agenda.now
        span = self._plan()
        self._operators.settings.write(self.path)
        self.scene.agenda.after(span, self._calm_down)
        with replaced(self.scene, self._network, self._disk) as opened:
            while True:
                self._live(opened)
                if self._over:
                    break
                self.scene.agenda.pass_time(self.scene.agenda.now + self._faults.downtime())
        self.scene.agenda.pass_time(self.scene.agenda.now + FAR)  # what is on its way is recorded once it has come
        return Result(
            seed=self.scene.seed,
            trace=self.scene.trace,
            findings=(*self.scene.faults, *map(str, judge(self.scene.entries, self.database, self.terms()))),
            steps=self._steps,
            seconds=self.scene.agenda.now - began,
            lines=tuple(self.scene.lines or ()),
        )

    def _plan(self) -> float:
        """Plan what happens; return how many seconds it goes on."""
        span = self._faults.plan()
        self._operators.plan(span)
        return span

    def terms(self) -> Terms:
        """Return what was agreed with the daemon."""
        return terms(SCHEDULE)

    def _live(self, opened: Opened) -> None:
        """Run one process, to its end."""
        self._operators.settings.write(self.path)
        process = Process(self.scene, self._network, opened, self.path, self.scene.rng(f"loop {self._steps}"))
        self._operators.process = process
        self.scene.did("start")
        stopped = process.run(self._faults.crash(), self.database, self._disk)
        self._operators.process = None
        self._steps += process.steps
        if stopped:
            self.scene.did("stop", clean=self._over)  # in a storm, what it sends may stay unanswered
        else:
            self.scene.did("kill", until=self.scene.agenda.now + ON_THE_WAY)  # what it has sent still arrives

    # -- the end

    def _calm_down(self) -> None:
        self.scene.stormy = False
        self.scene.note("calm\n")
        self._calm_since = self.scene.agenda.now
        self._faults.end()
        self._look()

    def _look(self) -> None:
        """Stop the daemon once all is quiet."""
        agenda, process = self.scene.agenda, self._operators.process
        agenda.after(LOOK, self._look)
        if process is None or not process.ready:
            return
        if agenda.now - self._calm_since > LONGEST_CALM:
            self.scene.faults.append(f"it is not quiet {LONGEST_CALM:g} s after the storm")
        elif not self._quiet():
            return
        self._faults.done()
        self._over = True
        process.app.stop()

    def _quiet(self) -> bool:
        """Return whether nothing is left to do; ask for dead deliveries again first."""
        over = max(each.over() for each in self._upstreams.values())
        if self._operators.open or self.scene.agenda.now < over:
            return False
        if not self._operators.settings.extra or count(self.database, _DISABLED):
            self._operators.enable()
            return False
        if count(self.database, _OPEN_WATCHES) or count(self.database, _OPEN_DELIVERIES):
            return False
        if dead := select(self.database, _DEAD):
            self._operators.retry_dead(dead)
            return False
        return True


def terms(schedule: tuple[float, ...]) -> Terms:
    """Return what was agreed with a daemon that has this schedule."""
    return Terms(
        endpoints={
            "app": EndpointTerms(schedule=schedule),
            "latest": EndpointTerms(schedule=schedule, ordering="latest"),
            "extra": EndpointTerms(schedule=schedule, gapless=False),
            Callback(url=CALLBACK).name: EndpointTerms(gapless=False),
        },
        polled=frozenset({POLLED}),
        heard=FAR,
    )


_made: dict[None, bytes] = {}


def _new_database(path: Path) -> None:
    """Create a database; the first is kept to be copied, since migrating takes longer than a run."""
    if not _made:
        migrate(f"sqlite:///{path}")
        _made[None] = path.read_bytes()
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
    path.write_bytes(_made[None])
