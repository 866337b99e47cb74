"""Commands for deliveries: delivery list|show|retry."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.complete import dead_deliveries, delivery_ids, delivery_statuses, endpoint_names, watch_names
from notifier.cli.known import require_endpoint
from notifier.cli.output import (
    EXIT_USAGE,
    fail,
    printable,
    receiver,
    show,
    show_json,
    show_table,
    span,
    tell,
    terminal,
    when,
)

MAX_LIMIT = 1000  # deliveries in one answer

COLUMNS = ("id", "status", "endpoint", "watch", "event", "try", "reason", "created")
CUT = ("reason", "endpoint")
DROP = ("try", "event", "created", "reason")  # on a narrow terminal, the least useful first

delivery = typer.Typer(help="See deliveries; retry dead ones.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="ID", help="The delivery's id.", min=0, autocompletion=delivery_ids)]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint", "-e", metavar="NAME", help="Only for this endpoint.", autocompletion=endpoint_names),
]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Created at or after, such as 2026-11-22T06:00:00Z.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Created before.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(delivery, name="delivery")


@delivery.command("list")
def list_deliveries(
    endpoint: Endpoint = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            "-s",
            metavar="STATUS",
            help="pending, ready, waiting, delivered, dead, superseded or muted.",
            autocompletion=delivery_statuses,
        ),
    ] = None,
    watch: Annotated[
        str | None,
        typer.Option("--watch", "-w", metavar="[SOURCE/]ID", help="Only for this watch.", autocompletion=watch_names),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_LIMIT, metavar="N", help="How many.")] = 50,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first.

    Example: notifier delivery list --status dead
    """
    client = connect(url, token, config)
    named = {"watch" if "/" in (watch or "") else "task": watch}
    page = client.get(
        "/v1/deliveries", endpoint=endpoint, status=status, since=since, until=until, limit=limit, **named
    )
    if not page["items"] and endpoint is not None:
        require_endpoint(client, endpoint)
    if as_json:
        show_json(page)
        return
    show_table(
        COLUMNS,
        [
            (
                item["id"],
                item["status"],
                receiver(item).rpartition("//")[2],
                _watch(item),
                item["type"].removeprefix("task."),
                item["attempt"],
                item["reason"],
                when(item["created_at"]),
            )
            for item in page["items"]
        ],
        empty="no deliveries",
        cut=CUT,
        drop=DROP,
    )
    if page["next"] is not None:
        tell(f"there are more: --limit takes up to {MAX_LIMIT}, --until goes further back")


@delivery.command("show")
def show_delivery(
    number: Number,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one delivery: its payload and every attempt.

    Example: notifier delivery show 42
    """
    item = connect(url, token, config).get(f"/v1/deliveries/{number}")
    if as_json:
        show_json(item)
        return
    facts = {
        "id": item["id"],
        "webhook-id": item["event_id"],
        "type": item["type"],
        "watch": _watch(item),
        "endpoint": receiver(item),
        "status": item["status"],
        "tries": item["attempt"],
        "reason": item["reason"],
        "created": when(item["created_at"]),
        "next try": when(item["due"]) if item["status"] == "ready" else None,
        "settled": when(item["settled_at"]),
    }
    for name, fact in facts.items():
        if fact is not None:
            show(f"{name:>10}  {printable(str(fact))}")
    show()
    show_table(
        ("at", "outcome", "status", "took", "address", "reason", "reply"),
        [
            (
                when(attempt["at"]),
                attempt["outcome"],
                attempt["status"],
                span(attempt["seconds"]),
                attempt["address"],
                attempt["detail"] or attempt["reason"],
                (attempt["reply"] or "")[:60],
            )
            for attempt in item["attempts"]
        ],
        empty="no attempts yet",
        cut=("reply", "reason"),
        drop=("took", "address", "reply"),
    )
    show()
    terminal().print_json(data=item["payload"])


@delivery.command("retry")
def retry_delivery(
    number: Annotated[
        int | None,
        typer.Argument(metavar="ID", help="One dead delivery's id.", min=0, autocompletion=dead_deliveries),
    ] = None,
    endpoint: Endpoint = None,
    since: Since = None,
    until: Until = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead delivery.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead deliveries again, with the same webhook-id: one, or all of an endpoint or a time.

    Example: notifier delivery retry --endpoint app --since 2026-11-22T06:00:00Z
    """
    chosen: dict[str, Any] = {"endpoint": endpoint, "since": since, "until": until}
    wanted = {name: value for name, value in chosen.items() if value is not None}
    if (number is not None) + bool(wanted) + every != 1:
        fail("say which: an id, or --endpoint/--since/--until, or --all", EXIT_USAGE)
    client = connect(url, token, config)
    path = "/v1/deliveries/retry" if number is None else f"/v1/deliveries/{number}/retry"
    answer = client.post(path, wanted)
    if as_json:
        show_json(answer)
        return
    count = answer["retried"]
    show(f"{count} {'delivery is' if count == 1 else 'deliveries are'} sent again")


def _watch(item: dict[str, Any]) -> str:
    return f"{item['source']}/{item['task']}" if item["task"] is not None else "-"
