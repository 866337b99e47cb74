"""The program's commands and what they have in common, read by typer."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from notifier import __version__
from notifier.cli.on_demand import CommandsOnDemand
from notifier.runtime.typer_private import read_plain_values, write_plain_help

write_plain_help()  # at once: the manual pages are made of it too

app = typer.Typer(
    name="notifier",
    cls=CommandsOnDemand,
    help="Follow generation tasks, streamed or polled; POST a signed webhook on every change; lose nothing.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"notifier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand != "run":  # `run` keeps both signals as they are until the event loop handles them
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def run_command() -> None:
    """Run the command of the arguments."""
    read_plain_values()
    if os.environ.get("_NOTIFIER_COMPLETE") == "complete_bash":
        from notifier.cli.complete import join_words

        join_words()
    app()
