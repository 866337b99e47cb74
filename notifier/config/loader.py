"""Loads the configuration from its files, or reports every problem in them at once.

Each source, endpoint, queue and watch is read on its own, so that one fault does not hide another.
"""

from __future__ import annotations

import contextlib
import glob
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from notifier.config.description import Description, read_preset
from notifier.config.document import Document, read_document
from notifier.config.endpoint import read_endpoint
from notifier.config.model import Config, variables_of
from notifier.config.packed import Packed
from notifier.config.problems import (
    ConfigError,
    Location,
    Problem,
    Remarks,
    WatchRefused,
    detail,
    explain,
    got,
    key_path,
    refusal,
)
from notifier.config.queue import read_queue
from notifier.config.reading import Reading, WatchFile, digest, fault, found_by, loss, matching, obstacle, watch_files
from notifier.config.remarks import Placed, Review, look
from notifier.config.scalars import Unclear, settle
from notifier.config.secret import Secret
from notifier.config.section import Context, unknown_keys
from notifier.config.settings import HttpConfig
from notifier.config.source import SourceConfig, default_source
from notifier.config.types import name as check_name
from notifier.config.watch import NO_SOURCE, WatchRequest, read_watch, usual
from notifier.config.watch_list import WatchList
from notifier.core.callback import LABEL, PREFIX, is_callback
from notifier.core.model import Json, NewWatch

T = TypeVar("T")

_APART = ("sources", "presets", "endpoints", "queues", "watches")  # sections that are read entry by entry
_ANY = "any"  # a placeholder where the names of the sources are unknown


def load(path: Path, *, env: Mapping[str, str] | None = None, before: Reading | None = None) -> Config:
    """Read the configuration and the files that it names; `env` is by default the process's. Raises ConfigError.

    A watch file of the reading `before` that exists but cannot be read any more is a problem; a deleted one is not.
    """
    return _Loading(path, os.environ if env is None else env, before).run()


def review(path: Path, *, env: Mapping[str, str] | None = None) -> Review:
    """Read the configuration as `load` does, and look for missing libraries and probable mistakes."""
    return _Loading(path, os.environ if env is None else env, None).review()


def parse_watch(value: Json, config: Config, *, named: bool = False) -> NewWatch:
    """Read a watch from the JSON of an HTTP body or a queue's message. Raises WatchRefused.

    `named`: it only names a watch that exists, which needs no variables.
    """
    context = Context(
        env={},
        sources=tuple(config.sources),
        endpoints=tuple(config.endpoints),
        variables={} if named else config.watch_variables,
        callbacks=config.callbacks,
    )
    try:
        watch = read_watch(value, default=config.default_source, context=context, model=WatchRequest)
        return watch.to_new_watch()
    except ValidationError as exc:
        raise WatchRefused(map(_placeless, exc.errors(include_url=False))) from exc


def http_section(path: Path, *, env: Mapping[str, str] | None = None) -> HttpConfig:
    """Read only the section `http`, for clients: a value that cannot be read keeps its default. Never raises."""
    env = os.environ if env is None else env
    document = read_document(path, env)
    section = document.data.get("http") if isinstance(document.data, dict) else None
    if not isinstance(section, dict):
        return HttpConfig()
    context = Context(directory=path.parent, env=env)
    fields: dict[str, Any] = {}
    for key in HttpConfig.model_fields.keys() & section.keys():
        # each key on its own: perhaps only the daemon can read the token
        alone = {"listen": None, "token": Secret("-"), key: section[key]}
        with contextlib.suppress(ValidationError):
            fields[key] = getattr(HttpConfig.model_validate(alone, context=context), key)
    return HttpConfig.model_construct(**fields)


def _placeless(entry: Any) -> Problem:
    message, suggestion = explain(entry)
    parts = tuple(part for part in entry["loc"] if part != "[key]")
    return Problem(file="", line=0, column=0, key=key_path(parts), message=message, suggestion=suggestion)


class _Loading:
    """One pass over the files."""

    def __init__(self, path: Path, env: Mapping[str, str], before: Reading | None) -> None:
        self._path = path
        self._before = before
        self._env = env
        self._context = Context(directory=path.parent, env=env)
        self._files: dict[Path, str | None] = {}  # the YAML files with their digests
        self._patterns: tuple[str, ...] = ()
        self._blocked: set[str] = set()  # patterns whose folders cannot be searched, as was reported
        self._watch_files: dict[Path, WatchFile] = {}
        self._document = Document(file=path)
        self._problems: list[Problem] = []
        self._watches = WatchList()
        self._places: dict[str, dict[str, int]] = {}  # of the watches by source and id: the number of the entry
        self._lists: list[tuple[int, Document, Location]] = []  # with the number of the first entry of each
        self._entries = 0  # of all lists so far
        self._default: str | None = None

    def run(self) -> Config:
        """Return the configuration. Raises ConfigError with all problems."""
        return self.review().config

    def review(self) -> Review:
        """Return the configuration with the remarks on it. Raises ConfigError with all problems."""
        config = self._config()
        if self._problems or config is None:
            raise ConfigError(self._sorted(), reading=self._reading())
        config._reading = self._reading()
        result = look(config, self._document, self._placed())
        config._remarks = Remarks(result.warnings)
        return result

    def _reading(self) -> Reading:
        files = self._files | self._context.read
        return Reading(path=self._path, patterns=self._patterns, files=files, watch_files=self._watch_files)

    def _config(self) -> Config | None:
        document = self._document = self._read(self._path)
        if not isinstance(document.data, dict):
            if not document.problems:
                self._say(document, (), f"expected keys such as sources, endpoints and watches, got {_shape(document)}")
            return None
        data: dict[str, Any] = document.data
        sources, endpoints = self._mapping(document, "sources"), self._mapping(document, "endpoints")
        presets = self._mapping(document, "presets")
        described = self._named(document, "presets", presets, _preset)
        self._context = Context(
            directory=self._path.parent,
            env=self._env,
            presets={name: preset[1] if preset else None for name, preset in described.items()},
            sources=None if sources is None else tuple(sources),
            endpoints=None if endpoints is None else tuple(endpoints),
        )
        self._default = self._default_source(document, sources)
        read_source = partial(SourceConfig.model_validate, context=self._context)
        parts: dict[str, Any] = {
            "sources": self._named(document, "sources", sources, read_source),
            "presets": {name: preset[0] for name, preset in described.items() if preset},
            "endpoints": self._named(document, "endpoints", endpoints, partial(read_endpoint, context=self._context)),
            "queues": tuple(self._queues(document)),
        }
        rest = {key: value for key, value in data.items() if key not in _APART}
        self._context = replace(self._context, variables=variables_of(parts["sources"]))
        config = self._check(document, (), partial(Config.model_validate, context=self._context), rest)
        self._check_reserved(document, endpoints or {}, taken=config is not None and config.callbacks.enabled)
        self._read_watches(document, ("watches",), data.get("watches"))
        self._check_patterns(document, data.get("watch_files"))
        for path, pattern in watch_files(self._path, self._patterns):
            self._read_watch_file(path, pattern)
        self._check_lost()
        if config is None:
            return None
        return config.model_copy(update=parts | {"watches": self._watches or ()})

    def _read(self, path: Path, *, pipes: bool = True) -> Document:
        self._files[path] = digest(path)
        document = read_document(path, self._env, pipes=pipes)
        self._problems.extend(document.problems)
        return document

    def _say(self, document: Document, location: Location, message: str, suggestion: str | None = None) -> None:
        if problem := document.problem(location, message, suggestion):
            self._problems.append(problem)

    def _sorted(self) -> list[Problem]:
        order = {str(path): index for index, path in enumerate(self._files)}
        return sorted(
            dict.fromkeys(self._problems), key=lambda problem: (order[problem.file], problem.line, problem.column)
        )

    def _check(self, document: Document, location: Location, read: Callable[[Any], T], value: Any) -> T | None:
        """Read a value; if that fails, report the faults and return None."""
        try:
            return read(value)
        except ValidationError as exc:
            for entry in exc.errors(include_url=False):
                self._say(document, (*location, *entry["loc"]), *explain(entry))
        return None

    def _mapping(self, document: Document, key: str) -> dict[str, Any] | None:
        """Return a section of named entries; None if its names are unknown."""
        value = document.data.get(key)
        if isinstance(value, dict) or value is None:
            return value or {}
        self._say(document, (key,), f"expected a mapping of names to {key}, got {got(value)}")
        return None

    def _named(
        self, document: Document, key: str, entries: dict[str, Any] | None, read: Callable[[Any], T]
    ) -> dict[str, T | None]:
        for name in entries or {}:
            try:
                check_name(name)
            except PydanticCustomError as exc:
                self._say(document, (key, name, "[key]"), str(exc))
        return {
            name: self._check(document, (key, name), read, {} if value is None else value)
            for name, value in (entries or {}).items()
        }

    def _check_reserved(self, document: Document, endpoints: dict[str, Any], *, taken: bool) -> None:
        """Refuse names of endpoints that are reserved for the destinations of callbacks."""
        for name in endpoints:
            if is_callback(name) or (taken and name == LABEL):
                message = f"callbacks of watches go by {LABEL} and {PREFIX}...; choose another name"
                self._say(document, ("endpoints", name, "[key]"), message)

    def _default_source(self, document: Document, sources: dict[str, Any] | None) -> str | None:
        """Return the name of the source of watches that name none."""
        if sources is None:
            return _ANY
        marked = [name for name, value in sources.items() if isinstance(value, dict) and _true(value.get("default"))]
        for name in marked[1:]:
            self._say(document, ("sources", name, "default"), f"only one source can be the default; {marked[0]} is")
        return default_source(sources, marked)

    def _queues(self, document: Document) -> Iterator[Any]:
        value = document.data.get("queues")
        if not isinstance(value, list | None):
            self._say(document, ("queues",), f"expected a list of queues, got {got(value)}")
            return
        for index, item in enumerate(value or ()):
            yield self._check(document, ("queues", index), partial(read_queue, context=self._context), item)

    def _check_patterns(self, document: Document, patterns: Any) -> None:
        """Record the patterns of watch files, and report each whose files are missing or cannot be looked for."""
        usable = {  # an item that is no pattern is reported with the section
            index: pattern
            for index, pattern in enumerate(patterns if isinstance(patterns, list) else ())
            if isinstance(pattern, str) and pattern and "\0" not in pattern
        }
        self._patterns = tuple(map(str, usable.values()))
        for index, pattern in usable.items():
            if glob.has_magic(pattern):
                if (found := obstacle(self._path, pattern)) is not None:
                    self._blocked.add(pattern)
                    message = f"{found[0]} cannot be searched: {found[1]}; the watches of its files would be removed"
                    self._say(document, ("watch_files", index), message)
            elif not matching(self._path, pattern):
                message = "no such file; only a pattern such as watches.d/*.yaml may match none"
                self._say(document, ("watch_files", index), message)

    def _check_lost(self) -> None:
        """Report watch files of the last reading that exist but cannot be read: their watches must not be removed."""
        for path, file in (self._before.watch_files if self._before is not None else {}).items():
            if path in self._files or file.pattern in self._blocked or file.pattern not in self._patterns:
                continue
            if (reason := loss(path, file)) is not None:
                self._say_unreadable(path, f"cannot be read any more: {reason}; delete it to remove its watches")

    def _say_unreadable(self, path: Path, message: str) -> None:
        self._files[path] = None
        self._problems.append(Problem(file=str(path), line=0, column=0, key="", message=message))

    def _read_watch_file(self, path: Path, pattern: str) -> None:
        if (reason := fault(path)) is not None:
            hint = "; delete it to remove its watches" if glob.has_magic(pattern) else ""
            self._say_unreadable(path, f"cannot be read: {reason}{hint}")
            return
        with contextlib.suppress(OSError):  # gone again; the reading reports it
            self._watch_files[path] = found_by(pattern, path)
        document = self._read(path, pipes=False)
        match document.data:
            case None:
                pass  # empty, or unreadable and already reported
            case list() | Packed():
                self._read_watches(document, (), document.data)
            case dict() as data:
                self._check(document, (), _watches_alone, data)
                self._read_watches(document, ("watches",), data.get("watches"))
            case _:
                self._say(document, (), f"expected a list of watches, got {_shape(document)}")

    def _read_watches(self, document: Document, location: Location, value: Any) -> None:
        if not isinstance(value, list | Packed | None):
            self._say(document, location, f"expected a list of watches, got {got(value)}")
            return
        context, default = self._context, self._default
        if value and not context.sources:
            if context.sources is not None:
                self._say(document, location, NO_SOURCE)
            context, default = Context(env=self._env, endpoints=context.endpoints), _ANY
        read = partial(read_watch, default=default, context=context)
        self._lists.append((self._entries, replace(document, data=None), location))
        places, add = self._places, self._watches.append
        for index, item in enumerate(value or ()):
            row = usual(item, default, context)
            if row is None and (watch := self._check(document, (*location, index), read, item)):
                row = watch.row
            if row is not None:
                first = places.setdefault(row[1], {}).setdefault(row[0], self._entries)
                if first == self._entries:
                    add(row)
                else:
                    self._repeated(document, (*location, index), first)
            self._entries += 1

    def _repeated(self, document: Document, location: Location, first: int) -> None:
        """Report that another entry, the number `first`, has the same source and id."""
        number, other, place = self._lists[bisect_right(self._lists, first, key=itemgetter(0)) - 1]
        line = other.line((*place, first - number))
        where = f"on line {line}" if other.file == document.file else f"in {other.file}, line {line}"
        self._say(document, location, f"the same watch is {where}; remove one of them")

    def _placed(self) -> Iterator[Placed]:
        """Yield the watches with their places; all are valid."""
        ends = [*(first for first, _, _ in self._lists[1:]), self._entries]
        rows = self._watches.rows()
        for (first, document, location), end in zip(self._lists, ends, strict=True):
            for index in range(end - first):
                yield next(rows), document, (*location, index)


def _preset(value: object) -> tuple[Description, dict[str, Any]]:
    """Read a preset, with every fault in the form that is reported."""
    try:
        return read_preset(value)
    except PydanticCustomError as exc:
        raise refusal([detail((), exc)]) from exc


def _watches_alone(data: dict[str, Any]) -> None:
    if faults := unknown_keys(list(data), ("watches",), {}):
        raise refusal(faults)


def _true(value: Any) -> bool:
    plain = settle(value)
    return plain is True or (isinstance(plain, Unclear) and plain.boolean is True)


def _shape(document: Document) -> str:
    if document.data is None:
        return "an empty file"
    # a text may come from a file that holds a secret, and is not shown
    return "a mere text" if isinstance(document.data, str) else got(document.data)
