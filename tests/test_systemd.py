"""The service units: valid, tightly confined, and in step with what the daemon promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helper_programs import require

from notifier.config.document import interpolate

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNIT = SYSTEMD / "notifier.service"
NODES = SYSTEMD / "notifier@.service"  # a template: several nodes on one machine
TARGET = SYSTEMD / "notifier.target"
PROGRAM = "/opt/notifier/bin/notifier"
SPECIFIERS = {"%i": "2", "%H": "web3"}  # systemd.unit(5)


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        [require("systemd-analyze"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def settings(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def setting(unit: Path, name: str) -> str:
    found = settings(unit, name)
    assert len(found) == 1, f"{name} stands {len(found)} times in the unit"
    return found[0]


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


either = pytest.mark.parametrize("unit", [UNIT, NODES], ids=lambda path: path.name)


@pytest.mark.parametrize("unit", [UNIT, NODES, TARGET], ids=lambda path: path.name)
def test_systemd_finds_nothing_to_say_about_the_unit(unit: Path, tmp_path: Path) -> None:
    """Every key is known and every value valid; the program must exist, so an existing one stands in."""
    (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, sys.executable))
    assert analyze("verify", "--man=no", tmp_path / unit.name) == ""


@either
def test_systemd_finds_the_unit_confined(unit: Path) -> None:
    report = analyze("security", "--offline=yes", "--no-pager", unit)
    exposure = re.search(r"exposure level for notifier(?:@\w+)?\.service: (\d+\.\d+)", report)
    assert exposure, report
    assert float(exposure[1]) <= 1.5, report


@either
def test_the_same_program_runs_and_reloads(unit: Path) -> None:
    assert setting(unit, "ExecStart") == f"{PROGRAM} run -c /etc/notifier/config.yaml"
    assert setting(unit, "ExecReload") == f"{PROGRAM} reload -c /etc/notifier/config.yaml"


@either
def test_a_refused_configuration_is_not_tried_again(unit: Path) -> None:
    """The program exits with 78 then (EX_CONFIG, sysexits.h)."""
    assert setting(unit, "Restart") == "on-failure"
    assert setting(unit, "RestartPreventExitStatus") == "78"


@either
def test_systemd_waits_longer_than_the_daemon_drains(unit: Path) -> None:
    """`shutdown_timeout` is 30 s by default; a kill before it ends would repeat deliveries."""
    assert seconds(setting(unit, "TimeoutStopSec")) >= 30 + 10


@either
def test_the_main_process_reports_and_is_watched(unit: Path) -> None:
    assert setting(unit, "Type") == "notify"
    assert setting(unit, "NotifyAccess") == "main"
    assert seconds(setting(unit, "WatchdogSec")) == 30


def test_the_default_database_lies_in_the_state_directory() -> None:
    """`store.url` is sqlite:///./notifier.db by default: beside where the program runs."""
    assert setting(UNIT, "StateDirectory") == "notifier"
    assert setting(UNIT, "WorkingDirectory") == "%S/notifier"


def test_a_node_has_no_place_for_a_database_of_its_own() -> None:
    """With SQLite each would follow every task by itself; the configuration's directory is read-only to it."""
    assert settings(NODES, "StateDirectory") == []
    assert setting(NODES, "WorkingDirectory") == "%E/notifier"
    assert setting(NODES, "ProtectSystem") == "strict"


def test_a_node_is_confined_as_the_single_service_is() -> None:
    """All that follows "What it may use" stands in both alike."""
    confined = [unit.read_text().partition("# What it may use")[2].partition("[Install]")[0] for unit in (UNIT, NODES)]
    assert "NoNewPrivileges=yes" in confined[0]
    assert confined[0] == confined[1]


def environment_of(unit: Path) -> dict[str, str]:
    """Return what the unit sets, its specifiers filled in."""
    assignments = " ".join(settings(unit, "Environment"))
    assignments += f" RUNTIME_DIRECTORY=/run/{setting(unit, 'RuntimeDirectory')}"  # systemd.exec(5)
    for specifier, value in SPECIFIERS.items():
        assignments = assignments.replace(specifier, value)
    return dict(assignment.split("=", 1) for assignment in assignments.split())


def test_one_configuration_serves_every_node() -> None:
    """The lines that the unit's head recommends, with the environment that the unit sets."""
    env = environment_of(NODES)
    lines = re.findall(r'^#   ((?:node|http): \{\w+: ".*?"\})', NODES.read_text(), re.MULTILINE)
    configs = [yaml.safe_load(line) for line in lines]
    node, port, path = (next(iter(section.values())) for config in configs for section in config.values())
    assert interpolate(node, env) == "web3-2"
    assert interpolate(port, env) == "127.0.0.1:8782"
    assert interpolate(port, {}) == "127.0.0.1:8780"  # notifier.service, on its own
    assert interpolate(path, env) == "unix:/run/notifier/2/http.sock"


@pytest.mark.parametrize("listen", ["127.0.0.1:878${NODE:-0}", "unix:${RUNTIME_DIRECTORY}/http.sock"])
def test_check_takes_what_the_unit_recommends(listen: str, tmp_path: Path) -> None:
    """The whole way through the command, as the unit would start it."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "sources: {s: {preset: vidu}}\n"
        "store: {url: 'postgresql://notifier@/notifier?host=/run/postgresql'}\n"
        f'node: {{name: "${{NODE_NAME}}"}}\nhttp: {{listen: "{listen}"}}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "notifier", "check", "-c", config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment_of(NODES),
    )
    assert done.returncode == 0, done.stderr
    assert f"http: {interpolate(listen, environment_of(NODES))}," in done.stdout


def test_the_target_starts_and_stops_every_node() -> None:
    """An enabled instance is wanted by the target, and stopped with it."""
    assert setting(NODES, "WantedBy") == setting(NODES, "PartOf") == TARGET.name
