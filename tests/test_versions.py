"""One version number; CHANGELOG.md and docs/upgrading.md know it, and every change of the tables."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path

from notifier import __version__

ROOT = Path(__file__).parent.parent
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
NOTES = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
MIGRATIONS = ROOT / "notifier" / "store" / "migrations" / "versions"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def released() -> dict[str, date]:
    """Return the versions that CHANGELOG.md has sections for, as they follow each other, with their dates."""
    found = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", CHANGELOG, re.MULTILINE)
    return {version: date.fromisoformat(day) for version, day in found}


def notes() -> dict[str, str]:
    """Return the schema of each version that docs/upgrading.md has a note of."""
    return dict(re.findall(r"^\| (\d+\.\d+\.\d+|unreleased) \| (\d{4}) \|", NOTES, re.MULTILINE))


def test_the_number_stands_in_one_place() -> None:
    """The package's metadata are made from it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"] == {"path": "notifier/__init__.py"}


def test_the_changelog_has_what_is_unreleased_first_and_then_each_version() -> None:
    heads = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    versions = list(released())
    assert heads[0] == "[Unreleased]"
    assert len(heads) == len(versions) + 1
    assert versions[0] == __version__
    assert versions == sorted(versions, key=numbers, reverse=True)
    assert list(released().values()) == sorted(released().values(), reverse=True)


def test_each_version_has_its_note() -> None:
    assert set(released()) <= set(notes())


def test_each_change_of_the_tables_has_its_note() -> None:
    """Whoever adds a migration says, in the row `unreleased`, whether old and new nodes go together."""
    newest = max(path.name[:4] for path in MIGRATIONS.glob("[0-9]*.py"))
    assert max(notes().values()) == newest
