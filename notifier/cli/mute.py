"""Commands for mutes: mute add|list|remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.complete import endpoint_names, label_pairs, mute_ids
from notifier.cli.output import EXIT_USAGE, fail, printable, show, show_json, show_table, when
from notifier.cli.watch_input import read_pairs

if TYPE_CHECKING:
    from notifier.cli.session import DaemonSession

mute = typer.Typer(help="Silence endpoints that people read, for a while.", no_args_is_help=True)

Labels = Annotated[
    list[str],
    typer.Option(
        "--label",
        "-l",
        metavar="NAME=VALUE",
        help="Only for tasks with this label; may be repeated.",
        autocompletion=label_pairs,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(mute, name="mute")


@mute.command("add")
def add(
    endpoint: Annotated[
        str | None,
        typer.Argument(metavar="ENDPOINT", help="Default: all that people read.", autocompletion=endpoint_names),
    ] = None,
    label: Labels = [],
    lasting: Annotated[str | None, typer.Option("--for", metavar="TIME", help="How long, such as 30m or 2h.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Its end, such as 2026-11-22T06:00:00Z.")] = None,
    comment: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for others who look.")] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Silence an endpoint of type slack or apprise, wholly or for tasks with certain labels.

    Events of that time are never sent to it, not even afterwards. Webhooks cannot be muted: programs rely on them.

    Example: notifier mute add ops --label team=video --for 2h
    """
    if (lasting is None) == (until is None):
        fail("say either --for, such as 2h, or --until, such as 2026-11-22T06:00:00Z", code=EXIT_USAGE)
    wanted: dict[str, Any] = {
        "endpoint": endpoint,
        "labels": read_pairs(label),
        "for": lasting,
        "until": until,
        "comment": comment,
    }
    body = {key: value for key, value in wanted.items() if value is not None}
    added = connect(url, token, config).post("/v1/mutes", body)
    show_json(added) if as_json else show(f"{printable(added['id'])}: {_whom(added)} until {when(added['until'])}")


@mute.command("list")
def list_mutes(
    config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False
) -> None:
    """List the mutes that last.

    Example: notifier mute list
    """
    page = connect(url, token, config).get("/v1/mutes")
    if as_json:
        show_json(page)
        return
    show_table(
        ("id", "endpoint", "labels", "until", "comment"),
        [
            (item["id"], item["endpoint"] or "all", _labels(item) or None, when(item["until"]), item["comment"])
            for item in page["items"]
        ],
        empty="no mutes",
        cut=("comment", "labels"),
    )


@mute.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="ID", help="The mute's id.", autocompletion=mute_ids)],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a mute. Events that it has muted are not sent.

    Example: notifier mute remove mute_0123456789
    """

    def work(daemon: DaemonSession) -> None:
        daemon.ask("DELETE", f"/v1/mutes/{quote(name, safe='')}")

    connect(url, token, config).run(work)
    show_json({"id": name, "removed": True}) if as_json else show(f"{printable(name)} is over")


def _whom(item: dict[str, Any]) -> str:
    labels = _labels(item)
    whom = f"{printable(item['endpoint'])} is" if item["endpoint"] else "all that people read is"
    return f"{whom} muted for tasks with {labels}" if labels else f"{whom} muted"


def _labels(item: dict[str, Any]) -> str:
    return ", ".join(f"{printable(key)}={printable(value)}" for key, value in item["labels"].items())
