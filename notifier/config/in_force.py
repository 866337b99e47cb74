"""The configuration in force, for readers that have to see each reload."""

from __future__ import annotations

from notifier.config.model import Config


class ConfigInForce:
    """Holds the configuration; a reload replaces it as a whole."""

    __slots__ = ("config",)

    def __init__(self, config: Config) -> None:
        self.config = config
