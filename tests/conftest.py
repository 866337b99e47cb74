"""What tests share: logging starts afresh, a database on request, and no skipped test in continuous integration."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator

import databases
import pytest

from notifier.follow import watcher
from notifier.runtime import logs

# Programs of the system that some tests run.
HELPERS = (
    "openssl",
    "node",
    "go",
    "systemd-analyze",
    "chromium",
    "promtool",
    "redis-server",
    "nats-server",
    "faketime",
)
CI = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Undo what a test configured: loggers are module-wide and outlive it."""
    yield
    logs.reset()


@pytest.fixture(autouse=True)
def _told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test pass for a comparison that sets right, in the end, what ought to have been told at once."""
    monkeypatch.setattr(watcher, "COMPARE", 3600.0)


@pytest.fixture(autouse=True)
def _unmeasured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs that a slow test starts run at their own pace: other tests show what of them is reached."""
    if request.node.get_closest_marker("slow"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def shared_url() -> Iterator[str]:
    """Name a PostgreSQL database of nobody else's, with tables."""
    with databases.database() as made:
        yield made


def pytest_report_header() -> str:
    """Say which helpers are there, so that a log of the run tells why a test was skipped."""
    found = [f"{name}={'yes' if shutil.which(name) else 'NO'}" for name in HELPERS]
    return f"helpers: {' '.join(found)}, {platform.python_implementation()} on {platform.machine()}, CI={CI}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what continuous integration does not accept."""
    if CI and _skipped(terminalreporter):
        terminalreporter.section("FAILED: tests were skipped, which CI=true forbids", red=True)
        for report in _skipped(terminalreporter):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.write_line(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a test was skipped; what is expected to fail (xfail) is not a skip."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if CI and reporter is not None and session.exitstatus == pytest.ExitCode.OK and _skipped(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skipped(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    return [report for report in reporter.stats.get("skipped", []) if not hasattr(report, "wasxfail")]
