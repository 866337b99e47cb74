"""The commands. This room only reads options, prints, and chooses exit codes.

A command has the file of its first word, as `notifier delivery list` has `delivery`; `on_demand` names the others, and
`commands` joins them. `process` runs the daemon. `client` asks it, over `session`; `output` prints, for people and as
JSON.

Exit codes: 0 done, 1 failed, 2 usage, 78 configuration (sysexits.h, EX_CONFIG: systemd does not restart on it).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from notifier.cli.output import OutputLost, discard_output, fail, flush_output, prepare_output
from notifier.cli.process import read_plainly, run
from notifier.core.errors import NotifierError

if TYPE_CHECKING:
    from notifier.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """Run a command and exit. No command fails because of the characters or the place that it prints."""
    prepare_output()
    try:
        try:
            _run_command()
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


def _run_command() -> None:
    if (daemon := read_plainly(sys.argv[1:])) is not None:
        run(*daemon)
        return
    from notifier.cli.commands import run_command

    run_command()


def __getattr__(name: str) -> Any:
    """Load the commands when they are asked for: the daemon does without."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from notifier.cli.commands import app

    return app
