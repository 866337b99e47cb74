"""One run of the demo: starts everything, follows the tasks to their end, and reports the result."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from notifier.core.model import Json
from notifier.core.signing import new_secret
from notifier.tools.callback import format_callback
from notifier.tools.demo import script, view
from notifier.tools.demo.daemon import Daemon
from notifier.tools.demo.score import DemoSummary, Score
from notifier.tools.demo.script import (
    FRAMING,
    SOURCES,
    TOKEN,
    Role,
    SourceName,
    configuration,
    provider,
    receiver_script,
    stream_fault,
)
from notifier.tools.demo.view import View
from notifier.tools.listener import Listener
from notifier.tools.simulated import Move
from notifier.tools.simulator import DOCUMENTED_PATH, Simulator
from notifier.tools.transcript import documented
from notifier.tools.waiting import raise_descriptor_limit

JITTER = 0.5  # share of the interval, so that the tasks do not move in step
PATIENCE = 30.0  # seconds beyond what the upstream needs, for the last callbacks to arrive
TICK = 0.1  # seconds between looks
STRAGGLERS = 0.3  # seconds to wait for callbacks that should not come
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStage:
    """Everything that takes part in a run."""

    upstreams: dict[SourceName, Simulator]
    receiver: Listener
    daemon: Daemon
    score: Score
    struck: str  # the documented task whose stream is reset

    def written(self, role: Role) -> Sequence[Move]:
        """Return the changes of state that the upstream has written for a task."""
        return self.upstreams[role.source].written(role.id)

    def changes(self) -> int:
        """Return the number of all changes."""
        return sum(len(self.written(task.role)) for task in self.score.tasks.values())

    @property
    def reopened(self) -> bool:
        """Return whether the stream that was reset was opened again."""
        upstream = self.upstreams["documented"]
        return upstream.outcomes["reset"] > 0 and upstream.tasks[self.struck].connections > 1

    def missing(self) -> list[str]:
        """List what is wrong."""
        wrong = self.score.missing(self.written)
        return wrong if self.reopened else [*wrong, f"the stream of {self.struck} was not reset, or not opened again"]


async def play(
    roles: tuple[Role, ...],
    *,
    interval: float | None,
    console: Console,
    hold: Callable[[], Awaitable[None]] | None,
    report: Callable[[Json], None] | None = None,
) -> bool:
    """Play to the end, show the summary, then wait for `hold`; return whether all was as it should be.

    `report` gets the summary as JSON when everything has ended.

    `interval` is in seconds, between the snapshots of a task; None: by the number of tasks. Raises DaemonFailed.
    """
    interval = script.interval(len(roles)) if interval is None else interval
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with AsyncExitStack() as stack:
        stage = await _open(stack, roles, interval=interval, console=console)
        longest = max(len(role.transcript.snapshots) for role in roles) * interval * (1 + JITTER)
        patience = script.ramp(len(roles)) + longest + PATIENCE
        with View(console, stage.score, stage.upstreams) as shown:
            await _follow(stage, shown, patience=patience)
        missing = stage.missing()
        summary = DemoSummary.of(
            stage.score,
            changes=stage.changes(),
            polls=stage.upstreams["polled"].outcomes["snapshot"],
            seconds=loop.time() - began,
        )
        view.summary(console, summary)
        if hold is not None:
            stage.receiver.on_callback = lambda callback: console.print(format_callback(callback), soft_wrap=True)
            view.to_try(
                console,
                daemon=stage.daemon.url,
                config=stage.daemon.config,
                upstream=f"{stage.upstreams['documented'].base_url}{DOCUMENTED_PATH}?id={stage.struck}",
            )
            await hold()
        code = await stage.daemon.stop()
        if code:
            missing.append(f"told to stop, the daemon ended with exit code {code}; its log:\n{stage.daemon.tail()}")
    for reason in missing:
        console.print(Text(f"wrong: {reason}", style="red"), soft_wrap=True)
    if report is not None:
        report({**asdict(summary), "wrong": missing})
    elif not missing and hold is None:
        view.next_steps(console)
    return not missing


async def _open(stack: AsyncExitStack, roles: tuple[Role, ...], *, interval: float, console: Console) -> DemoStage:
    raise_descriptor_limit()
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="notifier-demo-")))
    secret, score, struck = new_secret(os.urandom(SECRET_BYTES)), Score(roles), stream_fault(roles)
    upstreams = {
        source: await stack.enter_async_context(
            Simulator(
                token=TOKEN,
                speech=None if source in FRAMING else provider(),
                transcripts={role.id: role.transcript for role in roles if role.transcript is not documented()},
                framing=FRAMING.get(source, "event"),
                interval=interval,
                jitter=JITTER,
                faults=[struck],
            )
        )
        for source in SOURCES
    }
    receiver = await stack.enter_async_context(
        Listener(secrets=[secret], respond=receiver_script(roles), on_callback=score.take, keep=1)
    )
    config = directory / "config.yaml"
    urls = {source: simulator.base_url for source, simulator in upstreams.items()}
    config.write_text(configuration(roles, upstreams=urls, receiver=receiver.url, secret=secret, directory=directory))
    view.opening(console, len(roles), upstreams=urls, receiver=receiver.url, struck=struck[0])
    began = asyncio.get_running_loop().time()
    daemon = await stack.enter_async_context(Daemon(config, directory / "daemon.log"))
    view.started(console, pid=daemon.pid, seconds=asyncio.get_running_loop().time() - began, url=daemon.url)
    return DemoStage(upstreams=upstreams, receiver=receiver, daemon=daemon, score=score, struck=struck[0])


async def _follow(stage: DemoStage, shown: View, *, patience: float) -> None:
    """Show the tasks until each got its callbacks, or `patience` seconds are over. Raises DaemonFailed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    printed: set[str] = set()
    complete: float | None = None
    while complete is None or loop.time() < complete + STRAGGLERS:
        stage.daemon.check()
        for note in _notes(stage):
            if note not in printed:
                printed.add(note)
                shown.note(note)
        shown.refresh(loop.time() - began)
        if complete is None and stage.score.complete:
            complete = loop.time()
        if loop.time() > began + patience:
            return
        await asyncio.sleep(TICK)


def _notes(stage: DemoStage) -> list[str]:
    """List the special events so far."""
    notes = []
    if stage.reopened:
        notes.append(f"         {stage.struck}: its stream was reset, and is open again")
    refused, retried = stage.score.refused, stage.score.retried
    if refused is not None:
        notes.append(f"         {refused.watch}: the receiver answered {refused.answer} to {refused.state!r}")
    if retried is not None:
        notes.append(f"         {retried.watch}: {retried.state!r} was sent again, and accepted")
    return notes
