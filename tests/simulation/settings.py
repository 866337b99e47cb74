"""The configuration of a run's daemon, written anew at each reload: what operators change between two of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulation.receiver import SECRET

SCHEDULE = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, *(30.0,) * 14)  # seconds; ends later than any storm
STREAMED, POLLED = "vidu", "jobs"
STATES = {
    "queued": ["created", "queueing", "preparation"],
    "running": ["processing"],
    "succeeded": ["success"],
    "failed": ["failed"],
    "canceled": ["canceled"],
}


@dataclass(slots=True, kw_only=True)
class Settings:
    """What the file says."""

    tasks: dict[str, str] = field(default_factory=dict)  # listed in the file: task to source
    timeouts: dict[str, float] = field(default_factory=lambda: {"app": 10.0, "latest": 10.0, "extra": 10.0})
    in_flight: int = 32
    max_streams: int = 2000
    interval: float = 3.0  # seconds between two polls
    longest: float = 10.0  # seconds between two polls, at most
    extra: bool = True  # there is a third endpoint
    schedule: tuple[float, ...] = SCHEDULE
    retention: str = "3650d"

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(self._document(path)), encoding="utf-8")

    def _document(self, path: Path) -> dict[str, Any]:
        return {
            "sources": {STREAMED: self._streamed(), POLLED: self._polled()},
            "endpoints": {
                "app": self._endpoint("app") | {"max_in_flight": self.in_flight},
                "latest": self._endpoint("latest") | {"ordering": "latest"},
            }
            | ({"extra": self._endpoint("extra")} if self.extra else {}),
            "watches": [{"id": task, "source": source} for task, source in self.tasks.items()],
            "callbacks": {"secret": SECRET, "allow_http": True, "allow_networks": ["10.0.0.0/8"]},
            "store": {"url": f"sqlite:///{path.with_name('n.db')}", "retention": self.retention},
            "http": {"listen": None},
            "node": {"name": "simulated"},
            "log": {"level": "debug"},
        }

    def _source(self, name: str) -> dict[str, Any]:
        return {
            "base_url": f"http://{name}.example",
            "token": "tok",
            "connect_timeout": "5s",
            "idle_timeout": "40s",
            "backoff": {"initial": "1s", "max": "10s"},
        }

    def _streamed(self) -> dict[str, Any]:
        return self._source(STREAMED) | {"preset": "vidu", "default": True, "max_streams": self.max_streams}

    def _polled(self) -> dict[str, Any]:
        return self._source(POLLED) | {
            "transport": "poll",
            "url": "{base_url}/tasks/{id}",
            "poll": {"interval": f"{self.interval}s", "max_interval": f"{self.longest}s"},
            "paths": {"state": "state", "task_id": "id"},
            "states": STATES,
        }

    def _endpoint(self, name: str) -> dict[str, Any]:
        return {
            "type": "webhook",
            "url": f"http://{name}.example/hook",
            "secrets": [SECRET],
            "events": ["task.*", "watch.lost"],
            "timeout": f"{self.timeouts[name]}s",
            "retry_schedule": [f"{seconds}s" for seconds in self.schedule],
        }
