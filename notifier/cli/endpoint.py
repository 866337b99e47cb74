"""Commands for endpoints: endpoint list|test|enable|disable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

import typer

from notifier.cli.client import Client, ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.complete import endpoint_names
from notifier.cli.output import EXIT_FAILED, cell, printable, show, show_json, show_table, span

if TYPE_CHECKING:
    from notifier.core.model import Json

endpoint = typer.Typer(help="See endpoints; test, enable or disable them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint's name.", autocompletion=endpoint_names)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(endpoint, name="endpoint")


@endpoint.command("list")
def list_endpoints(
    config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False
) -> None:
    """List endpoints with their health.

    An ok endpoint accepts what it gets. A slowed one refuses a share. A paused one asked for a pause. A failing one
    accepts nothing and is tried again from time to time. A disabled one keeps its deliveries until it is enabled.

    Example: notifier endpoint list
    """
    page = connect(url, token, config).get("/v1/endpoints")
    if as_json:
        show_json(page)
        return
    show_table(
        ("endpoint", "state", "reason", "under way", "pending", "oldest", "dead"),
        [
            (e["name"], e["state"], e["reason"], _under_way(e), e["pending"], span(e["oldest_seconds"]), e["dead"])
            for e in page["items"]
        ],
        empty="no endpoints",
        cut=("reason",),
        drop=("under way", "oldest"),
    )


def _under_way(health: Json) -> str:
    return f"{health['in_flight']} of {health['in_flight_limit']}"


@endpoint.command("test")
def try_out(
    name: Name,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a signed test event, notifier.test; exit 0 if the endpoint accepts it.

    It is sent once, in any state of the endpoint, and changes nothing.

    Example: notifier endpoint test app
    """
    attempt = connect(url, token, config).post(f"/v1/endpoints/{quote(name, safe='')}/test")
    delivered = attempt["outcome"] == "delivered"
    if as_json:
        show_json(attempt)
    else:
        line = cell(name) + cell(": ") + cell(attempt["outcome"])
        status = f", HTTP {attempt['status']}" if attempt["status"] else ""
        line.append(f"{status} in {span(attempt['seconds'])}")
        if not delivered:
            line.append(f": {printable(attempt['detail'] or attempt['reason'] or 'no reason given')}")
        show(line)
        if attempt.get("reply") and not delivered:
            show(f"reply: {printable(attempt['reply'])}")
    if not delivered:
        raise typer.Exit(EXIT_FAILED)


@endpoint.command("enable")
def enable(
    name: Name,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send to an endpoint again, starting with the deliveries that were kept.

    Example: notifier endpoint enable app
    """
    _switch(connect(url, token, config), name, "enable", as_json=as_json)


@endpoint.command("disable")
def disable(
    name: Name,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop sending to an endpoint; its deliveries are kept.

    Example: notifier endpoint disable app
    """
    _switch(connect(url, token, config), name, "disable", as_json=as_json)


def _switch(client: Client, name: str, how: Literal["enable", "disable"], *, as_json: bool) -> None:
    answer = client.post(f"/v1/endpoints/{quote(name, safe='')}/{how}")
    show_json(answer) if as_json else show(f"{printable(name)} is {how}d")
