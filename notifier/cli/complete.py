"""Shell completion of names that only the running daemon knows. It is quick and silent, since the user is typing.

It uses http.client: the commands' own client takes too long to load.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import typer

from notifier.cli.client import connect
from notifier.core.model import Json

PATIENCE = 0.5  # seconds
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
    options = context.params
    try:
        answer = _get(options.get("url"), options.get("token"), options.get("config"), path)
        return list(answer[key])
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException, SystemExit):
        return []  # no daemon, no names


def _get(url: str | None, token: str | None, config: Path | None, path: str) -> Json:
    with contextlib.redirect_stderr(io.StringIO()):  # a message would appear in the middle of the command line
        client = connect(url, token, None if config is None else Path(config))
    headers = {"Authorization": f"Bearer {client.token}"} if client.token else {}
    connection = _connection(client.url)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return json.loads(response.read(MAX_BYTES)) if response.status == 200 else {}
    finally:
        connection.close()


def _connection(url: str) -> http.client.HTTPConnection:
    if url.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(url.removeprefix("unix:"))
        return connection
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=PATIENCE)
