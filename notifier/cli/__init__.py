"""The commands. This room only reads options, prints, and chooses exit codes.

A command has the file of its first word, as `notifier delivery list` has `delivery`; `on_demand` names the others.
`client` asks the daemon, over `session`; `output` prints, for people and as JSON.

Exit codes: 0 done, 1 failed, 2 usage, 78 configuration (sysexits.h, EX_CONFIG: systemd does not restart on it).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from notifier import __version__
from notifier.cli.on_demand import CommandsOnDemand
from notifier.cli.output import OutputLost, discard_output, fail, flush_output, prepare_output
from notifier.core.errors import NotifierError
from notifier.runtime.typer_private import read_plain_values, write_plain_help

__all__ = ["main"]

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


def main() -> None:
    """Run a command and exit. No command fails because of the characters or the place that it prints."""
    prepare_output()
    read_plain_values()
    if os.environ.get("_NOTIFIER_COMPLETE") == "complete_bash":
        from notifier.cli.complete import join_words

        join_words()
    try:
        try:
            app()
        finally:
            flush_output()
    except NotifierError as exc:
        fail(str(exc))
    except BrokenPipeError:  # `notifier delivery list | head`: the reader has gone, which is no fault
        discard_output()
        sys.exit(0)
    except OutputLost as exc:
        discard_output()
        fail(f"cannot write the output: {exc.strerror}")
