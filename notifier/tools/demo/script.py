"""The script of the demo: its tasks, its faults, and the daemon's configuration. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Literal

from notifier.sources import preset as presets
from notifier.tools.faults import Fault, parse_fault
from notifier.tools.preset_speech import PresetSpeech, speech_of
from notifier.tools.transcript import TERMINAL_STATES, Framing, Transcript, documented, parse_spec, state_of

SourceName = Literal["documented", "spec", "polled"]
SOURCES: tuple[SourceName, ...] = ("documented", "spec", "polled")  # the tasks are divided among them in turns
FRAMING: dict[SourceName, Framing] = {"documented": "line", "spec": "event"}  # of the streams
PRESET = "runway"  # of the polled provider

TOKEN = "demo-token"
WORSE_ENDINGS = {5: "queueing*3,processing*14,failed:CreditInsufficient", 6: "PENDING*10,RUNNING*6,CANCELLED"}
POLLED = "PENDING*10,RUNNING*21,SUCCEEDED"  # long enough for each state to be polled
ENDED = TERMINAL_STATES | {"SUCCEEDED", "CANCELLED"}  # the states after which nothing comes
POLL_EVERY = 0.25  # seconds
POLLS = 400  # a second, of all tasks; more would keep one process busy with the polls alone
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
    def kind(self) -> str:
        """Return how its states are learned: by a stream's `line` or `event`, or by a `poll`."""
        return FRAMING.get(self.source, "poll")

    @property
    def states(self) -> tuple[str, ...]:
        """Return the states that a callback is due for, in order."""
        return tuple(state for state, _ in groupby(map(state_of, self.transcript.snapshots)))


@cache
def provider() -> PresetSpeech:
    """Return the protocol of the polled provider."""
    return speech_of(PRESET, presets.load(PRESET))


def cast(tasks: int) -> tuple[Role, ...]:
    """Create the roles, in turns at each source; all but two go through their source's usual snapshots."""
    width = max(2, len(str(tasks)))
    return tuple(_role(number, f"clip-{number:0{width}}") for number in range(1, tasks + 1))


def _role(number: int, id_: str) -> Role:
    source, other = SOURCES[(number - 1) % len(SOURCES)], WORSE_ENDINGS.get(number)
    if source == "polled":
        return Role(id=id_, source=source, transcript=provider().load(other or POLLED))
    return Role(id=id_, source=source, transcript=parse_spec(other) if other else documented())


def interval(tasks: int) -> float:
    """Return the seconds between the snapshots of a task, which are more for many tasks."""
    return max(INTERVAL, tasks / SNAPSHOTS)


def ramp(tasks: int) -> float:
    """Return the seconds over which the tasks are begun."""
    return max(1.0, tasks / STARTS)


def poll_every(roles: tuple[Role, ...]) -> float:
    """Return the seconds between two polls of a task, which are more for many tasks."""
    return max(POLL_EVERY, sum(role.source == "polled" for role in roles) / POLLS)


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
    rate, every = max(1.0, len(roles) / len(SOURCES) / ramp(len(roles))), math.ceil(1000 * poll_every(roles))
    lines = ["sources:"]
    for name, url in upstreams.items():
        lines += [f"  {name}:", f"    base_url: {url}", f"    token: {TOKEN}", "    backoff: {initial: 500ms, max: 2s}"]
        if name in FRAMING:
            lines += [
                "    preset: vidu",
                f"    framing: {FRAMING[name]}",
                f"    max_streams: {max(len(roles), 100)}",
                f"    connect_rate: {rate:g}",
            ]
        else:
            lines += [
                f"    preset: {PRESET}",
                f"    poll: {{interval: {every}ms, max_interval: {every}ms, floor: null, rate_limit: {2 * POLLS}/s}}",
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
