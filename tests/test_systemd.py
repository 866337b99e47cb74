"""The service unit: valid, tightly confined, and in step with what the daemon promises."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "systemd" / "notifier.service"
PROGRAM = "/opt/notifier/bin/notifier"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def setting(name: str) -> str:
    found = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert len(found) == 1, f"{name} stands {len(found)} times in the unit"
    return str(found[0])


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


@needs_systemd
def test_systemd_finds_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    """Every key is known and every value valid; the program must exist, so an existing one stands in."""
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace(PROGRAM, sys.executable))
    assert analyze("verify", "--man=no", tmp_path / UNIT.name) == ""


@needs_systemd
def test_systemd_finds_the_unit_confined() -> None:
    report = analyze("security", "--offline=yes", "--no-pager", UNIT)
    exposure = re.search(r"exposure level for notifier\.service: (\d+\.\d+)", report)
    assert exposure, report
    assert float(exposure[1]) <= 1.5, report


def test_the_same_program_runs_and_reloads() -> None:
    assert setting("ExecStart") == f"{PROGRAM} run -c /etc/notifier/config.yaml"
    assert setting("ExecReload") == f"{PROGRAM} reload -c /etc/notifier/config.yaml"


def test_a_refused_configuration_is_not_tried_again() -> None:
    """The program exits with 78 then (EX_CONFIG, sysexits.h)."""
    assert setting("Restart") == "on-failure"
    assert setting("RestartPreventExitStatus") == "78"


def test_systemd_waits_longer_than_the_daemon_drains() -> None:
    """`shutdown_timeout` is 30 s by default; a kill before it ends would repeat deliveries."""
    assert seconds(setting("TimeoutStopSec")) >= 30 + 10


def test_the_main_process_reports_and_is_watched() -> None:
    assert setting("Type") == "notify"
    assert setting("NotifyAccess") == "main"
    assert seconds(setting("WatchdogSec")) == 30


def test_the_default_database_lies_in_the_state_directory() -> None:
    """`store.url` is sqlite:///./notifier.db by default: beside where the program runs."""
    assert setting("StateDirectory") == "notifier"
    assert setting("WorkingDirectory") == "%S/notifier"
