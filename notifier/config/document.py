"""One YAML file: reads it, parses it, fills in variables, and maps a value's location to its line and column.

In text, `${NAME}` comes from the environment, and `${NAME:-default}` too unless it is unset or empty; `$${` is a
literal `${`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from notifier.config import tree
from notifier.config.excerpt import excerpt
from notifier.config.plain import NotPlain, parse_plain
from notifier.config.problems import Location, Problem, got, key_path
from notifier.config.reading import MAX_BYTES, read_bytes
from notifier.config.scalars import Interpolated, Unclear, resolve
from notifier.config.schema import known_keys
from notifier.config.shapes import parse_list
from notifier.config.surrogates import join_surrogates

_REFERENCE = re.compile(r"\$(?P<escaped>\$)?\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\})?")


class Broken:
    """A placeholder for a value whose fault has been reported."""


BROKEN = Broken()


@dataclass(frozen=True, kw_only=True)  # without slots, for `root`
class Document:
    """A file's contents as plain data, with the place of each value."""

    file: Path
    # dict, list, Packed, None, bool, int, float, str, Interpolated, Unclear, BROKEN; None also where unreadable
    data: Any = None
    text: str = field(default="", repr=False)
    problems: tuple[Problem, ...] = ()  # of syntax and variables
    broken: frozenset[int] = field(default_factory=frozenset)  # `id` of each node behind BROKEN
    parsed: tree.Node | None = None

    @cached_property
    def root(self) -> tree.Node | None:
        """Return the tree that has the places; it is parsed on demand, for problems alone."""
        return self.parsed or tree.parse(self.text)

    def problem(self, location: Location, message: str, suggestion: str | None = None) -> Problem | None:
        """Return a problem at a location, or None if that value's fault has been reported.

        A last part `[key]` means the key before it. A part that is not in the file, such as a missing key, gets the
        place of its parent.
        """
        of_key = location[-1:] == ("[key]",)
        parts = location[:-1] if of_key else location
        at_key = of_key
        node, line, column = self.root, 1, 1
        path: list[int | str] = []
        for index, part in enumerate(parts):
            if isinstance(node, tree.Mapping) and isinstance(part, str) and part in node.entries:
                entry = node.entries[part]
                node, line, column = entry.value, entry.line, entry.column
            elif isinstance(node, tree.Sequence) and isinstance(part, int):
                node = node.items[part]
                line, column = node.line, node.column
            elif index < len(parts) - 1:
                continue  # a step of the models that is not in the file
            else:
                at_key = True
            path.append(part)
        if id(node) in self.broken and not of_key:
            return None
        if isinstance(node, tree.Scalar) and not at_key:
            line, column = node.line, node.column
        return Problem(
            file=str(self.file),
            line=line,
            column=column,
            key=key_path(tuple(path)),
            message=message,
            suggestion=suggestion,
        )

    def line(self, location: Location) -> int:
        """Return the line on which the key or entry at the location begins; for a missing one, its parent's line."""
        node, line = self.root, 1
        for part in ((), *location):
            if isinstance(node, tree.Mapping) and isinstance(part, str) and part in node.entries:
                entry = node.entries[part]
                node, line = entry.value, entry.line
            elif isinstance(node, tree.Sequence) and isinstance(part, int):
                node = node.items[part]
                line = node.line
        return line

    def words(self) -> list[str]:
        """Return the words of a document without structure; an empty list for any other."""
        return self.root.text.split() if isinstance(self.root, tree.Scalar) else []


def read_document(
    path: Path,
    env: Mapping[str, str],
    *,
    clear: bool = False,
    pipes: bool = True,
    rewrite: Callable[[str], str] | None = None,
) -> Document:
    """Read a file; every fault becomes a problem of the document.

    With `clear`, the data is JSON: an unquoted value that YAML readers understand in different ways is a problem too.
    With `pipes`, a pipe is read to its end. `rewrite` makes YAML of a file in another form, line by line.
    """
    try:
        content = read_bytes(path, MAX_BYTES, pipes=pipes)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        reason = getattr(exc, "strerror", None) or str(exc)
        return _unreadable(path, f"cannot be read: {reason}")
    if len(content) > MAX_BYTES:
        return _unreadable(path, f"larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line_start = content.rfind(b"\n", 0, exc.start) + 1
        column = len(content[line_start : exc.start].decode("utf-8-sig", "replace")) + 1
        line = content.count(b"\n", 0, exc.start) + 1
        return _unreadable(path, "not UTF-8; save the file in that encoding", line, column)
    del content  # a large file is not kept twice
    if rewrite is not None:
        text = rewrite(text)
    text = join_surrogates(text)
    try:
        data = _parse(text, partial(interpolate, env=env), clear=clear)
    except (NotPlain, Unresolved):
        return _with_places(path, text, env, clear=clear)
    return Document(file=path, data=data, text=text)


def _parse(text: str, fill: Callable[[str], str], *, clear: bool) -> Any:
    """Return the data in the fastest way there is. Raises NotPlain and Unresolved."""
    if not clear:
        with contextlib.suppress(NotPlain):
            return parse_list(text, fill)
    return parse_plain(text, fill, clear=clear)


def _with_places(path: Path, text: str, env: Mapping[str, str], *, clear: bool) -> Document:
    try:
        root = tree.parse(text)
    except tree.TreeError as exc:
        shown = excerpt(text, exc.line, exc.column, keys=known_keys())
        return _unreadable(path, exc.message, exc.line, exc.column, shown)
    if root is None:
        return Document(file=path)
    filling = _Filling(path, env, clear=clear)
    data, problems = filling.value(root, ()), tuple(filling.problems)
    return Document(file=path, data=data, parsed=root, problems=problems, broken=frozenset(filling.broken))


def _unreadable(path: Path, message: str, line: int = 0, column: int = 0, shown: tuple[str, ...] = ()) -> Document:
    problem = Problem(file=str(path), line=line, column=column, key="", message=message, excerpt=shown)
    return Document(file=path, problems=(problem,))


class _Filling:
    """Turns nodes into plain data and collects the problems."""

    def __init__(self, path: Path, env: Mapping[str, str], *, clear: bool) -> None:
        self._clear = clear
        self._file = str(path)
        self._env = env
        self.problems: list[Problem] = []
        self.broken: set[int] = set()
        self._seen: set[tuple[int, int, str]] = set()

    def value(self, node: tree.Node, location: Location) -> Any:
        """Return a node's value; recursion is bounded by tree.MAX_DEPTH."""
        match node:
            case tree.Scalar():
                return self._scalar(node, location)
            case tree.Sequence():
                return [self.value(item, (*location, index)) for index, item in enumerate(node.items)]
            case tree.Mapping():
                for entry in node.repeated:
                    first = node.entries[entry.key].line
                    self._report(f"duplicate key; first on line {first}", entry, (*location, entry.key))
                return {key: self.value(entry.value, (*location, key)) for key, entry in node.entries.items()}

    def _scalar(self, node: tree.Scalar, location: Location) -> Any:
        try:
            text = interpolate(node.text, self._env)
        except Unresolved as exc:
            for message in exc.messages:
                self._report(message, node, location)
            self.broken.add(id(node))
            return BROKEN
        value = resolve(text) if node.plain and not isinstance(text, Interpolated) else text
        if self._clear and location and isinstance(value, Unclear):
            self._report(f"{got(value)} unquoted can be read in several ways; put it in quotes", node, location)
        return value

    def _report(self, message: str, at: tree.Scalar | tree.Entry, location: Location) -> None:
        if (at.line, at.column, message) not in self._seen:  # otherwise it is the same node, reached by an alias
            self._seen.add((at.line, at.column, message))
            key = key_path(location)
            self.problems.append(Problem(file=self._file, line=at.line, column=at.column, key=key, message=message))


class Unresolved(Exception):
    """Variables of a text cannot be filled in. The messages name variables, never values."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Fill in the variables; a text that has any becomes Interpolated. Raises Unresolved with every fault."""
    if "${" not in text:
        return text
    faults: list[str] = []
    used = False

    def replace(reference: re.Match[str]) -> str:
        nonlocal used
        if reference["escaped"]:
            return reference[0][1:]
        name, default = reference["name"], reference["default"]
        if name is None:
            faults.append("`${` begins no variable such as ${NAME} or ${NAME:-default}; write $${ for a literal ${")
            return ""
        used = True
        value = env.get(name)
        if default is not None and "${" in default:
            faults.append(f"the default of {name} holds another variable; a default is plain text")
        if default is not None:
            return value or str(default[2:])
        if value is None:
            faults.append(f"environment variable {name} is not set; set it, or write ${{{name}:-default}}")
            return ""
        if any("\ud800" <= character <= "\udfff" for character in value):
            faults.append(f"environment variable {name} is not valid UTF-8")
        return value

    result = _REFERENCE.sub(replace, text)
    if faults:
        raise Unresolved(list(dict.fromkeys(faults)))
    return Interpolated(result) if used else result
