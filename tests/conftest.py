"""What tests share: logging starts afresh, a database on request, and no skipped test in continuous integration."""

from __future__ import annotations

import functools
import gc
import os
import platform
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helper_programs import command, missing
from run_order import spread

if TYPE_CHECKING:
    from coverage import Coverage

# A shell that starts the tests in the background has them ignore SIGINT, and so would every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
CI = os.environ.get("CI", "").lower() in ("1", "true")
UNMEASURED = ("slow", "unmeasured")  # markers
gc.disable()  # until all is collected: nothing of that is garbage, but each look at it takes longer than the one before


def pytest_configure() -> None:
    """Refuse to test the program of another checkout, to which an environment that several share may lead."""
    here, spec = Path(__file__).resolve().parents[1], find_spec("notifier")
    found = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    if found != here:
        raise pytest.UsageError(f"the tests are in {here}, the program in {found}; try PYTHONPATH={here}")


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Undo a test's configuration of the loggers, which are module-wide and outlive it."""
    yield
    if logs := sys.modules.get("notifier.runtime.logs"):
        logs.reset()


@pytest.fixture(autouse=True)
def _told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test pass because a later comparison repairs a change that should have been announced at once."""
    if watcher := sys.modules.get("notifier.follow.watcher"):
        monkeypatch.setattr(watcher, "COMPARE", 3600.0)


@pytest.fixture(autouse=True)
def _unmeasured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Measure neither such a test nor the programs that it starts: others show which of their lines are reached."""
    if not any(request.node.get_closest_marker(name) for name in UNMEASURED):
        yield
        return
    stopped: list[Coverage] = []
    if "coverage" in sys.modules:
        from coverage import Coverage

        # A process of a parallel run is measured twice: by pytest-cov, and below it as a program that was started.
        while (measuring := Coverage.current()) is not None:
            measuring.stop()
            stopped.append(measuring)
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    yield
    for measuring in reversed(stopped):
        measuring.start()


@pytest.fixture
def shared_url() -> Iterator[str]:
    """Return the URL of a PostgreSQL database of the test's own, with tables."""
    import databases  # here, as few tests need it and all have this file

    with databases.database() as url:
        yield url


@pytest.fixture
def brief_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store be away as soon as another holds the lock of its SQLite file, and not five seconds later."""
    monkeypatch.setattr("notifier.store.sqlite.BUSY_TIMEOUT", 50)


@functools.cache
def _patient_hypothesis() -> None:
    """Let no property fail because its example took long, as it may on a busy machine."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")


def pytest_pycollect_makemodule(module_path: Path) -> None:
    """Set hypothesis up before the first module that uses it: other runs do without, as it takes a second to load."""
    if "hypothesis" in module_path.read_text(encoding="utf-8"):
        _patient_hypothesis()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the long ones where several processes share them."""
    if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        items[:] = spread(items, int(processes), lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the tests themselves from being looked at in every collection of garbage."""
    gc.freeze()
    gc.enable()


def pytest_report_header() -> str:
    """Return a line on what this machine offers, so that a log of the run tells why a test was skipped."""
    absent = ", ".join(missing()) or "none"
    return f"missing programs: {absent}; {platform.python_implementation()} on {platform.machine()}, CI={CI}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the skipped tests where continuous integration refuses them."""
    if CI and _skipped(terminalreporter):
        terminalreporter.section("FAILED: tests were skipped, which CI=true forbids", red=True)
        for report in _skipped(terminalreporter):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.write_line(f"{report.nodeid}: {reason}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail the run in continuous integration if a test was skipped; elsewhere end with how to run the skipped ones."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = _skipped(reporter) if reporter is not None else []
    if CI and session.exitstatus == pytest.ExitCode.OK and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield
    if not CI and skipped:
        assert reporter is not None
        absent = missing()
        remedy = f"{', '.join(absent)} missing; as root: {command(absent)}" if absent else "pytest -rs lists why"
        reporter.write_line(f"{len(skipped)} tests were skipped: {remedy}")


def _skipped(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    """Return the skipped tests; a test that is expected to fail (xfail) is none of them."""
    return [report for report in reporter.stats.get("skipped", []) if not hasattr(report, "wasxfail")]
