"""Commands for the nodes that share a store: node list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.complete import node_names
from notifier.cli.output import fail, printable, show, show_json, show_table, span

COLUMNS = ("node", "number", "state", "watches", "streams", "under way", "up", "seen", "version", "address")
CUT = ("address", "node")
DROP = ("up", "seen", "under way", "version", "number", "streams")  # on a narrow terminal, the least useful first

Node = Mapping[str, Any]

node = typer.Typer(help="See the nodes that share the store.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(node, name="node")


@node.command("list")
def list_nodes(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these nodes.", autocompletion=node_names)
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the nodes that share the store; * marks the one that was asked.

    An alive node works; one that is not ready says why. A leaving one has handed over its watches and stops. A dead one
    has sent no heartbeat for node.timeout, and others take over. unknown: the node that was asked is itself cut off.

    Example: notifier node list
    """
    page = connect(url, token, config).get("/v1/nodes")
    now = time_of(page["items"])
    if names:
        page["items"] = [item for item in page["items"] if item["name"] in names]
        if missing := sorted(set(names) - {item["name"] for item in page["items"]}):
            fail(f"there is no node {', '.join(missing)}")
    if as_json:
        show_json(page)
        return
    show_table(COLUMNS, rows(page["items"], now), empty="no nodes", cut=CUT, drop=DROP)
    for item in page["items"]:
        if item["reason"]:
            show(f"{printable(item['name'])}: {printable(item['reason'])}")


def time_of(items: Iterable[Node]) -> datetime:
    """Return the time by the clock of all nodes as the one that answers sees it: this machine's may be another."""
    return next(datetime.fromisoformat(item["seen_at"]) for item in items if item["this"])


def rows(items: Iterable[Node], now: datetime) -> list[Sequence[object]]:
    """Return a row for each node; `now`: the time by their clock."""
    return [
        (
            f"{item['name']} *" if item["this"] else item["name"],
            item["number"],
            state(item),
            item["watches"],
            item["streams"],
            item["deliveries"],
            _since(item["started_at"], now),
            "now" if item["this"] else f"{_since(item['seen_at'], now)} ago",
            item["version"],
            item["http"],
        )
        for item in sorted(items, key=lambda item: (str(item["name"]), int(item["number"])))
    ]


def state(item: Node) -> Text:
    """Return a node's state in a word."""
    if item["alive"] is None:
        return Text("unknown", style="yellow")
    if not item["alive"]:
        return Text("dead", style="red")
    if item["leaving"]:
        return Text("leaving", style="yellow")
    return Text("not ready", style="red") if item["ready"] is False else Text("alive", style="green")


def _since(at: str, now: datetime) -> str:
    return span(max(0.001, (now - datetime.fromisoformat(at)).total_seconds()))
