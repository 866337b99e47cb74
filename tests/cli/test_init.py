"""`notifier init` writes a short configuration that is valid once its variables are set, and never overwrites one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from notifier.cli import app
from notifier.config import SlackEndpoint, WebhookEndpoint, load, review
from notifier.sources.preset import names

URL = "https://example.com/hooks/tasks"


def init(path: Path, *options: str) -> tuple[int, str, str]:
    """Run the command without a terminal; return its exit code and what it printed."""
    result = CliRunner().invoke(app, ["init", "-c", str(path), *options])
    return result.exit_code, result.stdout, result.stderr


def exported(output: str) -> dict[str, str]:
    """Return the variables that the command names, with a value for those that the user has to fill in."""
    lines = [line.removeprefix("  export ") for line in output.splitlines() if line.startswith("  export ")]
    filled = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x"}
    return {
        name: filled.get(name, "t") if value == "..." else value for name, _, value in (x.partition("=") for x in lines)
    }


@pytest.mark.parametrize(
    ("options", "source", "endpoints"),
    [
        (("--preset", "vidu", "--url", URL), "vidu", {"app": WebhookEndpoint}),
        (("--preset", "vidu", "--slack"), "vidu", {"ops": SlackEndpoint}),
        (("--preset", "vidu", "--url", URL, "--slack"), "vidu", {"app": WebhookEndpoint, "ops": SlackEndpoint}),
        (
            ("--preset", "generic", "--base-url", "https://api.example.com", "--url", URL),
            "upstream",
            {"app": WebhookEndpoint},
        ),
    ],
    ids=["callbacks", "Slack", "both", "generic"],
)
def test_what_is_written_is_valid(
    tmp_path: Path, options: tuple[str, ...], source: str, endpoints: dict[str, type]
) -> None:
    """With the variables that are printed; it is short, and holds no secret."""
    path = tmp_path / "new/config.yaml"
    code, out, err = init(path, *options)
    assert (code, err) == (0, "")
    variables = exported(out)
    config = load(path, env=variables)
    assert list(config.sources) == [source]
    assert {name: type(endpoint) for name, endpoint in config.endpoints.items()} == endpoints
    text = path.read_text()
    assert len(text.splitlines()) <= (22 if source == "upstream" else 17)
    assert ("states:" in text) == (source == "upstream")  # a provider of one's own has its own words
    assert f"notifier source test {source} ID -c {path}" in out
    assert "whsec_" not in text
    assert f"notifier run -c {path}" in out
    assert {entry.name for entry in path.parent.iterdir()} == {"config.yaml", "watches.d"}
    assert review(path, env=variables).warnings == ()


def test_two_runs_make_two_secrets(tmp_path: Path) -> None:
    """Each is new."""
    secrets = {
        exported(init(tmp_path / name, "--preset", "vidu", "--url", URL)[1])["APP_WEBHOOK_SECRET"] for name in "ab"
    }
    assert len(secrets) == 2


@pytest.mark.parametrize("make", ["file", "dangling link", "directory"])
def test_nothing_is_overwritten(tmp_path: Path, make: str) -> None:
    """Whatever is there stays."""
    path = tmp_path / "config.yaml"
    match make:
        case "file":
            path.write_text("mine")
        case "dangling link":
            path.symlink_to("nowhere")
        case _:
            path.mkdir()
    code, out, err = init(path, "--preset", "vidu", "--url", URL)
    assert (code, out) == (1, "")
    assert err == f"notifier: {path} exists already; write another file with -c FILE\n"
    assert make != "file" or path.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--preset is needed"),
        (("--preset", "generic", "--url", URL), "--base-url is needed"),
        (("--preset", "vidu"), "--url or --slack is needed"),
        (
            ("--preset", "vidoo", "--url", URL),
            'there is no preset "vidoo"; did you mean vidu? `notifier preset list` names all',
        ),
        (("--preset", "vidu", "--url", "example.com"), "endpoints.app.url: expected a URL"),
        (("--preset", 'a"b: c', "--url", URL), "there is no preset"),
    ],
)
def test_what_is_missing_or_wrong_is_a_usage_error(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    """Nothing is written, and nobody is asked where there is no terminal."""
    code, out, err = init(tmp_path / "config.yaml", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file in the place of the directory."""
    (tmp_path / "x").write_text("")
    code, _, err = init(tmp_path / "x/config.yaml", "--preset", "vidu", "--url", URL)
    assert code == 1
    assert err.startswith(f"notifier: cannot write {tmp_path}/x/config.yaml: ")


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    """The answers make the same configuration; an empty one takes the default, and a wrong one is asked for again."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "notifier", "init"], cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    os.write(master, f"vidoo\n\nexample.com\n{URL}\nn\n".encode())
    output = b""
    try:
        while part := os.read(master, 4096):
            output += part
    except OSError:  # EIO: the other side is closed (pty(7))
        pass
    os.close(master)
    assert process.wait(180) == 0, output
    assert b"did you mean vidu?" in output
    assert b"is no URL" in output
    assert b" -c config.yaml" not in output  # it is where commands look anyway
    config = load(tmp_path / "config.yaml", env=exported(output.decode().replace("\r", "")))
    assert list(config.sources) == ["vidu"]
    assert list(config.endpoints) == ["app"]


def test_programs_read_json(tmp_path: Path) -> None:
    """The variables, with the new secret; null stands for what the user has to fill in."""
    path = tmp_path / "config.yaml"
    code, out, _ = init(path, "--preset", "vidu", "--url", URL, "--slack", "--json")
    told = json.loads(out)
    secret = told["variables"].pop("APP_WEBHOOK_SECRET")
    assert (code, told) == (
        0,
        {"config": str(path), "source": "vidu", "variables": {"VIDU_TOKEN": None, "SLACK_WEBHOOK_URL": None}},
    )
    assert secret.startswith("whsec_")


@pytest.mark.parametrize("preset", names())
def test_it_begins_with_any_preset(tmp_path: Path, preset: str) -> None:
    """A preset without an address asks for one."""
    path = tmp_path / "config.yaml"
    code, _, err = init(path, "--preset", preset, "--url", URL)
    if code == 2:
        assert "--base-url is needed" in err
        code, _, err = init(path, "--preset", preset, "--base-url", "https://api.example.com", "--url", URL)
    assert (code, err) == (0, "")
