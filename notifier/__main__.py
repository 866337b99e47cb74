"""The program's first instructions, for the command `notifier` and for `python -m notifier`.

Loading the commands takes a few hundred milliseconds. Before that closed standard descriptors are occupied, and signals
are prepared: SIGINT ends the process without a traceback, and SIGHUP, which would kill it, waits until `cli.main` knows
the command.
"""

from __future__ import annotations

# The built-in part of `signal`, which builds enums first: that is long enough for a Ctrl-C.
import _signal  # type: ignore[import-not-found]  # it has no stubs
import os

_signal.signal(_signal.SIGINT, _signal.SIG_DFL)
_signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGHUP})


def _occupy_standard_descriptors() -> None:
    """Open /dev/null in place of closed standard descriptors, before a file or a socket gets their numbers.

    What is printed there would go into that file, and libuv aborts a process that closes one of them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def main() -> None:
    """Run a command and exit."""
    _occupy_standard_descriptors()
    from notifier.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
