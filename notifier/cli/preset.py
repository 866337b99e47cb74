"""Commands for the built-in descriptions of providers: preset list|show."""

from __future__ import annotations

from typing import Annotated

import typer

from notifier.cli.client import JsonOption
from notifier.cli.complete import preset_names
from notifier.cli.output import EXIT_FAILED, fail, show, show_json, show_table

preset = typer.Typer(help="See the built-in presets, the descriptions of providers.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(preset, name="preset")


@preset.command("list")
def list_presets(as_json: JsonOption = False) -> None:
    """List the built-in presets.

    Example: notifier preset list
    """
    from notifier.sources.preset import load, names

    loaded = {name: load(name) for name in names()}
    if as_json:
        items = [
            {"name": name, "title": one.title, "transport": one.transport, "experimental": one.experimental}
            for name, one in loaded.items()
        ]
        show_json({"items": items, "next": None})
        return
    show_table(
        ("preset", "transport", "provider", "note"),
        [
            (name, one.transport, one.title, "experimental" if one.experimental else None)
            for name, one in loaded.items()
        ],
        empty="no presets",
        cut=("provider", "note"),
        drop=("note",),
    )


@preset.command("show")
def show_preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The preset's name.", autocompletion=preset_names)],
    as_json: JsonOption = False,
) -> None:
    """Print a preset as it is written, with its sources. A source may override any of its fields.

    Example: notifier preset show runway
    """
    from notifier.sources.preset import names, raw, written

    if name not in names():
        fail(f"there is no preset {name}; `notifier preset list` lists them", EXIT_FAILED)
    if as_json:
        show_json({"name": name, **raw(name)})
        return
    for line in written(name).splitlines():
        show(line)
