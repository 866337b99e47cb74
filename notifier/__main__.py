"""The program's first instructions, for the command `notifier` and for `python -m notifier`.

Loading the commands takes a few hundred milliseconds. Signals are prepared before that: SIGINT ends the process without
a traceback, and SIGHUP, which would kill it, waits until `cli.main` knows the command.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Run a command and exit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from notifier.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
