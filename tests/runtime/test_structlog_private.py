"""structlog's loggers have the inside that is relied upon; a new version that changes it fails here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import CapturingLogger

from notifier.runtime import structlog_private
from notifier.runtime.structlog_private import LevelLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


@pytest.fixture(autouse=True)
def _every_level() -> Iterator[None]:
    yield
    structlog_private.set_level(0)


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_a_logger_in_use_follows_a_new_level(level: int) -> None:
    """Calls below the level are dropped, calls at and above it are logged, also by a logger bound before."""
    target = CapturingLogger()
    structlog_private.set_level(0)
    before = structlog.wrap_logger(target, processors=[], wrapper_class=LevelLogger).bind(watch="vidu/7")
    structlog_private.set_level(level)
    for name in LEVELS:
        getattr(before, name)("event")
    assert [call.method_name for call in target.calls] == [name for name, number in LEVELS.items() if number >= level]


def test_the_logger_has_no_level_of_its_own() -> None:
    """Only its methods know the level: nothing else would have to be replaced."""
    low, high = (vars(structlog.make_filtering_bound_logger(level)) for level in (0, 50))
    differing = {name for name in {*low, *high} if low.get(name) is not high.get(name)}
    assert {name for name in differing if not name.startswith("__")} >= {"debug", "info", "warning", "error"}
    assert {name for name in differing if name.startswith("__")} <= {"__doc__", "__module__", "__dict__", "__weakref__"}


@pytest.mark.parametrize(("before", "kept"), [("", "False"), ("import greenlet, rich; ", "True")])
def test_structlog_has_neither_rich_nor_greenlet(before: str, kept: str) -> None:
    """Whether they are loaded by others, before or later, is not touched."""
    program = (
        f"{before}import sys\n"
        "from notifier.runtime.structlog_private import structlog\n"
        "print('pygments' in sys.modules, structlog.dev.rich, 'rich' in sys.modules, 'greenlet' in sys.modules)\n"
        "import greenlet, rich\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "None", kept, kept]
