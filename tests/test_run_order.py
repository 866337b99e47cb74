"""The order in which several processes run the tests."""

from __future__ import annotations

import pytest
from run_order import spread


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
@pytest.mark.parametrize("count", [0, 1, 5, 100, 101])
def test_every_stretch_begins_with_its_part_of_the_long_ones(count: int, processes: int) -> None:
    """No test is left out or comes twice, and the short ones stay in their order."""
    tests = list(range(count))
    long = set(tests[count // 2 : count // 2 + 12])
    found = spread(tests, processes, long.__contains__)
    assert sorted(found) == tests
    assert [test for test in found if test not in long] == [test for test in tests if test not in long]
    begin = 0
    for number in range(processes):  # as worksteal cuts them
        length = (count - begin) // (processes - number)
        part = found[begin : begin + length]
        begin += length
        if count >= 100:
            mine = [test for test in part if test in long]
            assert part[: len(mine)] == mine
            assert len(mine) == len(long) // processes
