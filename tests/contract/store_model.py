"""A model of the store: what its promises leave of it, in plain dictionaries. The state machine compares the two."""

from __future__ import annotations

from dataclasses import dataclass, field

from store_rig import SECOND, T0

ENDPOINTS = ("app", "newest")  # the second has `latest`
Lane = tuple[str, str]  # endpoint and task


@dataclass(slots=True)
class Task:
    """A watch."""

    sequence: int = 0
    ended: bool = False
    removed: bool = False
    owned: bool = False


@dataclass(slots=True)
class Sent:
    """A delivery."""

    sequence: int
    status: str  # as in the schema
    due: int
    attempt: int = 0
    owned: bool = False
    manual: bool = False
    settled_at: int | None = None


@dataclass(slots=True)
class Model:
    """The tasks, and each lane's deliveries in the order of their sequences."""

    now: int = T0
    tasks: dict[str, Task] = field(default_factory=dict)
    lanes: dict[Lane, list[Sent]] = field(default_factory=dict)
    disabled: bool = False

    def tick(self) -> int:
        """Return a new time."""
        self.now += SECOND
        return self.now

    # -- watches

    def add(self, task: str) -> bool:
        """Add a watch; return whether there was none. A removed one begins anew, its sequence goes on."""
        known = self.tasks.get(task)
        if known is None:
            self.tasks[task] = Task()
            return True
        added, known.removed = known.removed, False
        if added:
            known.ended = known.owned = False
        return added

    def claim(self) -> set[str]:
        """Take every open watch that nobody has."""
        free = {name for name, task in self.tasks.items() if not (task.ended or task.removed or task.owned)}
        for name in free:
            self.tasks[name].owned = True
        return free

    # -- deliveries

    def commit(self, name: str, *, end: bool) -> dict[str, int]:
        """Move a watch; return the sequences to send now, by endpoint."""
        task = self.tasks[name]
        task.sequence += 1
        task.ended = end
        taken: dict[str, int] = {}
        for endpoint in ENDPOINTS:
            lane = self.lanes.setdefault((endpoint, name), [])
            if endpoint == "newest":
                self._overtake([sent for sent in open_(lane) if not sent.owned])
            waits = bool(open_(lane))
            lane.append(Sent(task.sequence, "waiting" if waits else "ready", self.now, owned=not waits))
            if not waits:
                taken[endpoint] = task.sequence
        return taken

    def claim_due(self, endpoint: str) -> list[tuple[str, int]]:
        """Take every delivery of an endpoint that is due; return tasks and sequences."""
        due = [
            (name, sent)
            for (to, name), lane in self.lanes.items()
            for sent in lane
            if to == endpoint and sent.status == "ready" and not sent.owned and sent.due <= self.now
        ]
        for _, sent in due:
            sent.owned = True
        return sorted((name, sent.sequence) for name, sent in due)

    def settle(self, lane: Lane, sequence: int, verdict: str) -> int | None:
        """Save a verdict: `delivered`, `dead`, or `later` in a minute; return the sequence to send now, if any."""
        sent = next(each for each in self.lanes[lane] if each.sequence == sequence)
        sent.owned = False
        if verdict == "later":
            sent.attempt, sent.due = sent.attempt + 1, self.now + 60 * SECOND
            if lane[0] == "newest":
                *older, _ = open_(self.lanes[lane])
                self._overtake([each for each in older if not each.owned])
                return self._promote(lane)
            return None
        sent.status, sent.settled_at = verdict, self.now
        sent.attempt += 1
        return self._promote(lane)

    def revive(self, lane: Lane) -> int:
        """Retry the dead of a lane by hand, before everything that waits; return their number."""
        dead = [sent for sent in self.lanes.get(lane, []) if sent.status == "dead"]
        for sent in dead:
            sent.attempt, sent.due, sent.manual, sent.settled_at = 0, self.now, True, None
            sent.status = "waiting" if open_(self.lanes[lane]) else "ready"
        return len(dead)

    def restart(self) -> None:
        """Free everything, as a crash and a start do."""
        for task in self.tasks.values():
            task.owned = False
        for lane in self.lanes.values():
            for sent in lane:
                sent.owned = False

    def prune(self) -> None:
        """Forget events of which nothing is open, and then watches that are over and have none."""
        open_events = {
            (name, sent.sequence) for (_, name), lane in self.lanes.items() for sent in lane if sent in open_(lane)
        }
        for (_, name), lane in self.lanes.items():
            lane[:] = [sent for sent in lane if (name, sent.sequence) in open_events]
        kept = {name for name, _ in open_events}
        for name, task in list(self.tasks.items()):
            if (task.ended or task.removed) and name not in kept:
                del self.tasks[name]

    def _promote(self, lane: Lane) -> int | None:
        first = next(iter(open_(self.lanes[lane])), None)
        if first is None or first.status == "ready":
            return None
        first.status, first.due, first.owned = "ready", self.now, True
        return first.sequence

    def _overtake(self, overtaken: list[Sent]) -> None:
        for sent in overtaken:
            sent.status, sent.settled_at = "superseded", self.now


def open_(lane: list[Sent]) -> list[Sent]:
    """Return the deliveries that are not settled."""
    return [sent for sent in lane if sent.status in ("ready", "waiting")]
