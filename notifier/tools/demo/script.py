"""The script of the demo: its tasks, its faults, and the daemon's configuration. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from notifier.tools.faults import Fault, parse_fault
from notifier.tools.transcript import Framing, Transcript, documented, parse_spec, state_of

SourceName = Literal["documented", "spec"]
FRAMING: dict[SourceName, Framing] = {"documented": "line", "spec": "event"}

TOKEN = "demo-token"
WORSE_ENDINGS = {5: "queueing*3,processing*14,failed:CreditInsufficient", 6: "queueing*9,canceled"}
INTERVAL = 0.2  # seconds between snapshots: the 32 documented ones take a little over six
SNAPSHOTS = 4000  # a second, of all tasks; more would keep one process busy with the upstreams alone
STARTS = 150  # tasks begun in a second, each of which makes two callbacks soon


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One task and its course."""

    id: str
    source: SourceName
    transcript: Transcript

    @property
    def framing(self) -> Framing:
        """Return how its snapshots are put on the wire."""
        return FRAMING[self.source]

    @property
    def states(self) -> tuple[str, ...]:
        """Return the states that a callback is due for, in order."""
        return tuple(state for state, _ in groupby(map(state_of, self.transcript.snapshots)))


def cast(tasks: int) -> tuple[Role, ...]:
    """Create the roles, alternating between the sources; all but two follow the documented transcript."""
    width = max(2, len(str(tasks)))
    return tuple(
        Role(
            id=f"clip-{number:0{width}}",
            source="documented" if number % 2 else "spec",
            transcript=parse_spec(WORSE_ENDINGS[number]) if number in WORSE_ENDINGS else documented(),
        )
        for number in range(1, tasks + 1)
    )


def interval(tasks: int) -> float:
    """Return the seconds between the snapshots of a task, which are more for many tasks."""
    return max(INTERVAL, tasks / SNAPSHOTS)


def ramp(tasks: int) -> float:
    """Return the seconds over which the tasks are begun."""
    return max(1.0, tasks / STARTS)


def stream_fault(roles: tuple[Role, ...]) -> tuple[str, Fault]:
    """Return whose stream is reset, in the middle of `processing`, and how."""
    return roles[0].id, parse_fault("reset@10x1")


def receiver_script(roles: tuple[Role, ...]) -> str:
    """Return how the receiver answers: 500 to one callback, once most tasks have reported their first state."""
    return f"200x{len(roles)},500,200"


def configuration(
    roles: tuple[Role, ...], *, upstreams: dict[SourceName, str], receiver: str, secret: str, directory: Path
) -> str:
    """Write the daemon's configuration; the watches come last, so that a line appended is one more."""
    rate = max(1.0, len(roles) / 2 / ramp(len(roles)))
    lines = ["sources:"]
    for name, url in upstreams.items():
        lines += [
            f"  {name}:",
            "    preset: vidu",
            f"    base_url: {url}",
            f"    token: {TOKEN}",
            f"    framing: {FRAMING[name]}",
            f"    max_streams: {max(len(roles), 100)}",
            f"    connect_rate: {rate:g}",
            "    backoff: {initial: 500ms, max: 2s}",
        ]
    lines += [
        "endpoints:",
        "  receiver:",
        "    type: webhook",
        f"    url: {receiver}",
        f'    secrets: ["{secret}"]',
        "    retry_schedule: [0s, 1s, 2s, 4s]",
        f"store: {{url: {json.dumps(f'sqlite:///{directory}/notifier.db')}}}",
        'http: {listen: "127.0.0.1:0"}',
        "log: {format: json}",
        "shutdown_timeout: 3s",
        "watches:",
        *(f'  - {{id: "{role.id}", source: {role.source}}}' for role in roles),
    ]
    return "\n".join(lines) + "\n"
