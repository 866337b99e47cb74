"""A configuration in a directory of its own, with the secrets that the samples ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from notifier.config import Config, ConfigError, Problem, load

# Standard Webhooks 1.0.0, test vector of the reference libraries
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# ed25519 key of Svix's test vector
WHSK = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="


@dataclass
class Site:
    """A directory with a configuration, and the environment that it is read in."""

    directory: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.directory / "config.yaml"

    def write(self, text: str | bytes, name: str = "config.yaml") -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(self, text: str | bytes) -> Config:
        return load(self.write(text), env=self.env)

    def problems(self, text: str | bytes) -> tuple[Problem, ...]:
        """Return what is wrong with the text; it is an error if nothing is."""
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        return caught.value.problems

    def said(self, text: str | bytes) -> list[str]:
        """Return what is wrong, without the directory."""
        return [str(problem).replace(f"{self.directory}/", "") for problem in self.problems(text)]

    def attempt(self, text: str | bytes) -> tuple[Problem, ...]:
        """Return what is wrong with a text that may be well; any other error than ConfigError comes through."""
        try:
            self.load(text)
        except ConfigError as exc:
            return exc.problems
        return ()
