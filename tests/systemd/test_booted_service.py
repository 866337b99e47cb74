"""The service under a real systemd: start, reload, credentials, watchdog, stop, crash, refusal, upgrade.

`make test-systemd` runs it, as root on Debian; `make test` does not. The first tests see the package as it was just
installed, and the last one takes it away.
"""

from __future__ import annotations

import json
import re
import time
from itertools import groupby

from machine import PLACE, Machine, until
from service import SECRET, TOKEN, UNIT, Fields, Service

TASKS = [f"task-{n}" for n in range(12)]


def in_order(service: Service, tasks: list[str]) -> dict[str, list[Fields]]:
    """Return what was accepted of each task: its sequence has no gap, begins at 1, and ends with the completion."""
    told = {task: service.told(task) for task in tasks}
    for task, callbacks in told.items():
        assert all(callback["verified"] for callback in callbacks), task
        firsts = [callback["sequence"] for callback in callbacks if not callback["accepted_before"]]
        kept = [sequence for sequence, _ in groupby(firsts)]
        assert kept == list(range(1, len(kept) + 1)), (task, firsts)
        assert callbacks[-1]["phase"] == "succeeded", task
    return told


def repeats(told: dict[str, list[Fields]]) -> list[str]:
    """Return the ids that were accepted more than once."""
    ids = [callback["id"] for callbacks in told.values() for callback in callbacks]
    return sorted({one for one in ids if ids.count(one) > 1})


def test_the_installation_enables_and_starts_nothing(machine: Machine) -> None:
    assert machine.tried("systemctl", "is-enabled", UNIT).stdout == "disabled\n"
    assert machine.tried("systemctl", "is-active", UNIT).stdout == "inactive\n"
    assert machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""
    assert machine.run("dpkg", "--verify", "notifier") == ""
    assert machine.run("notifier", "--version").startswith("notifier ")
    assert machine.run("stat", "--format=%a %U", "/etc/notifier/environment") == "600 root\n"


def test_a_start_returns_when_it_serves(service: Service) -> None:
    """READY=1 comes when the port answers; the status line tells what it does; it runs as its own user, confined."""
    machine = service.machine
    service.follow("endless", *TASKS)
    machine.run("systemctl", "enable", "--now", UNIT)
    assert machine.run("notifier", "status").startswith("ready")
    assert machine.tried("systemctl", "is-enabled", UNIT).stdout == "enabled\n"
    until(lambda: service.show("StatusText").startswith("1 watch"), "a status line with what is still followed")
    assert machine.run("stat", "--format=%U", f"/proc/{service.show('MainPID')}") == "notifier\n"
    assert machine.run("stat", "--format=%a %U", "/var/lib/private/notifier") == "700 notifier\n"
    until(lambda: service.completed(*TASKS), "all completions")
    assert repeats(in_order(service, TASKS)) == []
    machine.run("systemctl", "disable", UNIT)


def test_the_running_unit_is_confined(service: Service) -> None:
    service.start()
    report = service.machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    exposure = re.search(r"exposure level for notifier\.service: (\d+\.\d+)", report)
    assert exposure, report
    assert float(exposure[1]) <= 1.5, report


def test_a_reload_takes_what_is_good_and_refuses_what_is_not(service: Service) -> None:
    machine = service.machine
    service.follow("before")
    service.start()
    pid = service.show("MainPID")
    service.follow("before", "after")
    machine.run("systemctl", "reload", UNIT)
    assert len(json.loads(machine.run("notifier", "watch", "list", "--json"))["items"]) == 2
    machine.write("/etc/notifier/config.yaml", "sources: {vidu: {preset: vidoo, token: t}}\n")
    refused = machine.tried("systemctl", "reload", UNIT)
    assert refused.returncode != 0
    assert "vidoo" in json.dumps(service.events("reload.refused")[0]["problems"])
    assert (service.show("ActiveState"), service.show("MainPID")) == ("active", pid)
    until(lambda: service.completed("before", "after"), "completions after a refused reload")
    service.configure()
    machine.run("systemctl", "reload", UNIT)
    assert service.show("MainPID") == pid


def test_a_credential_reaches_the_upstream(service: Service) -> None:
    """LoadCredential= and {credential: NAME}: the service may read what only root can."""
    service.machine.run("systemctl", "stop", "upstream-*")
    service.begin_upstream("--token", "of-a-credential")
    service.machine.write("/etc/notifier/vidu-token", "of-a-credential\n", "0600")
    service.adjust("LoadCredential=vidu-token:/etc/notifier/vidu-token\n")
    service.configure(token="{credential: vidu-token}")
    service.follow("1")
    service.start()
    until(lambda: service.completed("1"), "a completion from an upstream that wants the credential")


def test_the_watchdog_ends_a_daemon_that_hangs(service: Service) -> None:
    """It is ended with a trace of where it hung, and started again; what it followed goes on."""
    service.adjust("WatchdogSec=5s\n")
    service.follow("1")
    service.start()
    pid = service.show("MainPID")
    service.kill("SIGSTOP")
    service.await_restart(pid)
    assert service.show("NRestarts") == "1"
    said = [entry["MESSAGE"] for entry in service.entries() if isinstance(entry["MESSAGE"], str)]
    assert any("Watchdog timeout" in line for line in said)
    assert any("Fatal Python error: Aborted" in line for line in said)
    until(lambda: service.completed("1"), "a completion after the watchdog's restart")
    in_order(service, ["1"])


def test_a_stop_under_load_finishes_what_is_under_way(service: Service) -> None:
    """Nothing that a slow receiver took comes again, and the rest comes after the next start."""
    service.begin_receiver("slow:2")
    service.follow(*TASKS)
    service.start()
    until(lambda: len(service.callbacks()) >= len(TASKS), "a callback of each task")
    service.stop()
    assert (service.show("Result"), service.show("ExecMainStatus")) == ("success", "0")
    assert len(service.events("daemon.stopped")) == 1
    service.begin_receiver()
    service.start()
    until(lambda: service.completed(*TASKS), "all completions")
    assert repeats(in_order(service, TASKS)) == []


def test_a_crash_loses_nothing(service: Service) -> None:
    """SIGKILL in the middle: systemd starts it again, and every task is told to its end, in order, without a gap."""
    service.follow(*TASKS)
    service.start()
    until(lambda: len(service.callbacks()) >= len(TASKS), "some callbacks")
    pid = service.show("MainPID")
    service.kill("SIGKILL")
    service.await_restart(pid)
    assert service.show("NRestarts") == "1"
    until(lambda: service.completed(*TASKS), "all completions")
    in_order(service, TASKS)


def test_a_refused_configuration_is_not_tried_again(service: Service) -> None:
    """Exit code 78: the unit fails at once, and stays so beyond RestartSec."""
    service.machine.write("/etc/notifier/config.yaml", "sources: {vidu: {preset: vidoo, token: t}}\n")
    began = time.monotonic()
    assert service.machine.tried("systemctl", "start", UNIT).returncode != 0
    assert (service.show("ExecMainStatus"), service.show("ActiveState")) == ("78", "failed")
    rest = service.show("RestartUSec")
    assert rest == "5s"
    until(lambda: time.monotonic() - began > 7, "the time of a restart")
    assert (service.show("NRestarts"), service.show("ActiveState")) == ("0", "failed")
    service.configure()
    service.start()


def test_the_journal_has_one_object_a_line_and_no_secret(service: Service) -> None:
    service.follow("1")
    service.start()
    until(lambda: service.completed("1"), "a completion")
    pid = service.show("MainPID")
    entries = [entry for entry in service.entries() if entry.get("_PID") == pid]
    assert {entry["_SYSTEMD_UNIT"] for entry in entries} == {UNIT}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"notifier"}
    assert {entry["_TRANSPORT"] for entry in entries} == {"stdout"}
    assert all({"level", "event"} <= set(json.loads(entry["MESSAGE"])) for entry in entries)
    everything = service.machine.run("journalctl", "--no-pager", f"--unit={UNIT}", "--output=json")
    assert TOKEN not in everything
    assert SECRET.removeprefix("whsec_") not in everything


def test_an_upgrade_keeps_what_is_there(service: Service) -> None:
    """The daemon is stopped, replaced and started; its configuration, its tasks and its enablement stay."""
    machine = service.machine
    service.follow(*TASKS)
    machine.run("systemctl", "enable", "--now", UNIT)
    until(lambda: service.callbacks(), "a callback")
    pid = service.show("MainPID")
    config = machine.run("cat", "/etc/notifier/config.yaml", "/etc/notifier/environment")
    machine.run("dpkg", "--force-unsafe-io", "--install", f"{PLACE}/2.deb")
    assert machine.run("dpkg-query", "--show", "--showformat=${Version}", "notifier").endswith("-2")
    assert machine.run("cat", "/etc/notifier/config.yaml", "/etc/notifier/environment") == config
    assert service.show("ActiveState") == "active"
    assert service.show("MainPID") not in ("0", pid)
    assert machine.tried("systemctl", "is-enabled", UNIT).stdout == "enabled\n"
    until(lambda: service.completed(*TASKS), "all completions")
    assert repeats(in_order(service, TASKS)) == []


def test_an_upgrade_goes_through_though_the_daemon_does_not_start(service: Service) -> None:
    """The package is installed, and says where to look; the daemon is the operator's to start."""
    service.start()
    service.machine.write("/etc/notifier/config.yaml", "sources: {vidu: {preset: vidoo, token: t}}\n")
    done = service.machine.tried("dpkg", "--force-unsafe-io", "--install", f"{PLACE}/2.deb")
    assert done.returncode == 0
    assert "it does not start as it is" in done.stderr
    assert (service.show("ActiveState"), service.show("ExecMainStatus")) == ("failed", "78")


def test_a_removal_keeps_the_database_and_a_purge_takes_the_secrets(service: Service) -> None:
    machine = service.machine
    machine.run("systemctl", "enable", "--now", UNIT)
    machine.run("dpkg", "--remove", "notifier")
    assert machine.tried("systemctl", "is-active", UNIT).stdout == "inactive\n"
    assert machine.run("find", "/etc/systemd/system", "-name", "notifier*") == ""
    assert machine.run("find", "/etc/notifier", "-type", "f").split()
    machine.run("dpkg", "--purge", "notifier")
    assert machine.tried("ls", "/etc/notifier/environment").returncode != 0
    assert machine.run("find", "/var/lib/private/notifier", "-name", "notifier.db").split()
