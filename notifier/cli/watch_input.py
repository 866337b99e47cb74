"""The watches that `watch add` reads from a file or the command line, each with the place that a refusal names.

A file is parsed as the configuration's `watch_files` are, and sent as it stands: the daemon alone decides what a valid
watch is. Beside YAML and JSON it may hold ids or a JSON value on each line, with blank lines and comments.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.cli.output import EXIT_FAILED, EXIT_USAGE, fail, refuse

if TYPE_CHECKING:
    from notifier.config import Document, Location
    from notifier.core.model import Json

MAX_WATCHES = 10_000  # of one request, which the daemon accepts or refuses as a whole
MAX_BYTES = 7 << 20  # of its body, below the daemon's limit
_BREAK = re.compile(r"\r\n|\r|\n")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")  # YAML 1.2 section 6.6
_WHOLE = re.compile(r"""\{.*\}|".*"|'.*'""")  # a line that is a value by itself
_STRUCTURE = re.compile(r"""[\[\]{}"'&*!|>%@`,]|[-?:](?:\s|$)|---|.*:(?:\s|$)""")  # how a line of YAML begins


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchInput:
    """A watch in the form that the API takes, and where it comes from."""

    watch: Json
    name: str  # the argument, or the file
    document: Document | None = None  # the file's contents
    location: Location = ()  # of the watch in the document

    def place(self, key: Location = ()) -> str:
        """Return where the value at `key` of the watch stands: the argument, or the file and the line."""
        if self.document is None:
            return self.name or "''"  # as it was typed: a line that begins with a colon has lost something
        return f"{self.name}:{self.document.line((*self.location, *key))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDefaults:
    """The options of the command line; a watch's own values come first."""

    source: str | None
    endpoints: Sequence[str]
    labels: Mapping[str, str]
    metadata: Json
    variables: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    callback_url: str | None = None
    callback_secret: str | None = None

    def fill(self, watch: Json) -> Json:
        """Return the watch with each missing value filled in. The daemon refuses anything but a mapping."""
        if not isinstance(watch, Mapping):
            return watch
        defaults = {
            "source": self.source,
            "endpoints": list(self.endpoints) or None,
            "metadata": self.metadata,
            "traceparent": self.traceparent,
            "callback_url": self.callback_url,
            "callback_secret": self.callback_secret,
        }
        missing = {key: value for key, value in defaults.items() if value is not None and watch.get(key) is None}
        for key, given in (("labels", self.labels), ("variables", self.variables)):
            own = watch.get(key, {})
            if given and isinstance(own, Mapping):
                missing[key] = {**given, **own}
        return {**watch, **missing}


def read_pairs(options: Sequence[str], *, option: str = "--label", example: str = "team=video") -> dict[str, str]:
    """Read NAME=VALUE options."""
    pairs = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not name or not equals:
            fail(f"{option} {text}: expected NAME=VALUE, such as {example}", EXIT_USAGE)
        pairs[name] = value
    return pairs


def read_metadata(text: str | None) -> Json:
    """Read a JSON value."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as exc:
        fail(f"--metadata: expected JSON, such as '{{\"order\": 7}}': {exc}", EXIT_USAGE)


def read_file(path: Path) -> list[WatchInput]:
    """Read the watches of a file; `-` is standard input. Exits with every fault of the syntax, at its place."""
    from notifier.config import read_document

    file = Path("/dev/stdin") if str(path) == "-" else path
    document = read_document(file, os.environ, clear=True, rewrite=as_list)
    if document.problems:
        summary = f"nothing was added: the watches of {path} cannot be read"
        refuse([each.in_full() for each in document.problems], summary=summary, code=1)
    return [
        WatchInput(watch=_mapping(value), name=str(document.file), document=document, location=location)
        for location, value in _entries(document)
    ]


def as_list(text: str) -> str:
    """Return a file of lines, each with ids or a JSON value, as a list of YAML with the same lines; others as they are.

    A file of that form that has more than one line is no YAML.
    """
    written = (line.strip() for line in _BREAK.split(text))
    lines = [line if _WHOLE.fullmatch(line) else _COMMENT.sub("", line).strip() for line in written]
    ids = [line for line in lines if line and not _WHOLE.fullmatch(line)]
    if any(map(_STRUCTURE.match, ids)) or (not ids and sum(map(bool, lines)) < 2):
        return text
    if not ids:
        return "\n".join(f"- {line}" if line else "" for line in lines)
    return "[" + "\n".join(f"{line}," if _WHOLE.fullmatch(line) else _quoted(line) for line in lines) + "]"


def _quoted(ids: str) -> str:
    return " ".join(f"{json.dumps(word, ensure_ascii=False)}," for word in ids.split()).replace("${", "$${")


def _entries(document: Document) -> Iterator[tuple[Location, Json]]:
    match document.data:
        case list() as items:
            yield from (((index,), item) for index, item in enumerate(items))
        case {"watches": list() as items, **rest} if not rest:
            yield from ((("watches", index), item) for index, item in enumerate(items))
        case dict() as watch:
            yield (), watch
        case _:
            words = document.words()
            if len(words) > 1:
                fail(f"{document.file}: expected ids or a JSON object on each line, or a list", EXIT_FAILED)
            yield from (((), word) for word in words)


def _mapping(value: Json) -> Json:
    """Return a watch in its long form; an id of digits becomes text, which any JSON reader keeps exactly."""
    if isinstance(value, dict):
        number = value.get("id")
        return value | {"id": str(number)} if type(number) is int and number >= 0 else value
    return _mapping({"id": value}) if isinstance(value, str | int | float) else value


def batches(watches: Sequence[WatchInput]) -> Iterator[Sequence[WatchInput]]:
    """Split the watches into requests of a size that the daemon takes."""
    start = size = 0
    for index, each in enumerate(watches):
        more = len(json.dumps(each.watch)) + 2
        if index > start and (index - start >= MAX_WATCHES or size + more > MAX_BYTES):
            yield watches[start:index]
            start, size = index, 0
        size += more
    if start < len(watches):
        yield watches[start:]
