"""The command init: writes a short configuration, which passes `check` without a warning once its variables are set."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from notifier.cli.client import JsonOption
from notifier.cli.complete import preset_names
from notifier.cli.output import EXIT_USAGE, complain, fail, refuse, show, show_json
from notifier.cli.process import DEFAULT_FILE

SECRET_BYTES = 32
WATCHES = "watches.d"  # the directory for files of watches, beside the configuration

TargetOption = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The file to write.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


def init(
    config: TargetOption = DEFAULT_FILE,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The provider's preset, such as vidu; generic: a provider of your own.",
            autocompletion=preset_names,
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The provider's address, where the preset has none.")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Where to POST signed callbacks.")] = None,
    slack: Annotated[bool | None, typer.Option("--slack/--no-slack", help="Send messages to Slack as well.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a short configuration. On a terminal it asks for each option that is missing.

    Secrets are not written: the configuration takes them from the environment, and the variables are printed. Beside
    it there is a directory watches.d for files of tasks.

    Example: notifier init --preset vidu --url https://example.com/hooks/tasks
    """
    if os.path.lexists(config):
        fail(f"{config} exists already; write another file with -c FILE")
    if preset is None:
        question = "Preset of the provider (`notifier preset list`; generic: one of your own)"
        preset = _ask(question, "--preset", default="vidu", wrong=_wrong_preset)
    elif (wrong := _wrong_preset(preset)) is not None:
        fail(wrong, EXIT_USAGE)
    if base_url is None and _lacks_address(preset):
        base_url = _ask("Address of the provider, such as https://api.example.com", "--base-url", wrong=_wrong_url)
    if url is None and not slack:
        question = "URL that receives the callbacks; empty for none"
        url = _ask(question, "--url or --slack", default="", wrong=_wrong_url) or None
    if slack is None:
        slack = sys.stdin.isatty() and typer.confirm("Send messages to Slack as well?", default=url is None)
    if url is None and not slack:
        fail("an endpoint is needed: --url URL or --slack", EXIT_USAGE)
    text = "".join(f"{line}\n" for line in _lines(preset, base_url, url, slack=slack))
    variables = _variables(preset, callbacks=url is not None, slack=slack)
    _write(config, text, variables)
    shown = {name: value if name == "APP_WEBHOOK_SECRET" else None for name, value in variables.items()}
    if as_json:
        show_json({"config": str(config), "source": _source(preset), "variables": shown})
        return
    option = "" if config == DEFAULT_FILE else f" -c {config}"
    show(f"wrote {config}; set its variables, then check and run it:\n")
    for name, value in shown.items():
        show(f"  export {name}={value or '...'}")
    show(f"  notifier check{option}")
    show(f"  notifier source test {_source(preset)} ID{option}   # one look at a task of yours")
    show(f"  notifier run{option}")


def _ask(question: str, option: str, *, wrong: Callable[[str], str | None], default: str | None = None) -> str:
    """Ask until there is an answer that is not `wrong`."""
    if not sys.stdin.isatty():
        fail(f"{option} is needed where there is no terminal to ask on", EXIT_USAGE)
    while True:
        answer = str(typer.prompt(question, default=default, show_default=bool(default))).strip()
        if answer == default or (reason := wrong(answer)) is None:
            return answer
        complain(reason)


def _wrong_preset(name: str) -> str | None:
    from notifier.sources.preset import names

    if name in names():
        return None
    near = difflib.get_close_matches(name, names(), n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no preset {json.dumps(name)}; {meant}`notifier preset list` names all; generic: one of your own"


def _wrong_url(text: str) -> str | None:
    return None if re.match(r"https?://\S+$", text) else f"{json.dumps(text)} is no URL such as https://example.com"


def _lacks_address(preset: str) -> bool:
    from notifier.sources.preset import load

    description = load(preset)
    return description.base_url is None and "{base_url}" in description.url


_OWN = (  # what a provider of one's own says in its own way
    "    # docs/providers.md, `Describe your provider`, explains what follows",
    '    url: "{base_url}/tasks/{id}"    # where a task is asked for',
    "    transport: poll                 # ask again and again; or sse, a stream",
    '    headers: {Authorization: "Bearer {token}"}',
    "    paths:                          # where a reply says it, as JMESPath",
    "      state: status",
    "      # result: outputs[].url       # also progress, eta, error_code, error_message",
    "    states: {queued: [queued], running: [running], succeeded: [succeeded], failed: [failed]}",
)


def _source(preset: str) -> str:
    return "upstream" if preset == "generic" else preset


def _lines(preset: str, base_url: str | None, url: str | None, *, slack: bool) -> Iterator[str]:
    yield "# Configuration of notifier. config.example.yaml has every key; `notifier check` validates it."
    yield from ("sources:", f"  {_text(_source(preset))}:", f"    preset: {_text(preset)}")
    if base_url is not None:
        yield f"    base_url: {_text(base_url)}"
    yield f"    token: ${{{_token(preset)}}}"
    if preset == "generic":
        yield from _OWN
    yield "endpoints:"
    if url is not None:
        yield from ("  app:", "    type: webhook", f"    url: {_text(url)}")
        yield "    secrets: ${APP_WEBHOOK_SECRET}"
    if slack:
        yield from ("  ops:", "    type: slack", "    url: ${SLACK_WEBHOOK_URL}")
    yield "watches: []                         # task ids; or `notifier watch add ID` while it runs"
    yield f'watch_files: ["{WATCHES}/*.yaml"]   # files with more of them, read by `notifier reload`'


def _text(value: str) -> str:
    """Write a text in YAML, in quotes unless it is a word or a plain URL."""
    plain = re.fullmatch(r"[a-z][a-z0-9_-]*|https?://[\w./:-]*[\w/]", value, re.ASCII)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _token(preset: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", f"{_source(preset)}_TOKEN".upper())


def _variables(preset: str, *, callbacks: bool, slack: bool) -> dict[str, str]:
    """Return the variables of the configuration with valid values; that of the signing secret is new."""
    from notifier.core.signing import new_secret

    variables = {_token(preset): "token"}
    if callbacks:
        variables["APP_WEBHOOK_SECRET"] = new_secret(os.urandom(SECRET_BYTES))
    if slack:
        variables["SLACK_WEBHOOK_URL"] = "https://hooks.slack.com/services/T00/B00/x"
    return variables


def _write(path: Path, text: str, variables: dict[str, str]) -> None:
    """Write a valid configuration, unless there is such a file; exits with the problems of an invalid one."""
    from notifier.config import ConfigError, load

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".notifier-init-") as directory:
            draft = Path(directory) / path.name
            draft.write_text(text, encoding="utf-8")
            load(draft, env=variables)
            os.link(draft, path)  # fails if somebody else has written it meanwhile
        (path.parent / WATCHES).mkdir(exist_ok=True)
    except ConfigError as exc:
        told = [f"{problem.key}: {problem.message}" for problem in exc.problems]
        refuse(told, summary="nothing was written", code=EXIT_USAGE)
    except OSError as exc:
        fail(f"cannot write {path}: {exc.strerror}")
