"""The inverse of a path: what is written is found again, and nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from notifier.sources.document import find
from notifier.tools.inverse import Unwritable, affirm, clear, put

PATHS = (
    "status",
    "data.job.status",
    "videos[0].status",
    "errors[2]",
    "errors[-1]",
    "outputs[*].url",
    "data.task_result.videos[*].url || data.task_result.images[*].url",
    "output[*]",
    "a[].b",
    "status || state",
    "done || `false`",
    "parse_json(data.resultJson).resultUrls",
    "a | b",
    "details && to_string(details)",
    "output.*[]",
    "output.*",
    "output.*.url",
    "nodes.*[].url",
    "output[]",
    "status == 'DONE' && urls[*]",
    "code && code != `0` && message",
    "starts_with(result, 'val') && result",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [{}, None, [], {"data": 1, "videos": {}, "errors": "x", "a": [1]}, {"state": "old"}])
def test_what_is_put_is_found_and_what_is_cleared_is_not(path: str, body: Any) -> None:
    """In any body; the body itself stays as it was."""
    before = copy.deepcopy(body)
    written = put(path, body, "value")
    assert find(path)(written) in ("value", ["value"])
    assert body == before
    cleared = clear(path, written)
    assert find(path)(cleared) in (None, [], False)


def test_nothing_else_changes() -> None:
    body = {"data": {"id": 7, "videos": [{"id": 1, "url": "old"}]}, "code": 0}
    assert put("data.videos[*].url", body, ["new"]) == {
        "data": {"id": 7, "videos": [{"id": 1, "url": "new"}]},
        "code": 0,
    }
    assert put("counts.[done, total]", {"counts": {"bad": 1}}, [4, 10]) == {
        "counts": {"bad": 1, "done": 4, "total": 10}
    }
    assert clear("data.url || code", body) == {**body, "code": None}


def test_the_values_of_a_mapping_are_written_under_its_names_and_then_under_numbers() -> None:
    """`output.*[]`, lists by name as Runway's workflows have them, is one list under one name."""
    body = {"output": {"n1": ["old"], "n2": ["older"]}, "id": 7}
    assert put("output.*[]", body, ["a", "b"]) == {"output": {"n1": ["a", "b"]}, "id": 7}
    assert put("output.*[]", {}, "a") == {"output": {"1": ["a"]}}
    assert put("output.*", {"output": {"2": "x"}}, ["a", "b", "c"]) == {"output": {"2": "a", "1": "b", "3": "c"}}
    assert put("output.*.url", {"output": {"n": {"id": 1}}}, ["a"]) == {"output": {"n": {"id": 1, "url": "a"}}}
    assert clear("output.*[]", body) == {"output": {}, "id": 7}
    assert clear("a[].b", {"a": [[{"b": 1}], {"b": 2}]}) == {"a": []}


def test_what_is_written_behind_a_condition_makes_it_hold_and_clearing_leaves_it() -> None:
    assert put("status == 'DONE' && url", {"status": "BUSY"}, "a") == {"status": "DONE", "url": "a"}
    assert put("status == 'DONE' && url", {"status": "DONE"}, "a") == {"status": "DONE", "url": "a"}
    assert put("code && code != `0` && message", {"code": 7}, "a") == {"code": 7, "message": "a"}
    assert clear("status == 'DONE' && url", {"status": "DONE", "url": "a"}) == {"status": "DONE", "url": None}
    assert clear("id && 'SUBMITTED'", {"id": 7}) == {"id": None}


def test_of_alternatives_the_one_that_finds_something_is_written() -> None:
    assert put("url || video_url", {"video_url": "old"}, "new") == {"video_url": "new"}
    assert put("url || video_url", {}, "new") == {"url": "new"}


@pytest.mark.parametrize(
    "condition",
    [
        "error",
        "!(samples) && reasons",
        "contains(error.message, 'not found')",
        "starts_with(message, 'no ')",
        "status == 'FAILED'",
        "error || message",
        "code != `0`",
        "error && code != `0`",
    ],
)
def test_a_condition_can_be_made_to_hold(condition: str) -> None:
    assert find(condition)(affirm(condition, {"samples": [1], "error": None}))


@pytest.mark.parametrize("path", ["length(items)", "'word'", "errors[5000]", "[a, b]", "!x", "errors[-2]"])
def test_where_nothing_can_be_written_is_said(path: str) -> None:
    with pytest.raises(Unwritable):
        put(path, {}, "value")
