"""Private parts of typer: how a parameter's text becomes a value, how help names arguments, and what bash is offered.

typer reads every parameter through pydantic, even text, and pydantic takes longer to load than most commands take to
run. Here plain values are read as pydantic would read them; all others, and all that are refused, are left to typer.

typer's help has braces around arguments that are required, types of Python behind them, formulas for ranges, and breaks
lines at the hyphens of options. Here it has the forms of manual pages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import BadParameter, _completion_classes, core
from typer._click import _textwrap
from typer._click import core as click_core
from typer._click.utils import make_default_short_help

if TYPE_CHECKING:
    from typer._coercion import TypeDescriptor

_by_pydantic: Any = core.build_runtime_param  # type: ignore[attr-defined]  # imported there, not exported
_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
LONGEST = 1000  # characters of a command's first sentence, which lists of commands break and do not cut
_UNREAD = object()  # no plain value


def read_plain_values() -> None:
    """Have typer load pydantic only for values that are not plain."""
    core.build_runtime_param = _Parameter  # type: ignore[assignment,attr-defined]  # of it, only `coerce` is called


def write_plain_help() -> None:
    """Have help name an argument by its metavar alone, tell ranges in words, break lines at blanks, and cut nothing."""
    argument: Any = core.TyperArgument
    argument.display_type_rich = lambda self, ctx: None  # noqa: ARG005  # of the base
    argument._rich_display_name = _repeated
    argument._usage_display_name = lambda self: _repeated(self) if self.required else f"[{_repeated(self)}]"
    core.describe_number_range = _range  # type: ignore[attr-defined]  # imported there, not exported
    _textwrap.TextWrapper = _Wrapper  # type: ignore[misc]  # looked up there at each text
    commands: Any = click_core
    commands.make_default_short_help = _whole_sentence


def _whole_sentence(help: str, max_length: int) -> str:  # noqa: ARG001  # typer names both
    return make_default_short_help(help, LONGEST)


def offer_without(prefix: str) -> None:
    """Leave a prefix out of what bash is offered: it replaces only what comes after."""
    bash: Any = _completion_classes.BashComplete
    bash.format_completion = lambda self, item: item.value.removeprefix(prefix)  # noqa: ARG005  # of the base


def _repeated(argument: Any) -> str:
    return f"{argument.display_name_raw}{'...' if argument.nargs != 1 else ''}"


def _range(min: float | None, max: float | None) -> str | None:  # typer names them so
    match min, max:
        case None, None:
            return None
        case None, _:
            return f"at most {max}"
        case _, None:
            return f"at least {min}"
        case _:
            return f"{min} to {max}"


class _Wrapper(_textwrap.TextWrapper):
    """Breaks no word at its hyphens: an option is one word."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.break_on_hyphens = False


class _Parameter:
    """A parameter, in place of typer's RuntimeParam."""

    def __init__(self, descriptor: TypeDescriptor) -> None:
        self._descriptor = descriptor
        self._full: Any = None

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value of a text, or of several. Raises typer.BadParameter."""
        plain = self._plain(value, several=param.multiple or param.nargs == -1)
        if plain is not _UNREAD:
            return plain
        if self._full is None:
            self._full = _by_pydantic(self._descriptor)
        return self._full.coerce(value, param=param, ctx=ctx)

    def _plain(self, value: Any, *, several: bool) -> Any:
        info, kind = self._descriptor.parameter_info, self._descriptor.annotation
        if value is None:
            return () if several else None
        if info.parser is not None:
            return _UNREAD if several else _parsed(info.parser, value)
        if several:
            texts = kind == list[str] and isinstance(value, list | tuple) and all(type(each) is str for each in value)
            return list(value) if texts else _UNREAD
        if kind is str and type(value) is str:
            return value
        if kind in (int, float):
            return _number(kind, value, info)
        if kind is Path and _is_usual(info) and value and isinstance(value, str | Path) and _readable(value):
            return Path(value)
        return _UNREAD


def _parsed(parser: Callable[[Any], Any], value: Any) -> Any:
    try:
        return parser(value)
    except (ValueError, BadParameter):
        return _UNREAD  # typer tells which parameter is refused


def _number(kind: type[int] | type[float], value: Any, info: Any) -> Any:
    if type(value) is str and (_WHOLE if kind is int else _DECIMAL).fullmatch(value):
        value = kind(value)
    if type(value) is not kind or value < -(1 << 53) or value > 1 << 53:
        return _UNREAD
    return value if (info.min is None or value >= info.min) and (info.max is None or value <= info.max) else _UNREAD


def _is_usual(info: Any) -> bool:
    """Return whether a path is looked at as typer does by default."""
    looked = (info.exists, info.file_okay, info.dir_okay, info.writable, info.readable, info.resolve_path)
    return looked == (False, True, True, False, True, False) and not info.allow_dash and info.path_type is None


def _readable(path: str | Path) -> bool:
    """Return whether typer accepts a path: nothing is there, or a file that can be read."""
    try:
        os.stat(path)
    except (OSError, ValueError):
        return True
    return os.access(path, os.R_OK)
