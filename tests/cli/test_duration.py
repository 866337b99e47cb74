"""Durations on the command line are seconds, or are written as in the configuration."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from notifier.cli import app
from notifier.cli.duration import seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0.0), ("600", 600.0), ("1.5", 1.5), ("250ms", 0.25), ("90s", 90.0), ("10m", 600.0)]
)
def test_both_ways_to_write_a_duration(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1x", "5 m", "ten", "99999d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"duration|longer"):
        seconds(text)


@pytest.mark.parametrize(
    "args",
    [
        ["watch", "wait", "x", "--timeout"],
        ["source", "test", "vidu", "x", "--for"],
        ["simulate", "--every"],
        ["listen", "--tolerance"],
        ["verify", "--tolerance"],
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_every_command_reads_them_alike(args: list[str]) -> None:
    result = CliRunner().invoke(app, [*args, "1x"])
    assert result.exit_code == 2
    assert f"Invalid value for '{args[-1]}': expected a duration such as 250ms" in " ".join(result.output.split())
