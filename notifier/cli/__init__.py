"""The commands. This room only reads options, prints, and chooses exit codes.

Exit codes: 0 done, 1 failed, 2 usage, 78 configuration (sysexits.h, EX_CONFIG: systemd does not restart on it).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from notifier import __version__
from notifier.cli import daemon, deliver, endpoint, node, secrets, status, tools, watch
from notifier.cli.output import fail
from notifier.core.errors import NotifierError

__all__ = ["main"]

app = typer.Typer(
    name="notifier",
    help="Follow generation tasks over Server-Sent Events; POST a signed webhook on every change; lose nothing.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (daemon, status, watch, deliver, endpoint, node, secrets, tools):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"notifier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command and exit."""
    try:
        app()
    except NotifierError as exc:
        fail(str(exc))
    except BrokenPipeError:  # `notifier delivery list | head`: the reader has gone, which is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
