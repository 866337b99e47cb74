"""Shell completion of names: those that the running daemon knows, or that a configuration or this program has.

It is quick and silent, since the user is typing.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from notifier.cli.client import connect
from notifier.cli.output import printable, receiver
from notifier.cli.process import DEFAULT_FILE
from notifier.runtime.typer_private import offer_without

if TYPE_CHECKING:
    from notifier.core.model import Json

PATIENCE = 0.5  # seconds
DELIVERY_STATUSES = ("pending", "ready", "waiting", "delivered", "dead", "superseded", "muted")
PHASES = ("new", "queued", "running", "succeeded", "failed", "canceled", "lost")
MAX_BYTES = 4 << 20  # of an answer


def join_words() -> None:
    """Join NAME=VALUE, which bash has split into three words. Of the last one, bash wants the value alone.

    That is how it treats every `=`, see COMP_WORDBREAKS in bash(1).
    """
    words, at = os.environ.get("COMP_WORDS", "").split(), os.environ.get("COMP_CWORD", "")
    if "=" not in words or not at.isdecimal():
        return
    joined: list[str] = []
    split = False
    for number, word in enumerate(words[: int(at) + 1]):
        follows = number > 0 and words[number - 1] == "="
        if joined and (word == "=" or follows):
            joined[-1] += word
            split = True
        else:
            joined.append(word)
            split = False
    if len(words) <= int(at):  # a new word begins
        split = False
        joined.append("")
    os.environ |= {"COMP_WORDS": " ".join(joined), "COMP_CWORD": str(len(joined) - 1)}
    name, equals, _ = joined[-1].partition("=")
    if split and not name.startswith("-"):  # the value of an option is offered alone anyway
        offer_without(f"{name}{equals}")


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


def label_pairs(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete NAME=VALUE of a label of a recent watch."""
    pairs = {pair for item in _items(context, "/v1/watches", "items") for pair in item["labels"].items()}
    for name, value in sorted(pairs):
        if (text := f"{name}={value}").startswith(incomplete):
            yield printable(text)


def dead_deliveries(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete the id of a dead delivery; its event and receiver explain it."""
    yield from _deliveries(context, "/v1/deliveries?status=dead", incomplete)


def delivery_ids(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete the id of a recent delivery; its status, event and receiver explain it."""
    yield from _deliveries(context, "/v1/deliveries", incomplete)


def mute_ids(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the id of a mute."""
    yield from (item["id"] for item in _items(context, "/v1/mutes", "items") if item["id"].startswith(incomplete))


def preset_names(incomplete: str) -> list[str]:
    """Complete the name of a built-in preset."""
    from notifier.sources.preset import names

    return [name for name in names() if name.startswith(incomplete)]


def configured_sources(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a source of the configuration, which no daemon needs to run for."""
    from notifier.config import read_document

    data = read_document(Path(context.params.get("config") or DEFAULT_FILE), os.environ, pipes=False).data
    sources = data.get("sources") if isinstance(data, dict) else None
    return [name for name in sources if name.startswith(incomplete)] if isinstance(sources, dict) else []


def tasks_of_source(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the id of a watch of the source that the command line names before it."""
    source = context.params.get("name")
    for item in _items(context, "/v1/watches", "items"):
        if item["source"] == source and item["id"].startswith(incomplete):
            yield item["id"]


def _deliveries(context: typer.Context, path: str, incomplete: str) -> Iterator[tuple[str, str]]:
    for item in _items(context, path, "items"):
        if str(item["id"]).startswith(incomplete):
            about = f"{item['status']} {item['type']} of {item['task']} to {receiver(item)}"
            yield str(item["id"]), printable(about)


def _names(context: typer.Context, path: str, key: str, incomplete: str) -> Iterator[str]:
    for item in _items(context, path, key):
        if item["name"].startswith(incomplete):
            yield item["name"]


def _items(context: typer.Context, path: str, key: str) -> list[Json]:
    from http.client import HTTPException  # here, as help needs no HTTP

    options = context.params
    try:
        url, token = (options.get(name) or os.environ.get(f"NOTIFIER_{name.upper()}") for name in ("url", "token"))
        source = context.get_parameter_source("config")
        named = source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")  # else it may be a default
        answer = _get(url, token, options["config"] if named else None, path)
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
