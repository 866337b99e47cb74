"""The configuration in force, for readers that have to see each reload."""

from __future__ import annotations

from collections.abc import Mapping

from notifier.config.changes import ConfigChanges
from notifier.config.model import Config


class NotNow(str):
    """A reason for a refused reload that says nothing about the files: they may be good."""

    __slots__ = ()


class ConfigInForce:
    """Holds the configuration; a reload replaces it as a whole."""

    __slots__ = ("changes", "config", "watches")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.changes = ConfigChanges()  # by the last reload
        self.watches: Mapping[str, int] = {}  # numbers of those that it added, changed, removed and left as they were
