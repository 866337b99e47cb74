"""typer has the inside that is relied upon, and plain values are read as it reads them itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer import core
from typer.testing import CliRunner

from notifier.runtime import typer_private

app = typer.Typer(rich_markup_mode=None)
shown: list[Any] = []


@app.command()
def take(
    words: Annotated[list[str], typer.Argument()] = [],  # noqa: B006 - typer hands a new one to every call
    text: Annotated[str | None, typer.Option()] = None,
    whole: Annotated[int, typer.Option(min=1, max=100)] = 7,
    any_whole: Annotated[int | None, typer.Option()] = None,
    decimal: Annotated[float | None, typer.Option(min=0)] = None,
    path: Annotated[Path, typer.Option()] = Path("x.yaml"),
    there: Annotated[Path | None, typer.Option(exists=True)] = None,
    several: Annotated[list[str], typer.Option(envvar="SEVERAL")] = [],  # noqa: B006 - the same
    numbers: Annotated[list[int], typer.Option()] = [],  # noqa: B006 - the same
    on: Annotated[bool, typer.Option("--on", envvar="ON")] = False,
) -> None:
    """Keep what was given."""
    shown.append((words, text, whole, any_whole, decimal, path, there, several, numbers, on))


def outcome(args: tuple[str, ...], env: dict[str, str]) -> tuple[int, str, list[Any]]:
    """Return the exit code, the output, and the values with their types."""
    shown.clear()
    result = CliRunner().invoke(app, args, env=env)
    return result.exit_code, result.output, [[(type(value), value) for value in values] for values in shown]


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("a", "b"),
        ("--text", ""),
        ("--text", " 1 "),
        ("--whole", "100"),
        ("--whole", "0100"),
        ("--whole", "101"),
        ("--whole", "0"),
        ("--whole", "x"),
        ("--whole", " 5 "),
        ("--whole", "1_0"),
        ("--whole", "5.0"),
        ("--any-whole", "-3"),
        ("--any-whole", "99999999999999999999"),
        ("--any-whole", "٣"),
        ("--decimal", "1"),
        ("--decimal", "0.25"),
        ("--decimal", "-1"),
        ("--decimal", "1e3"),
        ("--decimal", "inf"),
        ("--decimal", "nan"),
        ("--decimal", ".5"),
        ("--path", "no/such"),
        ("--path", ""),
        ("--path", "."),
        ("--path", "a//b/../c"),
        ("--there", "no/such"),
        ("--there", "/"),
        ("--several", "a", "--several", "b"),
        ("--numbers", "1", "--numbers", "2"),
        ("--numbers", "x"),
        ("--on",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("env", [{}, {"SEVERAL": "a b", "ON": "true"}, {"ON": "0"}, {"ON": "perhaps"}], ids=str)
def test_values_and_refusals_are_those_of_typer(
    args: tuple[str, ...], env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is given, by arguments or the environment: the same values of the same types, or the same words."""
    monkeypatch.setattr(core, "build_runtime_param", typer_private._by_pydantic)
    expected = outcome(args, env)
    typer_private.read_plain_values()
    assert repr(outcome(args, env)) == repr(expected)  # by its text, as nan is not equal to itself


def test_a_file_that_cannot_be_read_is_left_to_typer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It refuses it with the name of the option."""
    file = tmp_path / "secret"
    file.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    monkeypatch.setattr(core, "build_runtime_param", None)  # so that it is put back afterwards
    typer_private.read_plain_values()
    code, text, _ = outcome(("--path", str(file)), {})
    assert code == 2
    assert "not readable" in " ".join(text.split())


def test_plain_values_need_no_pydantic() -> None:
    """A new version of typer that reads them elsewhere fails here."""
    program = (
        "import sys, typer\n"
        "from pathlib import Path\n"
        "from notifier.runtime.typer_private import read_plain_values\n"
        "read_plain_values()\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def f(a: list[str], t: str = '', n: int = 1, x: float = 0.5, p: Path = Path('q'), on: bool = False): pass\n"
        "app(['a', '--t', 'x', '--n', '2', '--x', '1.5', '--p', 'y', '--on'], standalone_mode=False)\n"
        "sys.exit('pydantic is loaded' if 'pydantic' in sys.modules else None)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_names_arguments_as_manual_pages_do() -> None:
    """By their metavar, without types, braces and formulas; an option stays in one piece."""
    typer_private.write_plain_help()
    plain = typer.Typer(rich_markup_mode=None)

    @plain.command()
    def example(
        one: Annotated[str, typer.Argument(metavar="ONE", help="First.")],
        more: Annotated[list[str] | None, typer.Argument(metavar="MORE")] = None,
        some: Annotated[int, typer.Option(min=1, max=9, metavar="N")] = 1,
        least: Annotated[int, typer.Option(min=2, metavar="N")] = 3,
        most: Annotated[int, typer.Option(max=4, metavar="N")] = 3,
    ) -> None:
        """Do it: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx --long-option."""

    text = CliRunner().invoke(plain, ["--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output
    assert "[OPTIONS] ONE [MORE...]" in text
    assert re.search(r"\n  ONE +First\.  \[required\]\n  MORE\.\.\.", text)
    assert all(words in text for words in ("1 to 9]", "at least 2]", "at most 4]", "\n  --long-option."))
