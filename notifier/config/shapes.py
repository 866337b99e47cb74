"""Parses a long list of watches by the shapes of its entries, several times faster than a YAML parser does.

The entries of a long list differ in a few words. An entry without these words is its *shape*. Each shape is parsed
once, with markers in the place of the words, and every entry of that shape is made from the result.

A word is letters, digits and a few signs that mean nothing to YAML, so that a marker is read as it is, wherever it
stands. A text in double quotes without escapes is a word too, if the parser finds exactly its marker in such quotes.
Keys belong to the shape. Everything else, every mistake included, is left to the slower ways, which give the same data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import yaml

from notifier.config import tree
from notifier.config.packed import Packed
from notifier.config.plain import LIST, NotPlain, build, parse_plain
from notifier.config.scalars import resolve

MIN_LENGTH = 1 << 16  # characters; a shorter text is soon parsed in any way
MAX_SHAPES = 1000  # a list with more of them is no list of like entries
FEW = 100  # shapes that may each serve one entry only
REPEATED = 4  # entries that a shape has to serve beyond that, on average

_INNER = r"[^\"\\\n\r\t\x85\u2028\u2029$]*"
_BARE = r"\w[\w.@/+-]*+"
_WORD = re.compile(rf"""((?<=[\s,\[{{:-])"{_INNER}"(?![ ]*:)|{_BARE}(?!["']?[ ]*:))""")
_MARKER = re.compile("Qzv([0-9]+)Q")  # nothing but text for any reader
_BLANK = r"(?:[ ]*(?:#[^\n]*)?\n)*"  # blank lines and comments
_BEGIN = re.compile(rf"(?:{_BLANK}---[ ]*\n)?")
_ENTRY = re.compile(rf"{_BLANK}([ ]*)- ")  # the first one
_SECTION = re.compile(rf"^{LIST}:[ ]*(?:#[^\n]*)?\n", re.MULTILINE)
_AFTER = re.compile(r"^[^\s#-]", re.MULTILINE)  # the line that follows the section
_MAPPING = re.compile(rf"{_BLANK}(?:[A-Za-z_]|\Z)")  # keys in the first column
_ODD_BREAKS = "\x85\u2028\u2029"  # the patterns know one kind of line
_DOCUMENT = ("---", "...", "%")  # what begins a line of another document, or a directive


class _Word(int):
    """The number of a word that is the whole of a quoted text."""

    __slots__ = ()


class _BareWord(int):
    """The number of a word that is the whole of an unquoted text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Text:
    """Any other text, with markers in the place of its words."""

    marked: str
    plain: bool  # unquoted


_Maker = Callable[[Sequence[str]], Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Entries that differ in their words alone."""

    pattern: re.Pattern[str]  # of such an entry up to the next one; its groups are the words
    items: Sequence[_Maker]  # of what such an entry holds, given its words


def parse_list(text: str, fill: Callable[[str], str]) -> Any:
    """Return the data of a text that is a long list, or a mapping with one under the key `watches`.

    The list is Packed. `fill` replaces the variables of texts around it. Raises NotPlain for any other text, and what
    `fill` raises.
    """
    if len(text) < MIN_LENGTH or tree.unprintable(text) or _has_odd_breaks(text):
        raise NotPlain
    begin = _match(_BEGIN, text, 0).end()
    if text.startswith(_DOCUMENT, begin) or any(text.find(f"\n{mark}", begin) >= 0 for mark in _DOCUMENT):
        raise NotPlain
    if (entry := _ENTRY.match(text, begin)) is not None:
        return _entries(text, entry.start(1), len(text), entry[1], depth=0)
    section = _SECTION.search(text, begin)
    if section is None:
        raise NotPlain
    after = _AFTER.search(text, section.end())
    end = len(text) if after is None else after.start()
    entry = _match(_ENTRY, text, section.end())
    around = _mapping(text[begin : section.start()], fill), _mapping(text[end:], fill)
    if around[0].keys() & around[1].keys() or any(LIST in part for part in around):
        raise NotPlain
    return around[0] | {LIST: _entries(text, entry.start(1), end, entry[1], depth=1)} | around[1]


def _has_odd_breaks(text: str) -> bool:
    """Return whether a line ends by anything but a line feed, alone or behind a carriage return."""
    alone = text.count("\r") != text.count("\r\n")
    return alone or any(each in text for each in _ODD_BREAKS)


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = pattern.match(text, at)
    if found is None:
        raise NotPlain
    return found


def _mapping(text: str, fill: Callable[[str], str]) -> dict[str, Any]:
    """Return the data of a part of the text, which has to be complete."""
    _match(_MAPPING, text, 0)
    data = parse_plain(text, fill, clear=False)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise NotPlain
    return data


def _entries(text: str, begin: int, end: int, indentation: str, *, depth: int) -> Packed[Any]:
    """Read the entries between two places. Each begins at a line like the first; `depth` containers are around them."""
    items: Packed[Any] = Packed()
    shapes: dict[str, _Shape] = {}
    shape: _Shape | None = None
    count = 0
    while begin < end:
        match = None if shape is None else shape.pattern.match(text, begin, end)
        if shape is None or match is None:
            following = text.find(f"\n{indentation}- ", begin, end)
            entry = text[begin : end if following < 0 else following + 1]
            without = _WORD.sub(_blanked, entry)
            shape = shapes.get(without)
            if shape is None:
                if len(shapes) >= MAX_SHAPES or len(shapes) > FEW + count / REPEATED:
                    raise NotPlain
                shape = shapes[without] = _shape(entry, indentation, depth)
            match = _match(shape.pattern, entry, 0)
            begin += len(entry)
        else:
            begin = match.end()
        count += 1
        words = match.groups()
        for made in shape.items:
            items.append(made(words))
    return items


def _blanked(word: re.Match[str]) -> str:
    return '"\0"' if word[0][0] == '"' else "\0"


def _shape(entry: str, indentation: str, depth: int) -> _Shape:
    """Parse an entry with markers in the place of its words."""
    if "${" in entry or "Qzv" in entry:
        raise NotPlain
    parts = _WORD.split(entry)
    quoted = [word[0] == '"' for word in parts[1::2]]

    def read(event: Any, inside: bool) -> Any:
        del inside
        value = event.value
        if "Qzv" not in value:
            return value if event.style else resolve(value)
        alone = _MARKER.fullmatch(value)
        if alone is not None and event.style == '"':
            return _Word(alone[1])
        if any(quoted[int(number)] for number in _MARKER.findall(value)):
            raise NotPlain  # what looks like a text in quotes is none
        if alone is None:
            return _Text(value, plain=not event.style)
        return _Word(alone[1]) if event.style else _BareWord(alone[1])

    marked, pattern = [], []
    for number, part in enumerate(parts[::2]):
        marked.append(part)
        pattern.append(re.escape(part))
        if number < len(quoted):
            marked.append(f'"Qzv{number}Q"' if quoted[number] else f"Qzv{number}Q")
            pattern.append(f'"({_INNER})"' if quoted[number] else f"({_BARE})")
    loader = tree.LOADER("".join(marked))
    try:
        items = build(loader.get_event, read, {}, deepest=tree.MAX_DEPTH - depth)
    except yaml.YAMLError as exc:
        raise NotPlain from exc
    finally:
        loader.dispose()
    if not isinstance(items, list) or not _keys_are_fixed(items):
        raise NotPlain
    return _Shape(re.compile("".join(pattern) + rf"(?={indentation}- |\Z)"), list(map(_maker, items)))


def _keys_are_fixed(value: Any) -> bool:
    if type(value) is dict:
        return not any("Qzv" in key for key in value) and all(map(_keys_are_fixed, value.values()))
    return type(value) is not list or all(map(_keys_are_fixed, value))


def _maker(value: Any) -> _Maker:
    """Return the function that makes a value of a shape, given the words of an entry."""
    kind = type(value)
    if kind is _Word:
        return itemgetter(int(value))
    if kind is _BareWord:
        return lambda words: resolve(words[value])
    if kind is _Text:
        return partial(_text, value)
    if kind is dict:
        entries = [(key, _maker(item)) for key, item in value.items()]
        return lambda words: {key: made(words) for key, made in entries}
    if kind is list:
        items = list(map(_maker, value))
        return lambda words: [made(words) for made in items]
    return lambda _: value


def _text(text: _Text, words: Sequence[str]) -> Any:
    filled = _MARKER.sub(lambda marker: words[int(marker[1])], text.marked)
    return resolve(filled) if text.plain else filled
