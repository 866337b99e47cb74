"""Refuses names that the daemon does not know, where it would only answer with an empty list."""

from __future__ import annotations

from collections.abc import Sequence

from notifier.cli.client import Client
from notifier.cli.output import fail


def require_source(client: Client, name: str) -> None:
    """Exit with a message unless the daemon has a source of this name."""
    _require("source", name, [source["name"] for source in client.get("/v1/status")["sources"]])


def require_endpoint(client: Client, name: str) -> None:
    """Exit with a message unless the daemon has an endpoint of this name, or it is the name of a callback."""
    from notifier.core.callback import LABEL, is_callback  # here, as few commands name an endpoint

    if name != LABEL and not is_callback(name):
        _require("endpoint", name, [endpoint["name"] for endpoint in client.get("/v1/endpoints")["items"]])


def _require(kind: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        fail(f"there is no {kind} {name}; {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    match names:
        case []:
            return "there is none"
        case [name]:
            return f"there is only {name}"
        case _:
            return f"there are {', '.join(names)}"
