"""Explains mistakes of YAML's syntax: what is wrong, where, and what to do about it. No message shows the text."""

from __future__ import annotations

import re
from typing import Any

import yaml

_NO_BLANK = re.compile(r"[ -]*\w+:[^\s/]")  # key:value; a URL's colon has a slash
_QUOTE = "put the value in quotes"
PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BRACKETS = {"sequence": ("list", "]"), "mapping": ("mapping", "}")}


def explain_syntax(text: str, exc: yaml.YAMLError) -> tuple[str, int, int]:
    """Return a message with the line and column of the mistake, both from 1."""
    mark: Any = getattr(exc, "problem_mark", None)
    problem, context = str(getattr(exc, "problem", None) or "unreadable"), str(getattr(exc, "context", None) or "")
    if mark is None:
        return f"not valid YAML: {problem}", 1, 1
    start: Any = getattr(exc, "context_mark", None) or mark
    line, column = mark.line + 1, mark.column + 1
    lines = text.splitlines()
    written = lines[mark.line] if mark.line < len(lines) else ""
    indent = written[: len(written) - len(written.lstrip())]
    if "\t" in indent and mark.column <= len(indent):
        return "not valid YAML: a tab in the indentation; use blanks", line, indent.index("\t") + 1
    if problem == "found unexpected end of stream" and "quoted" in context:
        return "not valid YAML: the quote that opens here is never closed", start.line + 1, start.column + 1
    if opening := _closed_late(text, mark.line, mark.column):
        closed = f"the quote that opens here is closed only on line {line}; is one missing?"
        return f"not valid YAML: {closed}", opening[0] + 1, opening[1] + 1
    for kind, (name, bracket) in _BRACKETS.items():
        if f"flow {kind}" in context:
            needed = f"the {name} that opens on line {start.line + 1} needs `,` or `{bracket}` here"
            inner = written[mark.column : mark.column + 1]
            quote = f"; a text that holds `{inner}` is put in quotes" if inner and inner in "[]{}" else ""
            return f"not valid YAML: {needed}{quote}", line, column
    above = lines[mark.line - 1] if mark.line else ""
    first = mark.column <= len(indent)
    message = _explain(problem, context, before=written[: mark.column], above=above, first=first)
    return f"not valid YAML: {message}", line, column


def _closed_late(text: str, line: int, column: int) -> tuple[int, int] | None:
    """Return where the quoted text that ends before the place begins, if on an earlier line; all count from 0."""
    try:
        for token in yaml.scan(text, Loader=PARSER):
            start, end = token.start_mark, token.end_mark
            quoted = isinstance(token, yaml.ScalarToken) and token.style in ("'", '"')
            if quoted and start.line < end.line == line and end.column <= column:
                return start.line, start.column
            if start.line > line:
                break
    except yaml.YAMLError:
        pass  # it is the mistake that is being explained
    return None


def _explain(problem: str, context: str, *, before: str, above: str, first: bool) -> str:
    """Return the message; `before` is the line before the mistake, `first` whether that is blank.

    `above` is the line above it.
    """
    if "mapping values are not allowed" in problem:
        if ":" in before:
            return f"a second `:` on this line; {_QUOTE} if it holds `: `"
        if _NO_BLANK.match(above):
            return "a key is not expected here: on the line above, the `:` needs a blank after it"
        return "a key is not expected here: the line above has a value already, or this line is indented too far"
    if "sequence entries are not allowed" in problem:
        return "`- ` begins a line of its own; write a list in one line as [a, b]"
    if "Unicode" in problem:
        return "an escape that is no character, such as one half of a pair (\\ud83d); write the character itself"
    if "unknown escape" in problem or "hex" in problem:
        return "an unknown escape in double quotes; write \\\\ for a backslash, or use single quotes"
    if "cannot start any token" in problem:
        return f"a value cannot begin with this character; {_QUOTE}"
    if "could not find expected ':'" in problem:
        return "a key without `:`, or a text that is indented less than it should be"
    if "block scalar" in context:
        return "nothing can follow `|` and `>` on their line; the text begins on the next one"
    if "anchor" in context or "alias" in context:
        return f"`&` and `*` begin the names of anchors; {_QUOTE}"
    block = "block" in context and ("block end" in problem or "expected key" in problem or "'-' indicator" in problem)
    if (block or "<document start>" in problem) and first:
        return "indented differently from the lines above that it belongs to"
    if block and before.rstrip()[-1:] in ("}", "]"):
        return f"text after the closing `{before.rstrip()[-1]}`; put the whole value in quotes"
    if block:
        return f"text after the end of a quoted value; {_QUOTE} as a whole, and double the quotes inside of it"
    if "<document start>" in problem:
        return "nothing can stand here, after the end of the value before it; is there a bracket too many?"
    if "node content" in problem:
        return f"a value is expected here; {_QUOTE} if it begins with this character"
    return problem
