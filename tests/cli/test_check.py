"""`check` and `schema`: what a configuration will do, or everything that is wrong with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
import yaml
from typer.testing import CliRunner

from notifier.cli import app

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
ENV = {
    "VIDU_TOKEN": "tok-123456789",
    "APP_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/secretpath",
}


def test_check_tells_what_would_run() -> None:
    """The example is good; what is secret in it is not shown."""
    result = CliRunner().invoke(app, ["check", "-c", str(EXAMPLE)], env=ENV)
    assert result.exit_code == 0, result.output
    for part in ("source vidu: preset vidu", "endpoint app: webhook to https://example.com", "endpoint ops: slack"):
        assert part in result.output
    assert not any(secret in result.output for secret in ("tok-123456789", "MfKQ9r8G", "secretpath"))


def test_check_lists_every_problem(tmp_path: Path) -> None:
    """Each problem is a line with its place; the last line counts them; exit code 78."""
    path = tmp_path / "c.yaml"
    path.write_text("sources: {a: {preset: vidoo, token: '${NOPE_1}'}}\nlogg: {}\nshutdown_timeout: 3\n")
    result = CliRunner().invoke(app, ["check", "-c", str(path)])
    assert result.exit_code == 78
    *problems, count = result.stderr.splitlines()
    assert count == "notifier: 4 problems in the configuration"
    places = ["1:23", "1:37", "2:1", "3:19"]
    assert [problem.split(": ")[0] for problem in problems] == [f"{path}:{place}" for place in places]


def test_schema_is_one_that_the_example_keeps() -> None:
    """`schema` prints a JSON Schema; the example is valid by it, a misspelt key is not."""
    result = CliRunner().invoke(app, ["schema"])
    assert result.exit_code == 0
    schema = json.loads(result.output)
    jsonschema.Draft202012Validator.check_schema(schema)
    example = yaml.safe_load(EXAMPLE.read_text())
    jsonschema.validate(example, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**example, "sorces": {}}, schema)


def test_check_warns_and_fails_only_if_told_to(tmp_path: Path) -> None:
    """Warnings go to stderr, after what would run; --strict makes them an error."""
    path = tmp_path / "c.yaml"
    path.write_text("sources: {v: {preset: vidu, token: t}}\nwatches: [a]\n")
    result = CliRunner().invoke(app, ["check", "-c", str(path)])
    assert result.exit_code == 0
    assert result.stdout.startswith("1 source, 0 endpoints, 1 watch, 0 queues\n")
    warning = f"warning: {path}:1:1: endpoints: there is no endpoint: nobody receives any event\n"
    assert result.stderr == warning
    strict = CliRunner().invoke(app, ["check", "--strict", "-c", str(path)])
    assert strict.exit_code == 78
    assert strict.stdout == result.stdout
    assert strict.stderr == warning + "notifier: the configuration is valid, but --strict allows no warnings\n"


def test_check_answers_programs_in_json(tmp_path: Path) -> None:
    """Each problem and warning is an object with its place; the exit code is the same as without."""
    path = tmp_path / "c.yaml"
    path.write_text("sources: {v: {preset: vidu, token: t}}\nwatches: [a]\n")
    for options, code in (([], 0), (["--strict"], 78)):
        result = CliRunner().invoke(app, ["check", "--json", *options, "-c", str(path)])
        assert (result.exit_code, result.stderr) == (code, "")
        answer = json.loads(result.stdout)
        assert answer["problems"] == []
        assert [(each["line"], each["key"]) for each in answer["warnings"]] == [(1, "endpoints")]
    path.write_text("sources: {v: {preset: vidu, tokn: t}}\n")
    result = CliRunner().invoke(app, ["check", "--json", "-c", str(path)])
    assert (result.exit_code, result.stderr) == (78, "")
    problem = next(each for each in json.loads(result.stdout)["problems"] if each["key"].endswith("tokn"))
    assert (problem["file"], problem["line"], problem["suggestion"]) == (str(path), 1, "token")


def test_check_names_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon could not run."""
    monkeypatch.setitem(sys.modules, "nats", None)
    path = tmp_path / "c.yaml"
    path.write_text("queues:\n- url: nats://localhost\n")
    result = CliRunner().invoke(app, ["check", "-c", str(path)])
    assert (result.exit_code, result.stdout) == (78, "")
    assert f"{path}:2:8: queues[0].url: needs a client library" in result.stderr
