"""The known tasks, and the faults of each connection.

Both depend on the task's id. A rule counts a task's connections from when the rule was added.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from random import Random

from notifier.tools.faults import Fault, FaultPlan, plan_of
from notifier.tools.simulated import SimulatedTask


class Known:
    """The ids that the upstream knows: all except those that begin with `unknown`, or only the listed globs."""

    def __init__(self, globs: Iterable[str] | None) -> None:
        listed = None if globs is None else frozenset(globs)
        self._exact = listed  # looking up one of thousands of plain ids costs no more than one
        self._globs = tuple(glob for glob in listed or () if set(glob) & set("*?["))

    def __contains__(self, id_: str) -> bool:
        if id_.startswith("unknown"):
            return False
        return self._exact is None or id_ in self._exact or any(fnmatchcase(id_, glob) for glob in self._globs)


class Rules:
    """Faults in the order in which they were added."""

    def __init__(self, faults: Iterable[tuple[str, Fault]], random: Random) -> None:
        self._rules = dict(enumerate(faults))
        self._next = len(self._rules)  # never used twice: tasks count by it
        self._random = random

    def add(self, glob: str, fault: Fault) -> None:
        """Add a rule for tasks whose id matches."""
        self._rules[self._next] = (glob, fault)
        self._next += 1

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def plan(self, task: SimulatedTask) -> FaultPlan:
        """Count a connection of the task, and return its faults."""
        struck: list[Fault] = []
        for number, (glob, fault) in self._rules.items():
            if fnmatchcase(task.id, glob):
                count = task.struck[number] = task.struck.get(number, 0) + 1
                if fault.strikes(count, self._random.random()):
                    struck.append(fault)
        return plan_of(struck)
