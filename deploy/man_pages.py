"""Write the manual: notifier(1) from the commands' help, notifier.yaml(5) from the configuration's JSON Schema.

What a page says is said by the program; here are only its frame and its typesetting, in the macros of man(7). The pages
are not kept: `make man` and the Debian package make them anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.main import get_command

from notifier import __version__
from notifier.cli import app
from notifier.config import json_schema

EXITS = {
    "0": "done",
    "1": "failed",
    "2": "wrong usage",
    "78": "the configuration was refused; systemd does not start the daemon again on it",
}
WAIT_EXITS = {"0": "succeeded", "3": "failed", "4": "canceled", "5": "lost", "124": "the timeout passed"}
FILES = {
    "./config.yaml": "the configuration that commands read where no other is named",
    "/etc/notifier/config.yaml": "the configuration of the system service",
    "/etc/notifier/environment": "the variables that it names, as NAME=value lines; root's, mode 0600",
    "/var/lib/notifier/notifier.db": "the database of the system service",
}
SIGNALS = {
    "SIGHUP": "load the configuration again; one with a mistake changes nothing",
    "SIGTERM, SIGINT": "finish the deliveries under way, close the streams, end",
}


def main() -> None:
    """Write both pages into the directory that the first argument names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in (("notifier.1", commands_page()), ("notifier.yaml.5", configuration_page())):
        (out / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(out / name)


def commands_page() -> Iterator[str]:
    """Write notifier(1)."""
    group = get_command(app)
    yield from head("NOTIFIER", 1, "notifier", "follows generation tasks and sends a signed webhook on every change")
    yield from (".SH SYNOPSIS", ".B notifier", r"[\fIOPTION\fR]... \fICOMMAND\fR [\fIARGUMENT\fR]...")
    yield from (".SH DESCRIPTION", *prose(group.help or ""))
    yield from (".SH OPTIONS", *parameters(group))
    yield ".SH COMMANDS"
    variables: dict[str, set[str]] = {}
    for words, command in walk(group, ("notifier",)):
        context = command.context_class(command, info_name=" ".join(words))
        usage = " ".join(piece for piece in command.collect_usage_pieces(context))
        yield from (f".SS {quoted(' '.join(words))}", f".B {escaped(' '.join(words))}", escaped(usage), ".PP")
        yield from (*prose(command.help or ""), *parameters(command))
        for parameter in command.params:
            for name in [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []:
                variables.setdefault(name, set()).add(parameter.opts[0])
    yield from (".SH EXIT STATUS", *terms(EXITS))
    yield from (r"\fBnotifier watch wait\fR tells how the task ended:", *terms(WAIT_EXITS))
    told = {name: f"the value of {', '.join(sorted(options))}" for name, options in sorted(variables.items())}
    yield from (".SH ENVIRONMENT", *terms(told))
    yield from (".SH FILES", *terms(FILES), ".SH SIGNALS", "The daemon, \\fBnotifier run\\fR, takes", *terms(SIGNALS))
    yield from (".SH SEE ALSO", r"\fBnotifier.yaml\fR(5), \fBsystemd.service\fR(5)")


def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List the commands that do something, with their words, in the order of the help."""
    children: Mapping[str, Any] | None = getattr(command, "commands", None)
    if children is None:
        yield words, command
    for name in children or ():
        yield from walk((children or {})[name], (*words, name))


def parameters(command: Any) -> Iterator[str]:
    """List the arguments and options of a command."""
    context = command.context_class(command)
    yield from terms(dict(record for one in command.params if (record := one.get_help_record(context)) is not None))


def configuration_page() -> Iterator[str]:
    """Write notifier.yaml(5)."""
    schema = json_schema()
    yield from head("NOTIFIER.YAML", 5, "notifier.yaml", "configuration of notifier")
    yield from (".SH DESCRIPTION", *prose(DESCRIPTION))
    yield from (".SH KEYS", *keys(schema))
    for name, section in schema["$defs"].items():
        if section.get("properties"):
            yield from (f".SH {quoted(title(name))}", *prose(section.get("description", "")), *keys(section))
    yield from (".SH SEE ALSO", r"\fBnotifier\fR(1)")


DESCRIPTION = """\
The daemon reads one file of YAML, and the files that it names under watch_files. Unknown keys and wrong values are
refused, all of them at once, each with its line: `notifier check` tells them. `notifier init` writes a short
configuration, and `notifier schema` the JSON Schema that this page is made from.

Durations are written 250ms, 90s, 5m, 2h or 5d; sizes 64KiB, 1MiB. In each text ${NAME} stands for a variable of the
environment, and ${NAME:-text} has a default. A secret may also be {file: PATH}, or {credential: NAME} of systemd.
"""


def keys(section: Mapping[str, Any]) -> Iterator[str]:
    """List the keys of a section: what each is, what it means, and what holds where it is not given."""
    needed = section.get("required", ())
    for name, value in section.get("properties", {}).items():
        told = [" ".join(str(value.get("description", "")).split())]
        if name in needed:
            told.append("required")
        elif value.get("default") is not None:
            told.append(f"default: {json.dumps(value['default'], ensure_ascii=False)}")
        kind = " | ".join(dict.fromkeys(kinds(value)))
        yield from (".TP", rf"\fB{escaped(name)}\fR: {escaped(kind)}", escaped("; ".join(told)) or r"\&")


def kinds(value: Mapping[str, Any]) -> Iterator[str]:
    """Tell in words what a value may be."""
    if "$ref" in value:
        yield title(value["$ref"].rpartition("/")[2])
    for alternative in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield from kinds(alternative)
    if "enum" in value or "const" in value:
        yield from map(str, value.get("enum", [value.get("const")]))
    elif value.get("type") == "array":
        yield f"list of {' | '.join(dict.fromkeys(kinds(value.get('items', {})))) or 'anything'}"
    elif value.get("type") == "object" and "properties" in value:
        yield "{" + ", ".join(f"{key}: ..." for key in value["properties"]) + "}"
    elif value.get("type") == "object":
        of = value.get("additionalProperties")
        inner = " | ".join(dict.fromkeys(kinds(of))) if isinstance(of, dict) else ""
        yield f"names, each with {inner}" if inner else "mapping"
    elif "type" in value:
        yield {"string": "text", "null": "null"}.get(value["type"], value["type"])


def title(name: str) -> str:
    """Name a section by the words of its model: SlackEndpoint is `slack endpoint`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Config")).lower()


def head(heading: str, section: int, name: str, told: str) -> Iterator[str]:
    yield from (f'.TH {heading} {section} "" "notifier {__version__}" "notifier"', ".nh", ".ad l")
    yield from (".SH NAME", f"{name} \\- {told}")


def terms(pairs: Mapping[str, str]) -> Iterator[str]:
    for term, told in pairs.items():
        yield from (".TP", rf"\fB{escaped(term)}\fR", escaped(" ".join(told.split())) or r"\&")
    if pairs:
        yield ".PP"


def prose(text: str) -> Iterator[str]:
    """Set paragraphs; what is indented stays as it is."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n").replace("\b\n", "")):
        lines = paragraph.splitlines()
        if lines and all(line.startswith("  ") for line in lines):
            yield from (".RS", ".nf", *map(escaped, lines), ".fi", ".RE", ".PP")
        elif lines:
            yield from (escaped(" ".join(line.strip() for line in lines)), ".PP")


def quoted(text: str) -> str:
    return '"' + escaped(text).replace('"', r"\(dq") + '"'


def escaped(text: str) -> str:
    """Keep a text from being read as macros: a backslash, a hyphen that is to be copied, a first dot or quote."""
    safe = text.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")
    safe = safe.replace("'", r"\(aq").replace("`", r"\(ga")
    return rf"\&{safe}" if safe.startswith(".") else safe


if __name__ == "__main__":
    main()
