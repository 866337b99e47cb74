"""Renders events by a user's template: Jinja2 in a sandbox, bounded in time and size.

The same event and template give the same text: a template has no clock, no randomness and no files. All loops of a
template together visit at most MAX_STEPS elements, no text on the way exceeds MAX_OUTPUT, and nothing is recursive.
This module is imported only where a template is configured, since Jinja2 takes 40 ms to load.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import jinja2
import structlog
from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from notifier.core.errors import NotifierError
from notifier.core.model import Delivery, Json
from notifier.core.payload import encode
from notifier.core.retry import Rejected
from notifier.senders.reply import visible

T = TypeVar("T")

log = structlog.stdlib.get_logger()

MAX_SOURCE = 64 * 1024  # characters of a template
MAX_OUTPUT = 64 * 1024  # bytes of a rendering; services take less, and receivers expect a kilobyte
MAX_STEPS = 10_000  # elements that all loops of one rendering visit together: some milliseconds
LONGEST_MESSAGE = 200  # characters of Jinja's explanation that are kept
_NAME = "<template>"
_STEPS, _SHORT = "notifier_steps", "notifier_short"  # names of the filters that `_Bounding` inserts
# No randomness (`random`), no markup (`escape`, `urlize` ...), no texts or lists whose length an argument gives.
_FILTERS = frozenset(
    {
        "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "filesizeformat", "first", "float", "groupby",
        "int", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select",
        "selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper", "urlencode", "wordcount",
    }
)  # fmt: skip
# Methods that make a text whose length an argument gives; the filters `replace` and `join` are bounded.
_STRETCHING = frozenset(
    {"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map", "translate", "replace", "join"}
)
MAX_DIGITS = 15  # decimal places: all that a float has
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.Block: "block",
    nodes.Extends: "extends",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
}


class TemplateFault(NotifierError):
    """The template cannot be rendered."""

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line  # of the template, from 1

    def __str__(self) -> str:
        return f"line {self.line} of the template: {self.args[0]}" if self.line else str(self.args[0])


class Template:
    """One template, compiled."""

    def __init__(self, source: str) -> None:
        """Compile a template. Raises TemplateFault if it is not one, or cannot be bounded."""
        if len(source) > MAX_SOURCE:
            raise TemplateFault(f"longer than {MAX_SOURCE // 1024} KiB")
        self._env = _Environment()
        try:
            tree = self._env.parse(source, filename=_NAME)
            _check(tree)
            tree = _Bounding().visit(tree)
            tree.set_environment(self._env)
            self._template = self._env.from_string(tree)
        except jinja2.TemplateSyntaxError as exc:
            raise TemplateFault(_bounded(exc.message or "not a template"), line=exc.lineno) from exc
        except RecursionError as exc:
            raise TemplateFault("nested too deeply") from exc

    def render(self, event: Mapping[str, Any]) -> str:
        """Return the text, without leading and trailing blanks. Raises TemplateFault."""
        self._env.left = MAX_STEPS
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(event):
                size += len(part.encode("utf-8", "replace"))
                if size > MAX_OUTPUT:
                    raise SecurityError(f"it makes more than {MAX_OUTPUT // 1024} KiB")
                parts.append(part)
        except Exception as exc:  # any operation of a template can fail in any way
            message = str(exc) if isinstance(exc, jinja2.TemplateError) else f"{type(exc).__name__}: {exc}"
            raise TemplateFault(_bounded(message), line=_line(exc.__traceback__)) from exc
        return "".join(parts).strip()


def event_of(delivery: Delivery) -> dict[str, Any]:
    """Return the variables of a template: `id` (the webhook-id), `type`, `timestamp`, `data`. Raises TemplateFault."""
    try:
        event = json.loads(delivery.body)
    except (ValueError, RecursionError) as exc:
        raise TemplateFault("the event is not JSON") from exc
    if not isinstance(event, dict):
        raise TemplateFault("the event is not a JSON object")
    return {**event, "id": delivery.event_id}


def json_body(text: str) -> bytes:
    """Return a JSON text as bytes. Raises TemplateFault if it is not JSON."""
    try:
        json.loads(text, parse_constant=_no_constant)
        return text.encode()
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise TemplateFault(f"what it makes is not JSON ({exc.msg} at {where}); the filter tojson quotes") from exc
    except (ValueError, RecursionError) as exc:
        raise TemplateFault("what it makes is not JSON; the filter tojson quotes") from exc


def not_empty(text: str) -> str:
    """Return the text. Raises TemplateFault if it is empty."""
    if not text:
        raise TemplateFault("it makes an empty text")
    return text


class Renderer:
    """Applies one template to deliveries.

    A fault of the template ends the delivery, since it would recur at every attempt, and does not count against the
    endpoint. A dead delivery stays listed, and can be retried once the template is corrected. Each attempt renders the
    stored event anew, so a retry after a reload uses the new template.
    """

    def __init__(self, source: str) -> None:
        """Raises TemplateFault."""
        self._template = Template(source)

    def json(self, delivery: Delivery) -> bytes | Rejected:
        """Return the body that the template makes."""
        return self._render(delivery, json_body)

    def text(self, delivery: Delivery) -> str | Rejected:
        """Return the text that the template makes."""
        return self._render(delivery, not_empty)

    def _render(self, delivery: Delivery, accept: Callable[[str], T]) -> T | Rejected:
        try:
            return accept(self._template.render(event_of(delivery)))
        except TemplateFault as exc:
            log.error("sender.template_failed", endpoint=delivery.endpoint, delivery=delivery.id, problem=str(exc))
            return Rejected(reason="template", detail=str(exc), well=None)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2 without unbounded operations."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
        self.left = MAX_STEPS  # elements that loops may still visit
        self.globals = {"range": self._range, "dict": dict}
        self.filters = {name: self.filters[name] for name in _FILTERS} | {
            "tojson": _tojson,
            "replace": _replace,
            "round": _round,
            "join": _join,
            _STEPS: self._steps,
            _SHORT: self._short,
        }

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse methods that make a text whose length an argument gives."""
        stretching = isinstance(obj, str) and attr in _STRETCHING
        return not stretching and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Leave `format` to `is_safe_attribute`; the sandbox's own makes texts of any length."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate if the result stays small. Raises SecurityError."""
        match operator:
            case "**" if _bits(left) * max(1, _bits(right) and abs(int(right))) > MAX_OUTPUT:
                raise SecurityError("a number too large")
            case "*" if _length(left) * _bits_or_value(right) + _length(right) * _bits_or_value(left) > MAX_OUTPUT:
                raise SecurityError("a text or list too long")
            case "%" if isinstance(left, str):
                raise SecurityError("`%` does not format here; put texts together with `~`")
        return self._short(context, super().call_binop(context, operator, left, right))

    @pass_context  # so that Jinja2 does not evaluate it while compiling
    def _steps(self, _context: Context, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.left -= 1
            if self.left < 0:
                raise SecurityError(f"its loops go through more than {MAX_STEPS} elements")
            yield item

    @pass_context
    def _short(self, _context: Context, value: Any) -> Any:
        if _length(value) > MAX_OUTPUT or _bits(value) > MAX_OUTPUT:
            raise SecurityError("a text, list or number too long")
        return value

    def _range(self, *args: int) -> range:
        numbers = range(*args)
        if len(numbers) > MAX_STEPS:
            raise SecurityError(f"a range of more than {MAX_STEPS} elements")
        return numbers


class _Bounding(NodeTransformer):
    """Wraps the iterable of each loop in a counting filter, and each concatenation in a measuring one."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 # Jinja2 calls it by the node's name
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _STEPS)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802 # the same
        self.generic_visit(node)
        return _filtered(node, _SHORT)


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _check(tree: nodes.Template) -> None:
    """Refuse statements that cannot be bounded, or that need other templates. Raises TemplateFault."""
    for kind, word in _REFUSED.items():
        if (node := tree.find(kind)) is not None:
            raise TemplateFault(f"{{% {word} %}} is not for templates of one piece", line=node.lineno)
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise TemplateFault("loops do not call themselves here", line=loop.lineno)
    for call in tree.find_all(nodes.Call):
        numbers = [argument.value for argument in call.args if isinstance(argument, nodes.Const)]
        if (
            isinstance(call.node, nodes.Name)
            and call.node.name == "range"
            and len(numbers) == len(call.args)
            and all(isinstance(number, int) for number in numbers)
            and 1 <= len(numbers) <= 3
            and numbers[2:] != [0]
            and len(range(*numbers)) > MAX_STEPS
        ):
            raise TemplateFault(f"a range of more than {MAX_STEPS} elements", line=call.lineno)


def _tojson(value: Json) -> str:
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises, with the name of the undefined value
    return encode(value).decode()


def _replace(value: object, old: str, new: str) -> str:
    text = str(value)
    if len(text) + text.count(old) * len(new) > MAX_OUTPUT:
        raise SecurityError("a text too long")
    return text.replace(old, new)


def _round(value: float, precision: int = 0) -> float:
    return round(value, max(-MAX_DIGITS, min(precision, MAX_DIGITS))) if precision else round(value)


def _join(value: Iterable[Any], separator: str = "") -> str:
    parts = [str(part) for part in value]
    if sum(map(len, parts)) + len(separator) * len(parts) > MAX_OUTPUT:
        raise SecurityError("a text too long")
    return separator.join(parts)


def _no_constant(word: str) -> Json:
    raise ValueError(f"{word} is no JSON")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _bits(value: Any) -> int:
    return int(value).bit_length() if isinstance(value, int) else 0


def _bits_or_value(value: Any) -> int:
    return max(0, int(value)) if isinstance(value, int) else 0


def _bounded(message: str) -> str:
    return visible(message)[:LONGEST_MESSAGE]


def _line(traceback: TracebackType | None) -> int | None:
    """Return the line of the template that an exception came from."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _NAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
