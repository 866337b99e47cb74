"""The daemon's process: how `run` begins and ends.

A daemon keeps in memory what was loaded before it, and typer, with what it needs, takes 2 MiB. So the usual arguments
of `run` are read here. All others, and all that are refused, are left to typer.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.cli.output import EXIT_CONFIG, EXIT_FAILED, fail, refuse
from notifier.core.errors import NotifierError

if TYPE_CHECKING:
    from notifier.config import Config

DEFAULT_FILE = Path("config.yaml")  # of the working directory
FILE_VARIABLE = "NOTIFIER_CONFIG"
THREADS_END = 1.0  # seconds; what still blocks then, as a file of a lost server does, holds the end up no longer


def read_plainly(words: Sequence[str]) -> tuple[Path, bool] | None:
    """Read `run [-c FILE] [--migrate]`; None: other words, or a file that cannot be read."""
    migrate = words[-1:] == ["--migrate"]
    match words[: len(words) - migrate]:
        case ["run"]:
            path = os.environ.get(FILE_VARIABLE) or DEFAULT_FILE
        case ["run", "-c" | "--config", path]:
            pass
        case _:
            return None
    return (Path(path), migrate) if os.access(path, os.R_OK) else None


def run(config: Path, migrate: bool) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. Exits with 78 if the configuration is refused."""
    # As in `notifier.__main__`, which comes earlier but not in every program that runs the daemon. By default SIGHUP
    # kills, and a manager takes that for an orderly end; a blocked SIGHUP becomes a reload later. Until the loop
    # handles SIGINT, it simply kills: an exception may occur where Python can only print it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # While modules are loaded there is much to look at and nothing to collect; `settle_memory` switches it on again.
    gc.disable()
    from notifier.runtime.structlog_private import structlog  # first of all that import structlog: it then has no rich

    settings = load_config(config)
    from notifier.runtime.loading_private import load_in_part

    os.environ["FROZENLIST_NO_EXTENSIONS"] = "1"  # of aiohttp's lists: compiled, they load C++'s library, 1 MiB
    load_in_part("aiohttp")
    load_in_part("prometheus_client")
    from notifier.daemon.app import SIGNALS, Application
    from notifier.runtime import logs, threads
    from notifier.runtime.loops import LoopUnavailable, runner, settle_memory

    logs.configure(format=settings.log.format, level=settings.log.level)
    # While the loop replaces Python's handlers, a signal may be lost; it is blocked until that is done.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        loop = runner(settings.loop)
    except LoopUnavailable as exc:
        fail(str(exc), EXIT_CONFIG)
    settle_memory()
    application = Application(config, settings, migrate=migrate)
    del settings  # the watches in it may be many
    with loop:
        try:
            loop.run(application.run())
        except NotifierError:
            raise
        except Exception:  # a loop died; the log hides secrets, which a traceback on stderr does not
            structlog.get_logger(__name__).critical(
                "daemon.failed", exc_info=True, hint="nothing that was committed is lost; start it again"
            )
            sys.exit(EXIT_FAILED)
        finally:  # the exit code is final: a second signal must not change it
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            threads.settle(THREADS_END)  # a reload that was under way may still read its files


def load_config(path: Path) -> Config:
    """Return a configuration, or print what is wrong with it and exit."""
    from notifier.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as exc:
        refuse([each.in_full() for each in exc.problems])
