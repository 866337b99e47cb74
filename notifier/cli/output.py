"""How commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifier.core.model import Json

EXIT_FAILED = 1
EXIT_CONFIG = 78

console = Console(highlight=False)


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """Say in one line what went wrong, and exit."""
    print(f"notifier: {message}", file=sys.stderr)
    sys.exit(code)


def refuse(problems: Iterable[str]) -> NoReturn:
    """Print what is wrong with a configuration, a line each, and exit."""
    listed = list(problems)
    for problem in listed:
        print(problem, file=sys.stderr)
    print(f"notifier: {len(listed)} problem{'s' if len(listed) != 1 else ''} in the configuration", file=sys.stderr)
    sys.exit(EXIT_CONFIG)


def show_json(value: Json) -> None:
    """Print for a program."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print for people: a table, or what it means that there is nothing."""
    listed = list(rows)
    if not listed:
        console.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in listed:
        table.add_row(*(cell(value) for value in row))
    console.print(table)


STYLES = {
    "delivered": "green",
    "closed": "green",
    "dead": "red",
    "disabled": "red",
    "open": "red",
    "half_open": "yellow",
    "throttled": "yellow",
    "waiting": "dim",
    "superseded": "dim",
}


def cell(value: object) -> Text:
    """Format a value of a table; what others sent is never read as markup."""
    text = "-" if value is None else str(value)
    return Text(text, style=STYLES.get(text, ""))
