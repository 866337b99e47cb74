"""Shell completion of names that only the running daemon knows. It is quick and silent, since the user is typing."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from notifier.cli.client import connect

if TYPE_CHECKING:
    from notifier.core.model import Json

PATIENCE = 0.5  # seconds
DELIVERY_STATUSES = ("pending", "ready", "waiting", "delivered", "dead", "superseded", "muted")
PHASES = ("new", "queued", "running", "succeeded", "failed", "canceled", "lost")
MAX_BYTES = 4 << 20  # of an answer


def endpoint_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the name of an endpoint."""
    yield from _names(context, "/v1/endpoints", "items", incomplete)


def node_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the name of a node."""
    yield from _names(context, "/v1/nodes", "items", incomplete)


def source_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the name of a source."""
    yield from _names(context, "/v1/status", "sources", incomplete)


def delivery_statuses(incomplete: str) -> list[str]:
    """Complete the status of deliveries."""
    return [status for status in DELIVERY_STATUSES if status.startswith(incomplete)]


def phase_names(incomplete: str) -> list[str]:
    """Complete the phase of watches."""
    return [phase for phase in PHASES if phase.startswith(incomplete)]


def watch_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete SOURCE/ID of a recent watch, or only its ID if the user began with the ID."""
    for item in _items(context, "/v1/watches", "items"):
        name = f"{item['source']}/{item['id']}"
        for form in (name, item["id"]) if incomplete else (name,):
            if form.startswith(incomplete):
                yield form


def _names(context: typer.Context, path: str, key: str, incomplete: str) -> Iterator[str]:
    for item in _items(context, path, key):
        if item["name"].startswith(incomplete):
            yield item["name"]


def _items(context: typer.Context, path: str, key: str) -> list[Json]:
    from http.client import HTTPException  # here, as help needs no HTTP

    options = context.params
    try:
        answer = _get(options.get("url"), options.get("token"), options.get("config"), path)
        return list(answer[key])
    except (OSError, ValueError, LookupError, TypeError, HTTPException, SystemExit):
        return []  # no daemon, no names


def _get(url: str | None, token: str | None, config: Path | None, path: str) -> Json:
    from notifier.cli.session import send

    with contextlib.redirect_stderr(io.StringIO()):  # a message would appear in the middle of the command line
        client = connect(url, token, None if config is None else Path(config))
    connection = send("GET", client.url, path, token=client.token, timeout=PATIENCE)
    with contextlib.closing(connection), connection.getresponse() as response:
        return json.loads(response.read(MAX_BYTES)) if response.status == 200 else {}
