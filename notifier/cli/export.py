"""The command `export`: watches that came by the API or a queue, as a file that `watch_files` may name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from notifier.cli.client import ConfigOption, JsonOption, TokenOption, UrlOption, connect
from notifier.cli.known import require_source
from notifier.cli.listing import Wanted
from notifier.cli.output import complain, show, show_json
from notifier.cli.watch import Labels, SourceOption
from notifier.cli.watch_input import read_pairs

if TYPE_CHECKING:
    from notifier.core.model import Json

# What JSON leaves as it is, and YAML does not take unescaped (YAML 1.2 section 5.1), or takes for the end of a line.
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# Keys that are left out where they say nothing.
_OPTIONAL = ("endpoints", "labels", "metadata", "variables", "traceparent")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    source: SourceOption = None,
    label: Labels = [],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print watches of the API and of queues as YAML.

    These are the open ones, in a file that `watch_files` and `watch add --file` read. A watch's own callback
    URL is secret, and is not printed.

    Example: notifier export > watches.d/exported.yaml
    """
    wanted = Wanted(source=source, labels=read_pairs(label), ended=False)
    client = connect(url, token, config)
    page = client.run(wanted.fetch)
    if not page["items"] and source is not None:
        require_source(client, source)
    items = [item for item in page["items"] if item["origin"] != "file"]
    watches = [_described(item) for item in reversed(items)]  # oldest first, as they were added
    if as_json:
        show_json({"items": watches, "next": None})
    else:
        for line in _yaml(watches):
            show(line)
    if secret := sum(item["callback"] is not None for item in items):
        complain(f"{secret} of {len(items)} have a callback URL of their own, which is not exported")


def _described(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a watch as users write it."""
    said = {key: item[key] for key in _OPTIONAL if item[key] not in (None, {})}
    return {"id": item["id"], "source": item["source"], **said}


def _yaml(watches: list[dict[str, Any]]) -> Iterator[str]:
    """Write a list of watches, one a line: JSON is YAML, but `${` begins a variable, and more ends a line."""
    if not watches:
        yield "[]"
    for watch in watches:
        text = json.dumps(_literal(watch), ensure_ascii=False)
        yield "- " + _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _literal(value: Json) -> Json:
    """Return a value in whose texts no variable begins; a key holds none (`config.document`)."""
    match value:
        case str():
            return value.replace("${", "$${")
        case list():
            return [_literal(each) for each in value]
        case dict():
            return {key: _literal(each) for key, each in value.items()}
        case _:
            return value
