"""The callbacks that the demo received for each task, and whether they are complete. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from notifier.tools.callback import ReceivedCallback
from notifier.tools.demo.script import Role
from notifier.tools.simulated import Move

MOST_NAMED = 5  # tasks that a complaint lists; thousands may miss the same


@dataclass(slots=True, kw_only=True)
class Progress:
    """One task, as the receiver knows it."""

    role: Role
    states: list[str] = field(default_factory=list)  # of accepted callbacks, as they came
    verified: int = 0
    phase: str | None = None  # the last one
    first: dict[str, float] = field(default_factory=dict)  # Unix seconds of a state's first arrival, accepted or not

    @property
    def complete(self) -> bool:
        """Return whether the callback of its end came."""
        return self.role.states[-1] in self.states

    @property
    def right(self) -> bool:
        """Return whether exactly the callbacks that are due came; a state may pass between two polls."""
        due = tuple(state for state in self.role.states if state in self.states or self.role.source != "polled")
        return tuple(self.states) == due and self.complete


class Score:
    """The counts of all received callbacks."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self.tasks = {role.id: Progress(role=role) for role in roles}
        self.counts: Counter[str] = Counter()
        self.latencies: list[float] = []  # seconds from the observation to the first attempt's arrival
        self.refused: ReceivedCallback | None = None  # the one that was answered 500
        self.retried: ReceivedCallback | None = None  # the same, accepted
        self._incomplete = set(self.tasks)
        self._others: Counter[str] = Counter()  # callbacks of unknown tasks

    @property
    def complete(self) -> bool:
        """Return whether the callback of every task's end came."""
        return not self._incomplete

    def take(self, callback: ReceivedCallback) -> None:
        """Count a callback."""
        accepted = callback.answer == "200"
        self.counts["callbacks"] += 1
        self.counts["verified"] += callback.verified is True
        self.counts["repeats"] += callback.accepted_before
        self.counts["out of order"] += callback.out_of_order
        if callback.latency is not None and callback.attempt == 1:
            self.latencies.append(callback.latency)
        if not accepted:
            self.refused = callback
        elif callback.duplicate and not callback.accepted_before:
            self.retried = callback
        task = self.tasks.get(callback.watch or "")
        if task is None:
            self._others[callback.type or "unknown"] += 1
            return
        state = callback.state if (callback.type or "").startswith("task.") else callback.type
        task.verified += callback.verified is True
        task.first.setdefault(state or "?", callback.at)
        if accepted and not callback.accepted_before:
            task.states.append(state or "?")
            task.phase = callback.phase
            if task.complete:
                self._incomplete.discard(task.role.id)

    def percentile(self, share: float) -> float:
        """Return this percentile of the first attempts' latency, in seconds; 0 if there were none."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def missing(self, written: Callable[[Role], Sequence[Move]]) -> list[str]:
        """List what is wrong; `written` returns when the upstream wrote a task's states."""
        wrong = self._named(
            {
                name: f"{', '.join(task.states) or 'nothing'} in place of {', '.join(task.role.states)}"
                for name, task in self.tasks.items()
                if not task.right
            },
            "reported",
        )
        wrong += self._named(
            {name: "" for name, task in self.tasks.items() if _late(task, written(task.role))},
            "`processing` was reported only when the upstream had gone on",
        )
        bad = self.counts["callbacks"] - self.counts["verified"]
        counts = {"not verified": bad, "repeated": self.counts["repeats"], "out of order": self.counts["out of order"]}
        wrong += [f"{count} callbacks {what}" for what, count in counts.items() if count]
        wrong += [f"{count} callbacks {kind}, which belong to no task" for kind, count in self._others.items()]
        if self.refused is None:
            wrong.append("the receiver never came to answer 500")
        elif self.retried is None or self.retried.id != self.refused.id:
            wrong.append("the callback that was answered 500 was not sent again")
        return wrong

    def _named(self, tasks: Mapping[str, str], what: str) -> list[str]:
        lines = [f"{name} ({self.tasks[name].role.kind}): {what} {detail}".strip() for name, detail in tasks.items()]
        return lines[:MOST_NAMED] + ([f"... and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary:
    """The counts of the whole demo."""

    watches: int
    ended: Mapping[str, int]  # by phase
    polled: int  # of the watches
    polls: int
    changes: int  # of state, at the upstreams
    callbacks: int
    verified: int
    duplicates: int
    out_of_order: int
    refused_with: str | None  # the receiver's answer on purpose
    retried_after_seconds: float | None  # until the same was accepted; None: it never was
    latency_p50_ms: float
    latency_p99_ms: float
    seconds: float

    @classmethod
    def of(cls, score: Score, *, changes: int, polls: int, seconds: float) -> DemoSummary:
        """Sum up a score."""
        counts, refused, retried = score.counts, score.refused, score.retried
        return cls(
            watches=len(score.tasks),
            ended=dict(Counter(task.phase or "?" for task in score.tasks.values() if task.complete)),
            polled=sum(task.role.source == "polled" for task in score.tasks.values()),
            polls=polls,
            changes=changes,
            callbacks=counts["callbacks"],
            verified=counts["verified"],
            duplicates=counts["repeats"],
            out_of_order=counts["out of order"],
            refused_with=None if refused is None else refused.answer,
            retried_after_seconds=None if refused is None or retried is None else round(retried.at - refused.at, 3),
            latency_p50_ms=round(score.percentile(0.5) * 1000, 1),
            latency_p99_ms=round(score.percentile(0.99) * 1000, 1),
            seconds=round(seconds, 1),
        )


def _late(task: Progress, moves: Sequence[Move]) -> bool:
    """Return whether the long `processing` was reported only once it was over, as one who waits for the end would."""
    at = next((index for index, move in enumerate(moves) if move.state == "processing"), len(moves))
    return at + 1 < len(moves) and task.first.get("processing", 0.0) > moves[at + 1].at
