"""The order of the tests when several processes share them: each process begins with its part of the long ones.

pytest-xdist (`--dist worksteal`) cuts the list into one stretch for each process; one that is done takes over half of
another's rest. The long tests of a file stand together: one process would come to all of them, and late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(tests: Sequence[T], processes: int, is_long: Callable[[T], bool]) -> list[T]:
    """Return the tests in an order in which every one of equal stretches begins with as many long ones."""
    long = [test for test in tests if is_long(test)]
    short = [test for test in tests if not is_long(test)]
    ordered: list[T] = []
    for number in range(processes):
        first = long[number::processes]
        length = (len(tests) - len(ordered)) // (processes - number)
        rest = max(0, length - len(first)) if number < processes - 1 else len(short)
        ordered += [*first, *short[:rest]]
        del short[:rest]
    return ordered
