"""Commands around the daemon: run, check, schema, reload, status."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.output import EXIT_CONFIG, EXIT_FAILED, console, fail, refuse, show_json, show_table
from notifier.core.errors import NotifierError

if TYPE_CHECKING:
    from notifier.config import Config

FileOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="NOTIFIER_CONFIG", help="The configuration, a YAML file.")
]
DEFAULT_FILE = Path("config.yaml")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(check)
    app.command()(schema)
    app.command()(reload)
    app.command()(status)


def run(config: FileOption = DEFAULT_FILE) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reloads.

    Example: notifier run -c config.yaml
    """
    # A SIGHUP's default is death, and a manager takes that for an orderly end; held back, it is a reload later.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    settings = _load(config)
    import structlog

    from notifier import logs
    from notifier.app import HEEDED, Application
    from notifier.loops import LoopUnavailable, runner, settle_memory

    logs.configure(format=settings.log.format, level=settings.log.level)
    # While handlers change hands, from Python's to the loop's, a signal may be lost: it waits until they have.
    signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    try:
        loop = runner(settings.loop)
    except LoopUnavailable as exc:
        fail(str(exc), EXIT_CONFIG)
    settle_memory()
    with loop:
        try:
            loop.run(Application(config, settings).run())
        except NotifierError:
            raise
        except Exception:  # a loop died; the log is where its reader looks, and hides secrets
            structlog.get_logger(__name__).critical(
                "daemon.failed", exc_info=True, hint="nothing that was committed is lost; start it again"
            )
            sys.exit(EXIT_FAILED)
        finally:  # the exit code is decided: a second signal must not change it
            for number in HEEDED:
                signal.signal(number, signal.SIG_IGN)


def check(config: FileOption = DEFAULT_FILE) -> None:
    """Validate a configuration; print what would run, or every problem with its place.

    Example: notifier check -c config.yaml
    """
    from notifier.config import describe

    for line in describe(_load(config)):
        console.print(line, markup=False, soft_wrap=True)


def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    Example: notifier schema > notifier.schema.json
    """
    from notifier.config import json_schema

    show_json(json_schema())


def reload(config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None) -> None:
    """Have the running daemon load its configuration again; print what is wrong with it if it is refused.

    Example: notifier reload -c config.yaml
    """
    connect(url, token, config).post("/v1/reload")
    console.print("reloaded")


def status(
    config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False
) -> None:
    """Show how the running daemon is.

    Example: notifier status
    """
    found = connect(url, token, config).get("/v1/status")
    if as_json:
        show_json(found)
        return
    state = "[green]ready[/]" if found["ready"] else f"[red]not ready[/]: {found['reason']}"
    console.print(
        f"notifier {found['version']} on {escape(found['node'])}, up {_span(found['uptime_seconds'])}: {state}"
    )
    console.print(f"configuration {found['config']}\n", markup=False)
    show_table(
        ("source", "open", "following", "watches by phase"),
        [
            (
                source["name"],
                source["open"],
                source["following"],
                ", ".join(f"{count} {phase}" for phase, count in sorted(source["watches"].items())),
            )
            for source in found["sources"]
        ],
        empty="no sources",
    )
    console.print()
    show_table(
        ("endpoint", "state", "under way", "pending", "oldest", "dead"),
        [
            (e["name"], e["state"], e["in_flight"], e["pending"], _span(e["oldest_seconds"]), e["dead"])
            for e in found["endpoints"]
        ],
        empty="no endpoints",
    )


def _load(path: Path) -> Config:
    from notifier.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as exc:
        refuse(map(str, exc.problems))


def _span(seconds: float) -> str:
    if not seconds:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s"
