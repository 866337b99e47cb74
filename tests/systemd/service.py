"""The service in the booted machine: its configuration, its neighbours, and what they saw."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from machine import Machine, until

UNIT = "notifier.service"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the example of the Standard Webhooks specification
TOKEN = "a-token-that-nobody-may-read"
CONFIG = """\
sources:
  vidu:
    preset: vidu
    base_url: http://127.0.0.1:8781
    token: {token}
    backoff: {{initial: 50ms, max: 500ms}}
endpoints:
  app:
    type: webhook
    url: http://127.0.0.1:8782/hooks
    secrets: ${{APP_WEBHOOK_SECRET}}
    retry_schedule: {schedule}
watch_files: ["watches.d/*.yaml"]
"""
SCHEDULE = json.dumps(["0s", *["200ms"] * 100])
UPSTREAM = ("simulate", "--every", "300ms", "--transcript", "queueing*3,processing*6,success")
ENDLESS = ("--task", "endless=queueing,processing*10000")

NUMBERS = count(1)  # of the units beside it: the journal keeps what those of earlier tests said
PORTS = {"upstream": 8781, "receiver": 8782}

Fields = dict[str, Any]


class Service:
    """The installed service, configured for a simulated upstream and a receiver beside it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._receivers: list[str] = []
        self._cursor = self._last_entry()

    def _last_entry(self) -> str:
        (last,) = self.machine.run("journalctl", "--lines=1", "--output=json", "--no-pager").splitlines()
        return str(json.loads(last)["__CURSOR"])

    # -- files

    def configure(self, text: str | None = None, *, token: str = "${VIDU_TOKEN}") -> None:
        """Write the configuration and its variables."""
        self.machine.write("/etc/notifier/config.yaml", text or CONFIG.format(token=token, schedule=SCHEDULE))
        self.machine.write("/etc/notifier/environment", f"VIDU_TOKEN={TOKEN}\nAPP_WEBHOOK_SECRET={SECRET}\n", "0600")

    def follow(self, *tasks: str) -> None:
        """Write the file of watches."""
        self.machine.write("/etc/notifier/watches.d/tasks.yaml", json.dumps(tasks) + "\n")

    def adjust(self, text: str) -> None:
        """Add settings to the unit, as `systemctl edit` does."""
        self.machine.write(f"/etc/systemd/system/{UNIT}.d/test.conf", f"[Service]\n{text}")
        self.machine.run("systemctl", "daemon-reload")

    # -- neighbours

    def _begin(self, kind: str, *arguments: str) -> str:
        unit = f"{kind}-{next(NUMBERS)}.service"
        self.machine.run("systemd-run", "--quiet", f"--unit={unit}", "/usr/bin/notifier", *arguments)

        def listens() -> bool:
            assert self.machine.show(unit, "ActiveState") == "active", self.machine.journal(unit)
            connecting = f"exec 3<>/dev/tcp/127.0.0.1/{PORTS[kind]}"
            return self.machine.tried("bash", "-c", connecting).returncode == 0

        until(listens, f"a {kind} that listens")
        return unit

    def begin_upstream(self, *arguments: str) -> None:
        """Start the upstream."""
        self._begin("upstream", *UPSTREAM, *ENDLESS, *arguments)

    def begin_receiver(self, respond: str = "200") -> None:
        """Start a receiver, in the place of the one before."""
        self.end_receiver()
        self._receivers.append(self._begin("receiver", "listen", "--json", "-s", SECRET, "--respond", respond))

    def end_receiver(self) -> None:
        """Stop the receiver; what it saw is kept."""
        if self._receivers:
            self.machine.run("systemctl", "stop", self._receivers[-1])

    def callbacks(self) -> list[Fields]:
        """Return what all receivers got, in the order of its arrival."""
        entries = [entry for unit in self._receivers for entry in self.machine.journal(unit)]
        lines = [entry["MESSAGE"] for entry in entries if isinstance(entry["MESSAGE"], str)]
        return [json.loads(line) for line in lines if line.startswith('{"number"')]

    def told(self, task: str) -> list[Fields]:
        """Return the accepted callbacks of a task."""
        return [one for one in self.callbacks() if one["watch"] == task and one["answer"] == "200"]

    def completed(self, *tasks: str) -> bool:
        """Return whether the completion of each task was accepted."""
        done = {one["watch"] for one in self.callbacks() if one["phase"] == "succeeded" and one["answer"] == "200"}
        return set(tasks) <= done

    # -- the service

    def start(self) -> None:
        """Start it; returns when it is ready."""
        self.machine.run("systemctl", "start", UNIT)

    def stop(self) -> None:
        """Stop it; returns when it has ended."""
        self.machine.run("systemctl", "stop", UNIT)

    def kill(self, signal: str) -> None:
        """Send a signal to its main process."""
        self.machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={signal}", UNIT)

    def show(self, name: str) -> str:
        """Return a property of its unit."""
        return self.machine.show(UNIT, name)

    def entries(self) -> list[Fields]:
        """Return the journal's entries of this test."""
        return self.machine.journal(UNIT, f"--after-cursor={self._cursor}")

    def events(self, name: str) -> list[Fields]:
        """Return the events of a name that the daemon has logged in this test."""
        messages = [entry["MESSAGE"] for entry in self.entries()]
        told = [json.loads(text) for text in messages if isinstance(text, str) and text.startswith('{"')]
        return [event for event in told if event.get("event") == name]

    def await_restart(self, before: str) -> None:
        """Return when another main process is ready."""

        def again() -> bool:
            return self.show("MainPID") not in ("0", before) and self.show("ActiveState") == "active"

        until(again, "a restart by systemd")

    def clear(self) -> None:
        """Stop everything, and forget what was written."""
        units = ["notifier*.service", "upstream-*", "receiver-*"]  # of patterns those count that there are
        self.machine.run("systemctl", "stop", *units)
        self.machine.run("systemctl", "reset-failed", *units)
        paths = ("/var/lib/private/notifier", "/var/lib/notifier", f"/etc/systemd/system/{UNIT}.d")
        self.machine.run("rm", "-rf", *paths, "/etc/notifier/watches.d/tasks.yaml")
        self.machine.run("systemctl", "daemon-reload")
