"""Commands for the daemon itself: run, check, migrate, schema, reload."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from notifier.cli.client import DEFAULT_FILE, ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.output import (
    EXIT_CONFIG,
    EXIT_FAILED,
    complain,
    fail,
    flush_output,
    printable,
    refuse,
    show,
    show_json,
    tell,
)
from notifier.core.errors import NotifierError

if TYPE_CHECKING:
    from notifier.config import Config

FileOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="NOTIFIER_CONFIG", metavar="FILE", help="The configuration, a YAML file."),
]
MigrateOption = Annotated[bool, typer.Option("--migrate", help="First bring the tables of PostgreSQL up to date.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Fail if there are warnings.")]
THREADS_END = 1.0  # seconds; what still blocks then, as a file of a lost server does, holds the end up no longer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(check)
    app.command()(migrate)
    app.command()(schema)
    app.command()(reload)


def run(config: FileOption = DEFAULT_FILE, migrate: MigrateOption = False) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reloads.

    Example: notifier run -c config.yaml
    """
    # As in `notifier.__main__`, which comes earlier but not in every program that runs the daemon. By default SIGHUP
    # kills, and a manager takes that for an orderly end; a blocked SIGHUP becomes a reload later. Until the loop
    # handles SIGINT, it simply kills: an exception may occur where Python can only print it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # While modules are loaded there is much to look at and nothing to collect; `settle_memory` switches it on again.
    gc.disable()
    from notifier.runtime.structlog_private import structlog  # first of all that import structlog: it then has no rich

    settings = load_config(config)
    from notifier.runtime import aiohttp_private  # noqa: F401  # first of all that import aiohttp: it reads no authorities
    from notifier.daemon.app import SIGNALS, Application  # isort: skip
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


def check(config: FileOption = DEFAULT_FILE, strict: StrictOption = False, as_json: JsonOption = False) -> None:
    """Validate a configuration.

    Prints what would run, or every problem with its place. Warnings name probable mistakes, such as a watch whose
    events no endpoint receives.

    Example: notifier check -c config.yaml
    """
    from notifier.config import ConfigError, describe, review

    try:
        result = review(config)
        problems, warnings = result.missing, result.warnings
    except ConfigError as exc:
        result, problems, warnings = None, tuple(exc.problems), ()
    if as_json:
        show_json({"problems": [asdict(each) for each in problems], "warnings": [asdict(each) for each in warnings]})
        raise typer.Exit(EXIT_CONFIG if problems or (strict and warnings) else 0)
    if result is None or problems:
        refuse([each.in_full() for each in problems])
    for line in describe(result.config):
        tell(line)
    flush_output()  # the warnings come after it
    for warning in result.warnings:
        complain(f"warning: {warning}")
    if strict and result.warnings:
        fail("the configuration is valid, but --strict allows no warnings", EXIT_CONFIG)


def migrate(config: FileOption = DEFAULT_FILE, as_json: JsonOption = False) -> None:
    """Create the tables of the database, or bring them up to date.

    With SQLite, the daemon does this itself when it starts. With PostgreSQL, stop all nodes first and start them
    afterwards. If the release notes say that the old and the new version work together, migrate first and then restart
    the nodes one by one.

    Example: notifier migrate -c config.yaml
    """
    url = load_config(config).store.url
    from notifier.store import migrate as run

    before, now = run(url.reveal())
    if as_json:
        show_json({"database": url.origin, "before": before, "schema": now})
        return
    if before is None:
        done = f"tables made, schema {now}"
    elif before == now:
        done = f"up to date, schema {now}; nothing to do"
    else:
        done = f"migrated from schema {before} to {now}"
    show(f"{url.origin}: {done}")


def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    Example: notifier schema > notifier.schema.json
    """
    from notifier.config import json_schema

    show_json(json_schema())


def reload(
    config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False
) -> None:
    """Make the running daemon load its configuration again.

    Waits for as long as the daemon works at it. Prints what has changed, or the problems if the daemon refuses.

    With several nodes, each one has to be asked, by --url or its own configuration.

    Example: notifier reload -c config.yaml
    """
    client = connect(url, token, config)
    answer = client.run(lambda daemon: daemon.ask_patiently("POST", "/v1/reload"), refused=EXIT_CONFIG)
    if as_json:
        show_json(answer)
        return
    changes = list(_changes(answer))
    show("reloaded" if changes else "reloaded; nothing has changed")
    for line in changes:
        tell(f"  {printable(line)}")
    if answer.get("others"):
        node = printable(answer["node"])
        listed = f"for every node what its files list as watches, for {node} alone all else"
        tell(f"{listed}: ask each, see notifier node list")


def _changes(answer: Mapping[str, Any]) -> Iterator[str]:
    """Tell what a reload has changed."""
    counts = [f"{answer['watches'][how]} {how}" for how in ("added", "changed", "removed") if answer["watches"][how]]
    if counts:
        yield f"watches of the files: {', '.join(counts)}"
    for how in ("added", "changed", "removed"):
        if answer[how]:
            yield f"{how}: {', '.join(answer[how])}"
    for key in answer["needs_restart"]:
        yield f"{key} has changed, which takes a restart: systemctl restart notifier"


def load_config(path: Path) -> Config:
    """Return a configuration, or print what is wrong with it and exit."""
    from notifier.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as exc:
        refuse([each.in_full() for each in exc.problems])
