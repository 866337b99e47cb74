"""notifier at work: a simulated upstream, a receiver and the daemon in its own process, on free ports.

The demo ends by itself or at a signal, and leaves no process and no file behind.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from notifier.core.errors import NotifierError
from notifier.core.model import Json
from notifier.tools.demo.script import cast
from notifier.tools.demo.stage import play

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(NotifierError):
    """Interrupted; everything that was started is stopped again."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number = number


async def run(
    *,
    tasks: int,
    keep: bool,
    console: Console,
    interval: float | None = None,
    report: Callable[[Json], None] | None = None,
) -> bool:
    """Play the demo; return whether everything went as it should. With `keep`, stay up afterwards until a signal.

    `interval` is the time between snapshots of a task, in seconds. `report` gets the summary as JSON. Raises
    Interrupted on a signal before the end, and DaemonFailed if the daemon does not start or dies.
    """
    up, enough = asyncio.Event(), asyncio.Event()
    came: list[signal.Signals] = []

    async def hold() -> None:
        up.set()
        await enough.wait()

    def interrupt(number: signal.Signals) -> None:
        # Once: a second Ctrl-C would interrupt the clean-up.
        came.append(number)
        if not enough.is_set():
            enough.set()
            if not up.is_set():
                until.reschedule(asyncio.get_running_loop().time())

    with _signals(interrupt):
        try:
            async with asyncio.timeout(None) as until:
                return await play(
                    cast(tasks), interval=interval, console=console, hold=hold if keep else None, report=report
                )
        except TimeoutError:
            if until.expired():
                raise Interrupted(came[0]) from None
            raise


@contextmanager
def _signals(handler: Callable[[signal.Signals], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, handler, number)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
