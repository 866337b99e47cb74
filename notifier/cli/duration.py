"""Durations on the command line: a number of seconds, or a duration as the configuration writes it."""

from __future__ import annotations

import math

import typer


def seconds(text: str) -> float:
    """Return the seconds of a text such as `90`, `1.5`, `90s` or `10m`. Raises typer.BadParameter."""
    try:
        number = float(text)
    except ValueError:
        return _written(text)
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"expected seconds or a duration such as 90s or 5m, got {text!a}")
    return number


def _written(text: str) -> float:
    from notifier.config import read_duration  # here, as pydantic takes a while to load

    try:
        return read_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
