"""Reads the ids on a command line, and finds the watch that a command names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from typer import TyperException
from typer.core import TyperCommand

from notifier.cli.client import Denied

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession


class IdCommand(TyperCommand):
    """A command that takes ids. Where an id looks like an unknown option, the refusal says how to write it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except TyperException as exc:
            option = getattr(exc, "option_name", None)  # of an unknown option, for whose kind typer offers no name
            if option is not None and not getattr(exc, "possibilities", None):
                word = next((word for word in words if word.startswith(option)), option)
                exc.message += f"; an id that begins with - stands after --: {ctx.command_path} -- {word}"
            raise


def find(daemon: DaemonSession, name: str) -> dict[str, Any]:
    """Return a watch by SOURCE/ID, or by its id if only one source has it. Raises Denied."""
    source, slash, task = name.partition("/")
    if slash and source and task:
        try:
            return dict(daemon.ask("GET", path_of(source, task)))
        except Denied as exc:
            if exc.status != 404:
                raise
    page = daemon.ask("GET", "/v1/watches", query=[("q", name), ("limit", "1000")])
    same = [item for item in page["items"] if item["id"] == name]
    if not same:
        raise Denied(404, f"there is no watch {name}")
    if len(same) > 1:
        raise Denied(409, f"say which: {', '.join(sorted(map(name_of, same)))}")
    return dict(daemon.ask("GET", path_of(same[0]["source"], name)))


def path_of(source: str, task: str) -> str:
    """Return the path of a watch in the API."""
    return f"/v1/watches/{quote(source, safe='')}/{quote(task, safe='')}"


def name_of(item: dict[str, Any]) -> str:
    """Return the name of a watch in the API's form, SOURCE/ID."""
    return f"{item['source']}/{item['id']}"
