"""Commands for the daemon itself: run, check, migrate, schema, reload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from notifier.cli.client import ConfigOption, Denied, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.output import (
    EXIT_CONFIG,
    complain,
    fail,
    flush_output,
    printable,
    refuse,
    show,
    show_json,
    tell,
)
from notifier.cli.process import DEFAULT_FILE, FILE_VARIABLE, load_config
from notifier.cli.process import run as start

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession
    from notifier.core.model import Json

FileOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar=FILE_VARIABLE, metavar="FILE", help="The configuration, a YAML file."),
]
MigrateOption = Annotated[bool, typer.Option("--migrate", help="First bring the tables of PostgreSQL up to date.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Fail if there are warnings.")]


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
    start(config, migrate)


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

    Waits for as long as the daemon works at it. Prints what has changed and what to look after, or the problems if the
    daemon refuses.

    With several nodes, each one has to be asked, by --url or its own configuration.

    Example: notifier reload -c config.yaml
    """
    client = connect(url, token, config)

    def work(daemon: DaemonSession) -> Json:
        try:
            return daemon.ask_patiently("POST", "/v1/reload")
        except Denied as exc:
            if not (as_json and exc.problems):
                raise
            show_json({"problems": exc.places or _whole(exc.problems), "warnings": []})
            raise typer.Exit(EXIT_CONFIG) from exc

    answer = client.run(work, refused=EXIT_CONFIG)
    if as_json:
        show_json(answer)
        return
    warnings = answer.get("warnings", ())  # a daemon of an earlier version has none
    changes = list(_changes(answer))
    show("reloaded" if changes else "reloaded; nothing has changed")
    for line in changes:
        tell(f"  {printable(line)}")
    if answer.get("others"):
        node = printable(answer["node"])
        listed = f"for every node what its files list as watches, for {node} alone all else"
        tell(f"{listed}: ask each, see notifier node list")
    flush_output()  # the warnings come after it
    for warning in warnings:
        complain(f"warning: {printable(warning)}")


def _whole(problems: Iterable[str]) -> list[Json]:
    """Put problems that came as text, from a daemon of an earlier version, into the form of `check --json`."""
    from notifier.config import Problem

    parts = (problem.split("\n") for problem in problems)
    return [
        asdict(replace(Problem.at_large(first), excerpt=tuple(line.removeprefix("    ") for line in excerpt)))
        for first, *excerpt in parts
    ]


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
