"""The configuration in force, and the changes that a new one brings, by the names that its owner gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from notifier.config.model import Config
from notifier.config.problems import Problem

FIXED = ("store.url", "http.listen", "tracing", "node", "loop")  # keys that a reload cannot change
_NAMED = {"sources": "source", "presets": "preset", "endpoints": "endpoint"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanges:
    """The differences between two configurations, except their watches."""

    added: tuple[str, ...] = ()  # such as `endpoint app`
    changed: tuple[str, ...] = ()  # also sections and keys, such as `log`
    removed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()  # keys that differ from those the daemon was started with


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNow(Problem):
    """A reason for a refused reload that says nothing about the files: they may be good."""


class ConfigInForce:
    """Holds the configuration; a reload replaces it as a whole."""

    __slots__ = ("changes", "config", "warnings", "watches")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.changes = ConfigChanges()  # by the last reload
        self.warnings: Sequence[str] = ()  # of the last reload
        self.watches: Mapping[str, int] = {}  # numbers of those that it added, changed, removed and left as they were


def compare(before: Config, after: Config, *, started: Config) -> ConfigChanges:
    """Return the differences between the configuration before a reload and the one after it."""
    pairs = dict(_pairs(before, after))
    return ConfigChanges(
        added=tuple(name for name, (old, new) in pairs.items() if old is None),
        changed=tuple(name for name, (old, new) in pairs.items() if None not in (old, new) and old != new),
        removed=tuple(name for name, (old, new) in pairs.items() if new is None),
        needs_restart=tuple(key for key in FIXED if _part(after, key) != _part(started, key)),
    )


def _pairs(before: Config, after: Config) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield each part with its old and its new value; None: it is not there."""
    for section, kind in _NAMED.items():
        old: Mapping[str, Any] = getattr(before, section)
        new: Mapping[str, Any] = getattr(after, section)
        for name in {**old, **new}:
            yield f"{kind} {name}", (old.get(name), new.get(name))
    for key in Config.model_fields:
        if key != "watches" and key not in _NAMED:
            yield key, (_Value(getattr(before, key)), _Value(getattr(after, key)))


@dataclass(frozen=True, slots=True)
class _Value:
    """The value of a key that is always there, also where it is null."""

    value: Any


def _part(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value
