"""Every room has a front door: its `__init__` lists what other rooms may import, names or whole modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

import notifier

ROOT = Path(notifier.__file__).parent
NAMED = 110  # lines of a module that the docstring of its room names
LONGEST = 400  # lines of a file; about 300 is usual
# Why a file is longer. A class is never cut for it: its pieces would call each other back.
REASONS = {
    "deliver/destination.py": "one class: a destination's queue, breaker, rate and workers share private state",
}
OPENERS = ("Say whether", "Hear that", "Make ready")  # in plain English: Return whether, Record that, Create or Prepare


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the room and the module or name behind its door, of every import from a room of the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("notifier."):
            continue
        _, room, *inside = (node.module or "").split(".")
        yield from ((room, inside[0] if inside else alias.name) for alias in node.names)


def test_rooms_import_each_other_through_the_front_door() -> None:
    """Who looks for what a room offers finds all of it in one list."""
    around = [
        f"{path.relative_to(ROOT)} imports {room}.{name}"
        for path in sorted(ROOT.rglob("*.py"))
        for room, name in _imports(path)
        if room != path.relative_to(ROOT).parts[0] and name not in import_module(f"notifier.{room}").__all__
    ]
    assert not around


def test_a_room_says_where_things_are() -> None:
    """A newcomer finds the module of a subject in the docstring of its room, which names no module that is gone."""
    for room in (path.parent for path in ROOT.glob("*/__init__.py")):
        named = re.findall(r"`([\w*]+(?:/|/\w+\.py)?)`", import_module(f"notifier.{room.name}").__doc__ or "")
        assert named, f"{room.name} names none of its modules"
        missing = [
            name
            for name in named
            if not (ROOT / name).exists()
            and not any(room.rglob(name.rstrip("/")))
            and not any(room.rglob(f"{name}.py"))
        ]
        assert not missing, room.name


def test_a_room_names_every_module_of_some_length() -> None:
    """In `cli` the commands' own names lead to them."""
    for room in (path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "cli"):
        named = re.findall(r"`([\w*]+)`", import_module(f"notifier.{room.name}").__doc__ or "")
        lengths = {path.stem: len(path.read_bytes().splitlines()) for path in room.glob("[!_]*.py")}
        unnamed = [
            name for name, lines in lengths.items() if lines >= NAMED and not any(fnmatch(name, each) for each in named)
        ]
        assert not unnamed, room.name


def test_the_root_is_a_hall_without_furniture() -> None:
    """What stands in the root belongs to no layer."""
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_a_file_of_more_than_four_hundred_lines_has_a_reason() -> None:
    """A reason for a file that is shorter again is out of date."""
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_bytes().splitlines()) for path in ROOT.rglob("*.py")}
    assert {name for name, count in lines.items() if count > LONGEST} == set(REASONS)


def test_docstrings_open_in_plain_english() -> None:
    """Those of the tests as well: who reads one should not have to read it twice."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        f"{path.relative_to(ROOT.parent)}:{getattr(node, 'lineno', 1)}"
        for folder in ("notifier", "tests", "bench")
        for path in sorted((ROOT.parent / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, documented) and (ast.get_docstring(node) or "").startswith(OPENERS)
    ]
    assert not found
