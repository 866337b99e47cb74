"""Commands for where events go: endpoint list|test|enable|disable."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.complete import endpoint_names
from notifier.cli.output import EXIT_FAILED, cell, printable, show, show_json, show_table, span

endpoint = typer.Typer(help="See endpoints; test, enable or disable them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The endpoint's name.", autocompletion=endpoint_names)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(endpoint, name="endpoint")


@endpoint.command("list")
def list_endpoints(
    config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False
) -> None:
    """List endpoints with their health.

    closed is well; throttled waits as it was asked to; open waits after failures, half_open tries once;

    disabled keeps what is for it until it is enabled.

    Example: notifier endpoint list
    """
    found = connect(url, token, config).get("/v1/endpoints")
    if as_json:
        show_json(found)
        return
    show_table(
        ("endpoint", "state", "reason", "under way", "pending", "oldest", "dead"),
        [
            (e["name"], e["state"], e["reason"], e["in_flight"], e["pending"], span(e["oldest_seconds"]), e["dead"])
            for e in found["items"]
        ],
        empty="no endpoints",
        cut=("reason",),
    )


@endpoint.command("test")
def try_out(
    name: Name,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a signed test event, notifier.test, at once; exit 0 if the endpoint accepts it.

    It is sent once, whatever the endpoint's state, and changes nothing.

    Example: notifier endpoint test app
    """
    found = connect(url, token, config).post(f"/v1/endpoints/{quote(name, safe='')}/test")
    delivered = found["outcome"] == "delivered"
    if as_json:
        show_json(found)
    else:
        line = cell(name) + cell(": ") + cell(found["outcome"])
        status = f", HTTP {found['status']}" if found["status"] else ""
        line.append(f"{status} in {span(found['seconds'])}")
        if not delivered:
            line.append(f": {printable(found['detail'] or found['reason'] or 'no reason given')}")
        show(line)
        if found.get("reply") and not delivered:
            show(f"reply: {printable(found['reply'])}")
    if not delivered:
        raise typer.Exit(EXIT_FAILED)


@endpoint.command("enable")
def enable(name: Name, config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None) -> None:
    """Send to an endpoint again; what was kept for it flows.

    Example: notifier endpoint enable app
    """
    connect(url, token, config).post(f"/v1/endpoints/{quote(name, safe='')}/enable")
    show(f"{printable(name)} is enabled")


@endpoint.command("disable")
def disable(name: Name, config: ConfigOption = None, url: UrlOption = None, token: TokenOption = None) -> None:
    """Send no more to an endpoint; events for it are kept.

    Example: notifier endpoint disable app
    """
    connect(url, token, config).post(f"/v1/endpoints/{quote(name, safe='')}/disable")
    show(f"{printable(name)} is disabled")
