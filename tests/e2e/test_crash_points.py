"""SIGKILL at every named point of a daemon that has its database to itself, one after another: nothing is lost.

The points are those of crash_points.py. Each life of the daemon is killed at one of them; the next begins where it
left off, and is killed at the next. A point that is never reached fails the test.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_points import KILL_AT, PASSED
from crash_scene import Life, finish, scene
from daemon_process import Start
from judge.order import causes
from waits import measured_lag

STEPS = (
    *("join", "add watches", "remove other watches", "begin watches", "pull deliveries", "claim watches"),
    *("claim deliveries", "commit", "settle", "announce", "remove a watch", "take callbacks", "keep a message"),
    *("mute", "unmute", "change an endpoint", "hasten", "retry the dead", "probe"),
    *("prune events", "prune watches", "prune the rest"),
)
ALONE = (
    *(f"{step}: {moment}" for step in STEPS for moment in ("saved", "committed")),
    *("send: before", "send: written", "send: after", "send to a callback: before", "send to a callback: after"),
    *(f"reload: {moment}" for moment in ("read", "prepared", "installed", "applied", "after")),
    *(f"stop: {moment}" for moment in ("before", "drained", "after")),
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_nothing_is_lost_wherever_it_is_killed(
    daemons: Start,
    tmp_path: Path,
    kind: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """What was acknowledged is followed, and the judge has nothing to say of the rest."""
    url = request.getfixturevalue("shared_url") if kind == "postgresql" else f"sqlite:///{tmp_path / 'n.db'}"
    passed = tmp_path / "passed"
    async with scene(url) as around, measured_lag() as lag:
        daemon = daemons(around.settings())
        daemon.env[PASSED] = str(passed)
        for number, point in enumerate(ALONE):
            daemon.env[KILL_AT] = point
            code = await Life(daemon, around, number).live()
            assert code == -signal.SIGKILL, f"{point} was never reached"
        del daemon.env[KILL_AT]
        case = await finish(Life(daemon, around, len(ALONE)), lag)
        unnamed = [line for line in passed.read_text().splitlines() if line.startswith("unnamed")]
        assert not unnamed, "a transaction without a name in crash_points.OPERATIONS"
        told = f"{len(ALONE)} points, {len(case.events)} events, repeats by {causes(case)}"
        record_property("crash points", told)
        print(told)
