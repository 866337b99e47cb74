"""The watches that `watch add` is given, by a file or on the command line, each with the place that problems name.

A file is read as the configuration's `watch_files` are, so that a mistake is told with its line and column; a mere
text is a list of ids.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notifier.cli.output import EXIT_USAGE, fail, refuse
from notifier.core.model import Json

MAX_WATCHES = 10_000  # of one request, which the daemon takes whole or not at all
MAX_BYTES = 7 << 20  # of its body, below the daemon's limit
ANY = "any"  # stands for the source that the daemon chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A watch as the API takes it."""

    place: str
    watch: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What options say of every watch that does not say it itself."""

    source: str | None
    endpoints: Sequence[str]
    labels: Mapping[str, str]
    metadata: Json
    callback_url: str | None = None
    callback_secret: str | None = None

    def fill(self, watch: Mapping[str, Json]) -> dict[str, Json]:
        """Return the watch with what it lacks."""
        found = dict(watch)
        labels = {**self.labels, **found.pop("labels", {})}
        defaults = {
            "source": self.source,
            "endpoints": list(self.endpoints) or None,
            "metadata": self.metadata,
            "callback_url": self.callback_url,
            "callback_secret": self.callback_secret,
        }
        found |= {key: value for key, value in defaults.items() if value is not None and found.get(key) is None}
        return found | ({"labels": labels} if labels else {})


def read_labels(given: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE options."""
    labels = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            fail(f"--label {text}: expected NAME=VALUE, such as team=video", EXIT_USAGE)
        labels[name] = value
    return labels


def read_metadata(text: str | None) -> Json:
    """Read a JSON value."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as exc:
        fail(f"--metadata: expected JSON, such as '{{\"order\": 7}}': {exc}", EXIT_USAGE)


def read_file(path: Path) -> list[Given]:
    """Read the watches of a file, - being standard input; exits with every problem at its place."""
    from notifier.config import document as documents

    document = documents.read(Path("/dev/stdin") if str(path) == "-" else path, os.environ)
    if document.problems:
        _refuse(map(str, document.problems), path)
    found: list[Given] = []
    problems: list[str] = []
    for location, value in _entries(document):
        watch = _checked(document, location, value, problems)
        found.append(Given(place=f"{document.file}:{document.line(location)}", watch=watch))
    if problems:
        _refuse(problems, path)
    return found


def _entries(document: Any) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    from notifier.config.tree import Scalar

    match document.data:
        case list() as items:
            yield from (((index,), item) for index, item in enumerate(items))
        case {"watches": list() as items, **rest} if not rest:
            yield from ((("watches", index), item) for index, item in enumerate(items))
        case dict() as watch:
            yield (), watch
        case _ if isinstance(document.root, Scalar):
            yield from (((), word) for word in document.root.text.split())


def _checked(document: Any, location: tuple[int | str, ...], value: Any, problems: list[str]) -> dict[str, Json]:
    """Return the watch in plain JSON; what is wrong with it is added to `problems`."""
    from pydantic import ValidationError

    from notifier.config.problems import say
    from notifier.config.section import Context
    from notifier.config.watch import WatchRequest, read_watch

    try:
        watch = read_watch(value, default=ANY, context=Context(), model=WatchRequest)
    except ValidationError as exc:
        told = (document.problem((*location, *entry["loc"]), *say(entry)) for entry in exc.errors(include_url=False))
        problems.extend(str(problem) for problem in told if problem is not None)
        return {}
    plain = watch.to_new_watch()
    own = plain.callback
    said = isinstance(value, Mapping) and value.get("source") is not None
    return {
        "id": plain.id,
        **({"source": plain.source} if said else {}),
        **({"endpoints": list(plain.endpoints)} if plain.endpoints is not None else {}),
        **({"labels": dict(plain.labels)} if plain.labels else {}),
        **({"metadata": plain.metadata} if plain.metadata is not None else {}),
        **({"callback_url": own.url} if own is not None else {}),
        **({"callback_secret": own.secret} if own is not None and own.secret is not None else {}),
    }


def _refuse(problems: Any, path: Path) -> None:
    refuse(problems, summary=f"nothing was added: the watches of {path} cannot be read", code=1)


def requests(given: Sequence[Given]) -> Iterator[Sequence[Given]]:
    """Part the watches into requests that the daemon takes."""
    start = size = 0
    for index, each in enumerate(given):
        more = len(json.dumps(each.watch)) + 2
        if index > start and (index - start >= MAX_WATCHES or size + more > MAX_BYTES):
            yield given[start:index]
            start, size = index, 0
        size += more
    if start < len(given):
        yield given[start:]
