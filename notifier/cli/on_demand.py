"""The commands by name, each loaded when it is asked for: loading all takes longer than most of them take to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

# The module of each command in this room, in the order of the help.
MODULES = {
    "init": "init",
    "run": "daemon",
    "check": "daemon",
    "migrate": "daemon",
    "schema": "daemon",
    "reload": "daemon",
    "status": "status",
    "sign": "secrets",
    "verify": "secrets",
    "demo": "tools",
    "simulate": "tools",
    "listen": "tools",
    "watch": "watch",
    "export": "export",
    "delivery": "delivery",
    "endpoint": "endpoint",
    "mute": "mute",
    "node": "node",
    "preset": "preset",
    "source": "source",
    "secret": "secrets",
}


class Commands(Mapping[str, Any]):
    """The commands by name."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            app = typer.Typer(rich_markup_mode=None)
            app.callback()(lambda: None)  # with it, a single command is one of a group as well
            import_module(f"notifier.cli.{MODULES[name]}").register(app)
            self._loaded |= get_group(app).commands
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


class CommandsOnDemand(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands()  # type: ignore[assignment]  # nothing is added to it

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # of the base
        """Return the names; the base would load every command."""
        return list(self.commands)
