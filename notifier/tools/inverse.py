"""The inverse of a path: it writes a value into a body where a JMESPath expression will find it. Pure.

It knows the forms that presets are made of: names, indexes, lists and mappings of everything, alternatives, negations,
comparisons, `contains` and `parse_json`. Bodies are never changed; each function returns another one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import count, islice
from typing import Any, cast

import jmespath
from jmespath.visitor import TreeInterpreter

from notifier.core.model import Json
from notifier.sources.document import PathFunctions
from notifier.sources.preset import compilable
from notifier.sources.values import present

Node = dict[str, Any]  # of JMESPath's syntax tree

MAX_INDEX = 1000  # a path that asks for a later item of a list is refused, before such a list is made
_CHAINS = frozenset({"subexpression", "index_expression", "pipe"})
_SELF = frozenset({"identity", "current"})


class Unwritable(ValueError):
    """No value can be written so that this expression finds it."""


def put(path: str, body: Json, value: Json) -> Json:
    """Return the body in which `path` finds `value`. Raises Unwritable."""
    return _put(_tree(path), body, value)


def clear(path: str, body: Json) -> Json:
    """Return the body in which `path` finds nothing: null, or an empty list."""
    return _clear(_tree(path), body)


def affirm(path: str, body: Json, value: Json = "yes") -> Json:
    """Return the body for which the condition `path` holds; where any value will do, it is `value`."""
    return _affirm(_tree(path), body, value)


@lru_cache(maxsize=1024)
def _tree(path: str) -> Node:
    return cast("Node", jmespath.compile(compilable(path)).parsed)


def _find(node: Node, body: Json) -> Json:
    try:
        return TreeInterpreter(jmespath.Options(custom_functions=PathFunctions())).visit(cast("Any", node), body)
    except (ValueError, TypeError):
        return None


def _put(node: Node, body: Json, value: Json) -> Json:
    match node["type"]:
        case "field":
            return {**(body if isinstance(body, dict) else {}), node["value"]: value}
        case "index":
            return _put_at(node["value"], body, value)
        case kind if kind in _SELF:
            return value
        case kind if kind in _CHAINS:
            return _put_through(node["children"], body, value)
        case "projection":
            return _put_all(node, body, value)
        case "value_projection":
            return _put_values(node, body, value)
        case "flatten":
            return _put_flat(node["children"][0], body, value)
        case "or_expression":
            return _put_one_of(node["children"], body, value)
        case "multi_select_list" if isinstance(value, list) and len(value) == len(node["children"]):
            for child, item in zip(node["children"], value, strict=True):
                body = _put(child, body, item)
            return body
        case "multi_select_dict" if isinstance(value, dict):
            for pair in node["children"]:
                body = _put(pair["children"][0], body, value[pair["value"]]) if pair["value"] in value else body
            return body
        case "and_expression":
            return _put_if(node["children"], body, value)
        case "function_expression" if node["value"] == "to_string":
            return _put(node["children"][0], body, value)
        case "function_expression" if node["value"] == "parse_json":
            return _put(node["children"][0], body, json.dumps(value, separators=(",", ":")))
        case kind:
            raise Unwritable(f"nothing can be written where {kind.replace('_', ' ')} stands")


def _put_at(index: int, body: Json, value: Json) -> Json:
    items = list(body) if isinstance(body, list) else []
    if index > MAX_INDEX or index < -1:
        raise Unwritable(f"nothing can be written at index {index}")
    if index < 0:
        return [*items[:-1], value]
    return [*items[:index], *[None] * (index - len(items)), value, *items[index + 1 :]]


def _put_through(nodes: Sequence[Node], body: Json, value: Json) -> Json:
    first, *rest = nodes
    if not rest:
        return _put(first, body, value)
    return _put(first, body, _put_through(rest, _find(first, body), value))


def _put_all(node: Node, body: Json, value: Json) -> Json:
    source, element = node["children"]
    found = _find(source, body)
    before = found if isinstance(found, list) else []
    items = value if isinstance(value, list) else [value]
    written = [_put(element, before[at] if at < len(before) else None, item) for at, item in enumerate(items)]
    return _put(source, body, written)


def _put_values(node: Node, body: Json, value: Json) -> Json:
    """Write the values of a mapping: under the names that it has, and under numbers beyond those."""
    source, element = node["children"]
    found = _find(source, body)
    before = found if isinstance(found, dict) else {}
    items = value if isinstance(value, list) else [value]
    fresh = (str(number) for number in count(1) if str(number) not in before)
    keys = [*islice([*before], len(items)), *islice(fresh, max(0, len(items) - len(before)))]
    written = {key: _put(element, before.get(key), item) for key, item in zip(keys, items, strict=True)}
    return _put(source, body, written)


def _put_flat(inner: Node, body: Json, value: Json) -> Json:
    """Write where lists are joined: the values of a mapping are one list, as those of a provider are."""
    if inner["type"] != "value_projection":
        return _put(inner, body, value)
    return _put(inner, body, [value if isinstance(value, list) else [value]])


def _put_if(nodes: Sequence[Node], body: Json, value: Json) -> Json:
    """Write behind conditions: those that do not hold are made to, as far as that can be written."""
    *conditions, last = nodes
    body = _put(last, body, value)
    for node in conditions:
        if not present(_find(node, body)):
            with contextlib.suppress(Unwritable):
                body = _affirm(node, body, "yes")
    return body


def _put_one_of(nodes: Sequence[Node], body: Json, value: Json) -> Json:
    """Write where one of the alternatives finds something already, or else where the first can be written."""
    for node in (*(node for node in nodes if _find(node, body) is not None), *nodes):
        try:
            return _put(node, body, value)
        except Unwritable:
            continue
    raise Unwritable("none of the alternatives can be written")


def _clear(node: Node, body: Json) -> Json:
    if _find(node, body) in (None, []):
        return body
    match node["type"]:
        case "or_expression" | "multi_select_list":
            for child in node["children"]:
                body = _clear(child, body)
            return body
        case "and_expression":  # one that finds nothing is enough
            for child in reversed(node["children"]):
                body = _clear(child, body)
                if not present(_find(node, body)):
                    break
            return body
        case "projection" | "flatten":
            return _put_empty(node["children"][0], body, [])
        case "value_projection":
            return _put_empty(node["children"][0], body, {})
        case "function_expression":
            return _clear(node["children"][0], body)
        case kind if kind in _CHAINS:
            first, *rest = node["children"]
            inner: Node = {**node, "children": rest} if len(rest) > 1 else rest[0]
            return _put(first, body, _clear(inner, _find(first, body)))
        case "field" | "index":
            return _put(node, body, None)
        case _:
            return body  # a literal, which no body changes


def _put_empty(source: Node, body: Json, empty: Json) -> Json:
    """Return the body in which a projection has nothing to go through."""
    return _clear(source, body) if source["type"] in ("flatten", "value_projection") else _put(source, body, empty)


def _affirm(node: Node, body: Json, value: Json) -> Json:
    match node["type"]:
        case "and_expression":
            for child in node["children"]:
                body = _affirm(child, body, value)
            return body
        case "not_expression":
            return _clear(node["children"][0], body)
        case "or_expression":
            return _affirm(node["children"][0], body, value)
        case "comparator" if node["value"] == "eq":
            return _put(node["children"][0], body, _find(node["children"][1], body))
        case "comparator" if node["value"] == "ne":
            return body if _find(node, body) else _put(node["children"][0], body, value)
        case "function_expression" if node["value"] in ("contains", "starts_with", "ends_with"):
            return _put(node["children"][0], body, _find(node["children"][1], body))
        case _:
            return _put(node, body, value)
