"""How commands print: fitted to a terminal for people, complete and plain into a pipe, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from notifier.core.model import Json


EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
GAP = 2  # blanks between columns
NARROW = 20  # columns; on a narrower terminal nothing is gained by breaking lines
LEAST = 6  # characters that a shortened column keeps
READABLE = 20  # characters that it keeps as long as other columns can be left out
MAX_PROBLEMS = 20  # problems that are printed: ten thousand watches may have the same one

# Texts from others must not control a terminal, break a line, or turn its rest around (Unicode UAX #9).
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@cache
def terminal() -> Console:
    """Return standard output as rich sees it. It is loaded late: `run`, and what prints plain lines, do without."""
    from rich.console import Console

    return Console(highlight=False)


class OutputLost(OSError):
    """Standard output cannot be written."""


class _Output(TextIOWrapper):
    """Standard output. Its faults can be told from others, and it prints `?` for what its encoding does not have."""

    def write(self, text: str) -> int:
        """Write text. Raises OutputLost and BrokenPipeError."""
        with _lost():
            return super().write(text)

    def flush(self) -> None:
        """Write what is buffered. Raises OutputLost and BrokenPipeError."""
        with _lost():
            super().flush()


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputLost(exc.errno, exc.strerror) from exc


def prepare_output() -> None:
    """Accept any text on standard output and standard error, whatever their encoding."""
    if isinstance(sys.stderr, TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, TextIOWrapper):
        encoding, lines = sys.stdout.encoding, sys.stdout.line_buffering
        sys.stdout = _Output(sys.stdout.detach(), encoding=encoding, errors="replace", line_buffering=lines)


def flush_output() -> None:
    """Write what is buffered for standard output. Raises OutputLost and BrokenPipeError."""
    if sys.stdout is not None:
        sys.stdout.flush()


def discard_output() -> None:
    """Discard the buffer of standard output, and all further output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str) -> None:
    """Print a line to standard error, if it can be written."""
    if sys.stderr is not None:  # it is None if the descriptor was closed at the start
        with suppress(OSError, ValueError):
            print("\n".join(folded(each, sys.stderr) for each in line.split("\n")), file=sys.stderr, flush=True)


def tell(line: str) -> None:
    """Print a sentence for people: a line that is too long for the terminal is broken between words."""
    print(folded(line, sys.stdout))


def folded(line: str, stream: IO[str] | None) -> str:
    """Break a line between words where a terminal would break it in the middle of one; elsewhere it stays as it is."""
    if stream is None:  # the descriptor was closed at the start
        return line
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # no terminal
        return line
    return fold(line, width)


def fold(line: str, width: int) -> str:
    """Break a line between words after at most `width` characters; what follows is indented by two more blanks."""
    if len(line) <= width or width < NARROW:
        return line
    import textwrap

    indent = line[: len(line) - len(line.lstrip(" "))]
    return textwrap.fill(
        line.lstrip(" "),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """Print in one line what went wrong, and exit."""
    complain(f"notifier: {printable(message)}")
    sys.exit(code)


def refuse(problems: Iterable[str], *, summary: str | None = None, code: int = EXIT_CONFIG) -> NoReturn:
    """Print problems, one a line, and exit; without a `summary` they are those of a configuration."""
    listed = list(problems)
    shown = listed if code == EXIT_CONFIG else listed[:MAX_PROBLEMS]
    for problem in shown:
        complain(problem)
    if len(shown) < len(listed):
        complain(f"... and {len(listed) - len(shown)} more")
    summary = summary or f"{len(listed)} problem{'s' if len(listed) != 1 else ''} in the configuration"
    fail(summary, code)


def show_json(value: Json) -> None:
    """Print JSON for a program."""
    print(_encode(value, indent=2))


def show_json_line(value: Json) -> None:
    """Print one line of JSON at once, for a program that reads line by line."""
    print(_encode(value), flush=True)


def _encode(value: Json, *, indent: int | None = None) -> str:
    """Encode as JSON; characters that the output cannot encode, and halves of surrogate pairs, are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def show(line: Text | str = "") -> None:
    """Print a line unchanged: without markup and not wrapped."""
    if isinstance(line, str):
        print(line)
    else:
        terminal().print(line, markup=False, soft_wrap=True)


def tell_styled(line: Text) -> None:
    """Print a styled sentence as `tell` does."""
    console = terminal()
    if not console.is_terminal or line.cell_len <= console.width:
        show(line)
        return
    from rich.text import Text

    indent = " " * (len(line.plain) - len(line.plain.lstrip(" ")) + 2)
    first = line.wrap(console, console.width)[0]
    rest = line[len(first.plain) :]
    show(first)
    rest = rest[len(rest.plain) - len(rest.plain.lstrip(" ")) :]
    for part in rest.wrap(console, max(NARROW, console.width - len(indent))):
        show(Text(indent) + part)


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    cut: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> None:
    """Print a table for people, or the text `empty` if there are no rows."""
    listed = list(rows)
    if not listed:
        show(empty)
        return
    width = terminal().width if terminal().is_terminal else None
    for line in table(columns, listed, width=width, cut=cut, drop=drop):
        show(line)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None,
    cut: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> list[Text]:
    """Lay out a table no wider than `width` characters, as far as possible.

    The columns `cut` are shortened. Where too little of them would remain to be read, the columns `drop` are left out,
    the first one first, but before them those in which no row has anything.
    """
    from rich.cells import cell_len
    from rich.text import Text

    lines = [[Text(name, style="bold") for name in columns], *([cell(value) for value in row] for row in rows)]
    bare = {name for name, *cells in zip(columns, *rows, strict=True) if all(each is None for each in cells)}
    dropped = sorted(drop, key=lambda name: name not in bare)
    while True:
        widths = [max(cell_len(line[index].plain) for line in lines) for index in range(len(columns))]
        over = 0 if width is None else sum(widths) + GAP * (len(columns) - 1) - width
        least = READABLE if dropped and dropped[0] not in cut else LEAST
        spare = {i: widths[i] - max(LEAST, len(name)) for i, name in enumerate(columns) if name in cut}
        enough = sum(max(0, widths[i] - max(least, len(columns[i]))) for i in spare)
        if over <= enough or not dropped:
            break
        if (name := dropped.pop(0)) in columns:
            left_out = columns.index(name)
            columns = [*columns[:left_out], *columns[left_out + 1 :]]
            lines = [[*line[:left_out], *line[left_out + 1 :]] for line in lines]
    for _ in range(over):  # one character at a time, from the column with the most to spare
        widest = max(spare, key=spare.__getitem__, default=None)
        if widest is None or spare[widest] <= 0:
            break
        spare[widest] -= 1
        widths[widest] -= 1
    for line in lines:
        for index, text in enumerate(line):
            text.truncate(widths[index], overflow="ellipsis", pad=index < len(columns) - 1)
    laid = [Text(" " * GAP).join(line) for line in lines]
    for text in laid:
        text.rstrip()
    return laid


STYLES = {
    "delivered": "green",
    "succeeded": "green",
    "ok": "green",
    "running": "blue",
    "dead": "red",
    "failed": "red",
    "lost": "red",
    "rejected": "red",
    "gone": "red",
    "disabled": "red",
    "failing": "red",
    "paused": "yellow",
    "slowed": "yellow",
    "canceled": "yellow",
    "waiting": "dim",
    "superseded": "dim",
    "muted": "dim",
}


def cell(value: object) -> Text:
    """Format a value of a table; text from others is never read as markup."""
    from rich.text import Text

    if isinstance(value, Text):
        return value
    text = "-" if value is None else printable(str(value))
    return Text(text, style=STYLES.get(text, ""), end="")


def printable(text: str) -> str:
    """Escape characters that would control a terminal or break the line."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def receiver(delivery: Mapping[str, Any]) -> str:
    """Return the name of a delivery's endpoint; a watch's own callback is named by its host."""
    callback = delivery["callback"]
    return str(delivery["endpoint"] if callback is None else callback)


def when(text: str | None) -> str | None:
    """Shorten a time of the API for people: the local time of today or the local date; UTC where nobody looks on."""
    if text is None:
        return None
    if not terminal().is_terminal:
        return f"{text[: len('2026-11-22T06:21:01')]}Z"
    at = datetime.fromisoformat(text).astimezone()
    return at.strftime("%H:%M:%S") if at.date() == datetime.now().astimezone().date() else at.strftime("%Y-%m-%d")


def span(seconds: float) -> str:
    """Write a duration in the largest unit that fits; zero is a dash."""
    if not seconds:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"
