"""Parses YAML into a tree in which every key and value keeps its place. No text can make the tree large, deep or slow.

The tree is built from parser events, not by `yaml.compose`: PyYAML's composer recurses in C and dies on deep nesting.
Anchors, aliases and merge keys work, and the nodes that aliases multiply are counted. Custom tags are refused. This
module knows nothing of variables or of the meaning of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from notifier.config.excerpt import LINE_BREAK
from notifier.config.syntax import PARSER, explain_syntax

MAX_DEPTH = 64  # deeper than any configuration, and safe for recursion over the tree
LOADER: Any = PARSER
MAX_ALIASED = 100_000  # nodes that aliases and merges may add; "billion laughs" needs far more

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_CORE + name for name in ("null", "bool", "int", "float")}
# YAML 1.1, section 5.1
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PART = 1 << 16  # characters that are copied at a time: a text may be large
_PRINTABLE_ASCII = bytes((0x09, 0x0A, 0x0D, *range(0x20, 0x7F)))
_REFERENCE = re.compile(r"""\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^{}"'\n]*)?\}""")


class TreeError(Exception):
    """The text is not YAML that can be read. Parsing stopped here; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A leaf, as written."""

    text: str
    plain: bool  # unquoted
    line: int
    column: int
    size: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int
    size: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key of a mapping with its value."""

    key: str
    line: int
    column: int
    value: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Keys and values; the first of a repeated key counts."""

    entries: dict[str, Entry]
    repeated: tuple[Entry, ...]
    line: int
    column: int
    size: int
    height: int


Node = Scalar | Sequence | Mapping


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read."""

    event: Any
    children: list[Node] = field(default_factory=list)


def parse(text: str) -> Node | None:
    """Build the tree; None for a text without content. Raises TreeError at the first fault of the syntax."""
    if fault := unprintable(text):
        before = text[: fault.start()]
        breaks = list(LINE_BREAK.finditer(before))
        column = len(before) - (breaks[-1].end() if breaks else 0) + 1
        raise TreeError(f"unprintable character U+{ord(fault[0]):04X}", len(breaks) + 1, column)
    text, restore = protect(text)
    try:
        return _Composer(restore).compose(yaml.parse(text, Loader=LOADER))
    except yaml.YAMLError as exc:
        raise TreeError(*explain_syntax(text, exc)) from exc


def unprintable(text: str) -> re.Match[str] | None:
    """Find the first character that YAML forbids. An ASCII text without any takes a tenth of the pattern's time."""
    parts = (text[at : at + _PART] for at in range(0, len(text), _PART))
    if text.isascii() and not any(part.encode().translate(None, delete=_PRINTABLE_ASCII) for part in parts):
        return None
    return _UNPRINTABLE.search(text)


def protect(text: str) -> tuple[str, dict[int, str]]:
    """Replace the braces of `${NAME}`, which YAML forbids unquoted inside `{...}`, by placeholders of the same length.

    The placeholders are two private characters that the text contains neither directly nor as an escape; a table for
    `str.translate` restores the braces. A text without `${` is returned as it is.
    """
    if "${" not in text:
        return text, {}
    lowered = text.lower()
    free = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text and f"{code:x}" not in lowered)
    opening, closing = next(free, None), next(free, None)
    if opening is None or closing is None:
        return text, {}
    protected = _REFERENCE.sub(lambda match: f"${opening}{match[0][2:-1]}{closing}", text)
    return protected, {ord(opening): "{", ord(closing): "}"}


def _fault(message: str, event: Any) -> TreeError:
    return TreeError(message, event.start_mark.line + 1, event.start_mark.column + 1)


class _Composer:
    """Turns parser events into nodes, with an explicit stack."""

    def __init__(self, restore: dict[int, str]) -> None:
        self._restore = restore
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}  # None: still open
        self._aliased = 0
        self._root: Node | None = None

    def compose(self, events: Iterator[Any]) -> Node | None:
        """Read every event and return the root."""
        for event in events:
            match event:
                case yaml.ScalarEvent():
                    self._add(event, self._scalar(event))
                case yaml.AliasEvent():
                    self._add(event, self._alias(event))
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self._open(event)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    opened = self._stack.pop()
                    make = _sequence if isinstance(event, yaml.SequenceEndEvent) else self._mapping
                    self._add(opened.event, make(opened))
                case yaml.DocumentStartEvent() if self._root is not None:
                    raise _fault("a second document begins here; keep one", event)
                case _:
                    pass
        return self._root

    def _add(self, event: Any, node: Node) -> None:
        if getattr(event, "anchor", None) is not None and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = node
        if self._stack:
            self._stack[-1].children.append(node)
        else:
            self._root = node

    def _open(self, event: Any) -> None:
        kind = _CORE + ("seq" if isinstance(event, yaml.SequenceStartEvent) else "map")
        if event.tag not in (None, "!", kind):
            raise _fault("tags (`!...`) are not supported", event)
        if len(self._stack) >= MAX_DEPTH:
            raise _fault(f"nested more than {MAX_DEPTH} levels deep", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(event))

    def _scalar(self, event: Any) -> Scalar:
        plain = not event.style
        if event.tag in _PLAIN_TAGS:
            plain = True
        elif event.tag in ("!", _CORE + "str"):
            plain = False
        elif event.tag is not None:
            raise _fault("tags (`!...`) are not supported; quote a text that begins with `!`", event)
        text = event.value.translate(self._restore)
        return Scalar(text=text, plain=plain, line=event.start_mark.line + 1, column=event.start_mark.column + 1)

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            # the message does not show the name, which may be a secret that begins with `*`
            raise _fault("no anchor of this name before it; quote a text that begins with `*`", event)
        node = self._anchors[event.anchor]
        if node is None:
            raise _fault("this alias stands inside of what it refers to", event)
        self._spend(node.size, event)
        if len(self._stack) + node.height > MAX_DEPTH:
            raise _fault(f"nested more than {MAX_DEPTH} levels deep through aliases", event)
        return node

    def _spend(self, nodes: int, event: Any) -> None:
        self._aliased += nodes
        if self._aliased > MAX_ALIASED:
            raise _fault(f"aliases add more than {MAX_ALIASED} values", event)

    def _mapping(self, opened: _Open) -> Mapping:
        entries: dict[str, Entry] = {}
        repeated: list[Entry] = []
        merges: list[Node] = []
        children = iter(opened.children)
        for key, value in zip(children, children, strict=True):
            if not isinstance(key, Scalar):
                raise TreeError("a key must be text; quote a value that begins with `{` or `[`", key.line, key.column)
            if key.plain and key.text == "<<":
                merges.extend(value.items if isinstance(value, Sequence) else (value,))
                continue
            entry = Entry(key=key.text, line=key.line, column=key.column, value=value)
            if key.text in entries:
                repeated.append(entry)
            else:
                entries[key.text] = entry
        for merge in merges:  # the first of several counts, and the mapping's own keys come before all
            if not isinstance(merge, Mapping):
                raise TreeError("`<<` takes a mapping or a list of mappings", merge.line, merge.column)
            self._spend(len(merge.entries), opened.event)
            entries |= {key: entry for key, entry in merge.entries.items() if key not in entries}
        return Mapping(entries=entries, repeated=tuple(repeated), **_measures(opened, opened.children))


def _sequence(opened: _Open) -> Sequence:
    return Sequence(items=tuple(opened.children), **_measures(opened, opened.children))


def _measures(opened: _Open, children: list[Node]) -> dict[str, int]:
    mark = opened.event.start_mark
    return {
        "line": mark.line + 1,
        "column": mark.column + 1,
        "size": 1 + sum(child.size for child in children),
        "height": 1 + max((child.height for child in children), default=0),
    }
