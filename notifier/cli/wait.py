"""The command watch wait."""

from __future__ import annotations

import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

from notifier.cli.client import (
    ConfigOption,
    Denied,
    JsonOption,
    TokenOption,
    Unreachable,
    UrlOption,
    connect,
)
from notifier.cli.complete import watch_names
from notifier.cli.duration import seconds
from notifier.cli.lookup import find, name_of, path_of
from notifier.cli.output import EXIT_FAILED, complain, printable, show, show_json

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession

LONGEST_WAIT = 600.0  # seconds of one request; the daemon allows no more
RETRY = 1.0  # seconds until a daemon that does not answer is asked again
ENDS = {"succeeded": 0, "failed": 3, "canceled": 4, "lost": 5}  # exit codes
EXIT_TIMEOUT = 124  # as of timeout(1)


def wait(
    name: Annotated[str, typer.Argument(metavar="[SOURCE/]ID", help="A watch.", autocompletion=watch_names)],
    timeout: Annotated[
        float | None,
        typer.Option(metavar="DURATION", parser=seconds, help="Give up after so long, such as 10m."),
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until a task has ended; the exit code says how.

    0 succeeded, 3 failed, 4 canceled, 5 lost, 124 not ended within --timeout. A daemon that restarts is waited for.

    Example: notifier watch wait 2370487727425660 --timeout 10m
    """
    item = connect(url, token, config).run(lambda daemon: _end(daemon, name, timeout))
    outcome = "lost" if item["lost"] else item["phase"]
    if as_json:
        show_json(item)
    elif item["ended"]:
        show(f"{printable(name_of(item))} {outcome}")
    else:
        so_far = outcome or "nothing was observed yet"
        complain(f"{printable(name_of(item))} has not ended after {timeout:g} s: {so_far}")
    raise typer.Exit(ENDS.get(outcome, EXIT_FAILED) if item["ended"] else EXIT_TIMEOUT)


def _end(daemon: DaemonSession, name: str, timeout: float | None) -> dict[str, Any]:
    """Return a watch once it has ended, or after the timeout in seconds. Raises Denied and Unreachable.

    A daemon that was found is waited for, and one that answers 503: it, or its store, will be back.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    item: dict[str, Any] | None = None
    while True:
        left = deadline - time.monotonic()
        try:
            if item is None:
                item = find(daemon, name)
            if item["ended"] or left <= 0:
                return item
            query = [("timeout", f"{min(left, LONGEST_WAIT):.3f}")]
            item = daemon.ask_patiently("GET", f"{path_of(item['source'], item['id'])}/wait", query=query)
        except (Denied, Unreachable) as exc:
            unavailable = isinstance(exc, Denied) and exc.status == HTTPStatus.SERVICE_UNAVAILABLE
            away = isinstance(exc, Unreachable) and item is not None
            if not (unavailable or away) or (item is None and left <= 0):
                raise
            time.sleep(max(0.0, min(left, RETRY)))
