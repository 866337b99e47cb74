"""The demo's display: a live table on a terminal, elsewhere a line each second, and the table at the end.

It fits into 60 columns, and on a terminal into its height.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from notifier.tools.demo.score import DemoSummary, Progress, Score
from notifier.tools.demo.script import ENDED, PRESET, TOKEN, SourceName
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import state_of

PLAIN_EVERY = 1.0  # seconds between lines where there is no terminal
PLAIN_ROWS = 24  # of the table where there is no terminal
REST_OF_SCREEN = 16  # lines of a terminal that are kept for the text around the table
STYLES = {"success": "green", "failed": "red", "canceled": "yellow", "processing": "blue"}
STYLES |= {"SUCCEEDED": "green", "CANCELLED": "yellow", "RUNNING": "blue"}


class View:
    """The table, live or not, and lines of text above it."""

    def __init__(self, console: Console, score: Score, upstreams: Mapping[SourceName, Simulator]) -> None:
        self._console = console
        self._score = score
        self._upstreams = upstreams
        self._next_line = 0.0
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._live.update(self.table(), refresh=True)
            self._live.stop()
        elif kind is None:
            self._console.print(self.table())

    def note(self, text: str) -> None:
        """Print a remark."""
        self._console.print(Text(text), soft_wrap=True)

    def refresh(self, elapsed: float) -> None:
        """Show the state `elapsed` seconds after the beginning."""
        if self._live is not None:
            self._live.update(self.table(), refresh=True)
        elif elapsed >= self._next_line:
            self._next_line = elapsed + PLAIN_EVERY
            counts = self._score.counts
            self.note(f"{elapsed:5.1f} s  {counts['callbacks']} callbacks; {self._states()}")

    def table(self) -> Table:
        """Return the table; what does not fit is counted in its last row."""
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name in ("task", "kind", "upstream", "last callback"):
            table.add_column(name, no_wrap=True)
        table.add_column("verified", justify="right", no_wrap=True)
        tasks = list(self._score.tasks.values())
        room = max(3, self._console.height - REST_OF_SCREEN) if self._live is not None else PLAIN_ROWS
        for task in tasks[:room]:
            state = task.states[-1] if task.states else None
            table.add_row(task.role.id, task.role.kind, _state(self._upstream(task)), _state(state), str(task.verified))
        if len(tasks) > room:
            table.add_row(f"{len(tasks) - room} more", "", "", "", str(sum(task.verified for task in tasks[room:])))
        return table

    def _upstream(self, task: Progress) -> str | None:
        """Return a task's state at the upstream."""
        found = self._upstreams[task.role.source].tasks.get(task.role.id)
        return state_of(found.current) if found is not None and found.current is not None else None

    def _states(self) -> str:
        states = (self._upstream(task) or "waiting" for task in self._score.tasks.values())
        counted = Counter("ended" if state in ENDED else state for state in states)
        return ", ".join(f"{count} {state}" for state, count in counted.items())


def _state(name: str | None) -> Text:
    return Text(name or "-", style=STYLES.get(name or "", ""))


def opening(console: Console, tasks: int, *, upstreams: Mapping[SourceName, str], receiver: str, struck: str) -> None:
    """Print what takes part, and what will go wrong."""
    kinds = {"documented": "line: a report a line", "spec": "event: standard SSE", "polled": f"poll: as {PRESET} is"}
    _lines(
        console,
        ("tasks", f"{tasks}, a third of them at each upstream" if tasks >= len(upstreams) else str(tasks)),
        *(
            ("" if number else "upstreams", f"{url}  {kinds[source]}")
            for number, (source, url) in enumerate(upstreams.items())
        ),
        ("receiver", f"{receiver}, verifying"),
        ("on purpose", f"the stream of {struck} is reset once,"),
        ("", "and one callback is answered 500 once"),
    )


def started(console: Console, *, pid: int, seconds: float, url: str) -> None:
    """Print that the daemon is ready, and where to watch it."""
    _lines(console, ("page", f"{url}/"), ("daemon", f"pid {pid}, ready after {seconds:.1f} s"))
    console.print()


def summary(console: Console, whole: DemoSummary) -> None:
    """Print the counts of the whole demo."""
    ended = ", ".join(f"{count} {phase}" for phase, count in whole.ended.items())
    rows = [
        ("watches", f"{whole.watches}: {ended or '-'}"),
        ("changes", f"{whole.changes} of state, at the upstreams"),
        ("callbacks", f"{whole.callbacks} received, {whole.verified} verified"),
        ("", f"{whole.duplicates} duplicates, {whole.out_of_order} out of order"),
        ("latency", f"p50 {whole.latency_p50_ms:.1f} ms, p99 {whole.latency_p99_ms:.1f} ms after the observation"),
        ("took", f"{whole.seconds:.1f} s"),
    ]
    if whole.retried_after_seconds is not None:
        rows.insert(4, ("retried", f"1, accepted {whole.retried_after_seconds:.1f} s after the {whole.refused_with}"))
    if whole.polled:
        rows.insert(1, ("polled", f"{whole.polled} of the watches, by {whole.polls} requests"))
    console.print()
    _lines(console, *rows)
    console.print()


def next_steps(console: Console) -> None:
    """Print how to go on, in commands that work where the demo was started."""
    notifier = _program()
    again = f"{os.environ['NOTIFIER_DEMO']} ARGS=--keep" if "NOTIFIER_DEMO" in os.environ else f"{notifier} demo --keep"
    _lines(
        console,
        ("stay up", again),
        ("configure", f"{notifier} init"),
        ("run", f"{notifier} run"),
        ("receive", "docs/receiving.md: receivers in three languages"),
    )


def to_try(console: Console, *, daemon: str, config: Path, upstream: str) -> None:
    """Print what can be done while everything is up."""
    file = shlex.quote(str(config))
    text = f"""Up until Ctrl-C; callbacks are shown as they come. The status page:

  {daemon}/

To try:

  {_program()} watch list --url {daemon}
  {_program()} status --url {daemon}
  curl {daemon}/v1/status
  curl '{daemon}/v1/deliveries?limit=3'
  curl {daemon}/metrics
  curl -N -H 'Authorization: Bearer {TOKEN}' '{upstream}'

One more task:

  echo '  - {{id: one-more, source: documented}}' >> {file}
  {_program()} reload --url {daemon}
"""
    console.print(Text(text), soft_wrap=True)


def _program() -> str:
    """Return how this program is called from the current directory."""
    called = Path(sys.argv[0])
    if called.name != "notifier":
        return f"{shlex.quote(_nearest(Path(sys.executable)))} -m notifier"
    found = shutil.which("notifier")
    if found is not None and os.path.samefile(found, called):
        return "notifier"
    return shlex.quote(_nearest(called))


def _nearest(path: Path) -> str:
    """Write a path relative to the current directory where it is below that."""
    here = Path.cwd()
    return str(path.absolute().relative_to(here)) if path.absolute().is_relative_to(here) else str(path)


def _lines(console: Console, *rows: tuple[str, str]) -> None:
    for name, text in rows:
        console.print(Text.assemble((f"{name:>10}", "bold"), f"  {text}"), soft_wrap=True)
