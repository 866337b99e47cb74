"""Every command explains itself; mistakes in using one are told as such."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer.main
from typer.testing import CliRunner

from notifier import __version__
from notifier.cli import app

WIDE = {"COLUMNS": "160", "TERM": "dumb", "NO_COLOR": "1"}


def commands() -> Iterator[tuple[str, ...]]:
    """List every command, by its words."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield words
        for name, child in (children or {}).items():
            yield from walk(child, (*words, name))

    yield from walk(typer.main.get_command(app), ())


def test_what_is_not_there_is_no_mistake_of_use() -> None:
    result = CliRunner().invoke(app, ["preset", "show", "nope"], env=WIDE)
    assert (result.exit_code, "there is no preset nope" in result.output) == (1, True)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_shows_an_example(words: tuple[str, ...]) -> None:
    """--help exits 0 and shows how the command is called."""
    result = CliRunner().invoke(app, [*words, "--help"], env=WIDE)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert "Example: " in text
    assert f"notifier {' '.join(words)}" in text.partition("Example: ")[2]


NO_REPORT = {"run", "schema"}  # the one logs, as `log.format` says; the other prints JSON anyway


def test_every_command_that_reports_does_it_in_json_too() -> None:
    """`--json` is there wherever something is told of the daemon, a configuration or a secret."""
    without = {
        " ".join(words)
        for words in commands()
        if "--json" not in CliRunner().invoke(app, [*words, "--help"], env=WIDE).output
    }
    assert without == NO_REPORT


def test_help_shows_brackets() -> None:
    """What stands in brackets is no markup: it is shown."""
    shown = {
        ("simulate",): "[GLOB=]KIND[:ARG][@LINES][xTIMES][#NTH][%PERCENT]",
        ("listen",): "[/PATH=]ANSWER",
        ("status",): "default: http://127.0.0.1:8780",
    }
    for words, text in shown.items():
        assert text in " ".join(CliRunner().invoke(app, [*words, "--help"], env=WIDE).output.split())


def test_no_arguments_shows_the_commands() -> None:
    """`notifier` alone lists what there is."""
    result = CliRunner().invoke(app, [], env=WIDE)
    assert result.exit_code == 2
    assert all(word in result.output for words in commands() for word in words[:1])


def test_version() -> None:
    """--version tells the version, and nothing else."""
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"notifier {__version__}\n")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["run", "--nonsense"],
        ["delivery", "show"],
        ["delivery", "show", "x"],
        ["delivery", "show", "-1"],
        ["delivery", "list", "--limit", "0"],
        ["delivery", "retry"],
        ["delivery", "retry", "1", "--all"],
        ["sign"],
        ["simulate", "--every", "soon"],
        ["simulate", "--framing", "lines"],
        ["simulate", "--fault", "nonsense"],
        ["simulate", "--transcript", "@/nonexistent"],
        ["listen", "--secret", "whsec_c2hvcnQ="],
        ["listen", "--respond", "nonsense"],
    ],
    ids=" ".join,
)
def test_misuse(args: list[str]) -> None:
    """A mistake on the command line is exit code 2, with a word on it."""
    result = CliRunner().invoke(app, args, env=WIDE)
    assert result.exit_code == 2, result.output
    assert result.output.strip()
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("watch", "add", "-id"), "watch add -- -id"),
        (("watch", "add", "1", "-7xyz"), "watch add -- -7xyz"),
        (("watch", "show", "--abc"), "watch show -- --abc"),
        (("watch", "remove", "-Q"), "watch remove -- -Q"),
    ],
    ids=str,
)
def test_an_id_that_looks_like_an_option_is_explained(words: tuple[str, ...], hint: str) -> None:
    """The refusal shows the command that works."""
    result = CliRunner().invoke(app, words, env=WIDE)
    assert result.exit_code == 2
    assert f"an id that begins with - stands after --: notifier {hint}" in " ".join(result.output.split())


def test_a_mistyped_option_is_no_id() -> None:
    """Where an option was probably meant, that one is named, and nothing of ids."""
    result = CliRunner().invoke(app, ["watch", "add", "--lable", "x"], env=WIDE)
    assert result.exit_code == 2
    assert "--label" in result.output
    assert "an id that begins" not in result.output


@pytest.mark.parametrize(
    "words", [(), *sorted({words[:1] for words in commands() if words[1:]}), *commands()], ids=" ".join
)
def test_help_is_whole_at_80_columns(words: tuple[str, ...]) -> None:
    """No text is cut, no line is longer, and options take no Python types."""
    output = CliRunner().invoke(app, [*words, "--help"], env=WIDE | {"COLUMNS": "80"}).output
    assert "…" not in output
    assert not [line for line in output.partition("Commands:")[2].splitlines() if line.endswith("...")]
    assert not [line for line in output.splitlines() if len(line) > 80]
    assert not re.search(r"<\w", output.partition("Usage:")[2].replace("x<", ""))
    assert not re.search(r"[{}]|\[\[", output.partition("\n\n")[0])
    assert not re.search(r"x[<>]=", output)
    assert not re.search(r"Example: [^\n]*\w-\n", output), "an option is broken at its hyphen"


def test_commands_find_the_daemon_alike() -> None:
    """Those that ask it take the same three options."""
    asking = {}
    marks = ("Read address and token", "The daemon: a URL", "Its bearer token")
    for words in commands():
        output = CliRunner().invoke(app, [*words, "--help"], env=WIDE).output
        if any(mark in output for mark in marks):
            asking[words] = sorted(re.findall(r"(?m)^ *(?:-., *)?(--(?:config|url|token) [A-Z]+)", output))
    assert len(asking) >= 15
    assert {tuple(options) for options in asking.values()} == {("--config FILE", "--token TOKEN", "--url URL")}
