"""The watches that `watch add` reads: the forms of a file, mistakes at their place, requests that the daemon takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notifier.cli.watch_input import (
    MAX_BYTES,
    MAX_WATCHES,
    WatchDefaults,
    WatchInput,
    batches,
    read_file,
    read_metadata,
    read_pairs,
)
from notifier.core.model import Json


def read(tmp_path: Path, text: str) -> list[Json]:
    path = tmp_path / "w.yaml"
    path.write_text(text)
    return [watch.watch for watch in read_file(path)]


@pytest.mark.parametrize(
    "text",
    [
        '- "1"\n- {id: 2, source: s}\n',
        'watches: ["1", {id: "2", source: s}]',
        '["1", {"id": "2", "source": "s"}]',
        '[\n\t"1",\n\t{"id": "2", "source": "s"}\n]',  # as JSON is indented by some
    ],
    ids=["list", "watches", "JSON", "JSON with tabs"],
)
def test_a_file_is_a_list_of_watches(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [{"id": "1"}, {"id": "2", "source": "s"}]


@pytest.mark.parametrize("text", ["007 1e5\n12345678901234567890\n", "007\n\n1e5\n12345678901234567890"])
def test_a_mere_text_is_a_list_of_ids(tmp_path: Path, text: str) -> None:
    """Digits stay as they are written, which YAML would not have."""
    assert read(tmp_path, text) == [{"id": "007"}, {"id": "1e5"}, {"id": "12345678901234567890"}]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("# mine\n\n7\n  # done:\n8   # the last\n\n\n9 10#11\n", {"7": 3, "8": 5, "9": 8, "10#11": 8}),
        ("7\r\n# x\r\n8\r\n", {"7": 1, "8": 3}),
        ("a:b\n-c\n007\n", {"a:b": 1, "-c": 2, "007": 3}),
        ("${HOME}\no'x\n# x", {"${HOME}": 1, "o'x": 2}),
        ('{"id": "7"}\n\n# {\n  {"id": 8}\n', {"7": 1, "8": 4}),
        ('{"id": "#7"}\n"8"\n{id: "9"}\n', {"#7": 1, "8": 2, "9": 3}),
        ('\n{"id": "7"}\n', {"7": 1}),
        (
            '7\n\n{"id": "8"}  # {\n9 10 # x\n"${11}"\n'.replace("${", "$${"),
            {"7": 1, "8": 3, "9": 4, "10": 4, "${11}": 5},
        ),
        ('{"id": "7"}\n8\n{"id": "\\ud83d\\ude00"}\n${x}\n', {"7": 1, "8": 2, "\U0001f600": 3, "${x}": 4}),
    ],
    ids=[
        "ids",
        "CRLF",
        "odd ids",
        "no variables",
        "JSON lines",
        "texts and mappings",
        "one line",
        "both",
        "JSON first",
    ],
)
def test_lines_are_ids_or_values_and_may_be_blank_or_comments(tmp_path: Path, text: str, ids: dict[str, int]) -> None:
    """Each has its line, which a refusal names."""
    path = tmp_path / "w.txt"
    path.write_text(text, newline="")
    watches = read_file(path)
    assert {watch.watch["id"]: watch.place() for watch in watches} == {i: f"{path}:{n}" for i, n in ids.items()}


@pytest.mark.parametrize(
    "text", ["1\n- 2\n", '{"id": "1"}\n[2]\n', '{"id": "1"}\n{"id": "2"\n', "a: b\nc\n", '1\n{"id": "2"\n']
)
def test_lines_of_a_list_and_of_another_form_are_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(SystemExit):
        read(tmp_path, text)


def test_a_single_watch_and_nothing(tmp_path: Path) -> None:
    one = {"id": "1", "endpoints": ["a"], "labels": {"k": "v"}, "metadata": {"n": [1, None]}}
    assert read(tmp_path, json.dumps(one)) == [one]
    assert read(tmp_path, "# nothing yet\n") == []


def test_mistakes_of_the_syntax_are_told_at_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, each with line and column; nothing is sent. An unquoted text that may be a number is one of them."""
    with pytest.raises(SystemExit) as ended:
        read(tmp_path, '- 1_0\n- "1"\n- {id: 007, labels: {at: 12:30}, id: "3"}\n')
    assert ended.value.code == 1
    *mistakes, summary = capsys.readouterr().err.splitlines()
    assert sorted(mistakes) == [
        f"{tmp_path}/w.yaml:1:3: [0]: 1_0 unquoted can be read in several ways; put it in quotes",
        f"{tmp_path}/w.yaml:3:26: [2].labels.at: 12:30 unquoted can be read in several ways; put it in quotes",
        f"{tmp_path}/w.yaml:3:34: [2].id: duplicate key; first on line 3",
        f"{tmp_path}/w.yaml:3:8: [2].id: 007 unquoted can be read in several ways; put it in quotes",
    ]
    assert "nothing was added" in summary


def test_what_is_no_watch_is_left_to_the_daemon(tmp_path: Path) -> None:
    """Its refusal is worded in one place; options fill in nothing where there is no mapping."""
    odd = "- null\n- [1]\n- true\n- {id: 1.5, labels: [a]}\n- {id: -1}\n- {labels: null}\n"
    watches = read(tmp_path, odd)
    assert watches == [
        None,
        [1],
        {"id": True},
        {"id": 1.5, "labels": ["a"]},
        {"id": -1},
        {"labels": None},
    ]
    defaults = WatchDefaults(source="s", endpoints=[], labels={"k": "v"}, metadata=None)
    assert [defaults.fill(watch) for watch in watches] == [
        None,
        [1],
        {"id": True, "source": "s", "labels": {"k": "v"}},
        {"id": 1.5, "source": "s", "labels": ["a"]},
        {"id": -1, "source": "s", "labels": {"k": "v"}},
        {"source": "s", "labels": None},
    ]


def test_an_argument_is_its_own_place() -> None:
    """An empty one is shown as it was typed."""
    assert [WatchInput(watch={"id": name}, name=name).place() for name in ("a", "")] == ["a", "''"]


def test_each_value_has_a_place(tmp_path: Path) -> None:
    """The line of its key; of a key that is not in the file, the line of the watch; of an argument, the argument."""
    path = tmp_path / "w.yaml"
    path.write_text('watches:\n- "1"\n- id: "2"\n  labels:\n    team: a\n')
    first, second = read_file(path)
    assert first.place() == first.place(("source",)) == f"{path}:2"
    assert second.place() == second.place(("source",)) == f"{path}:3"
    assert second.place(("labels",)) == f"{path}:4"
    assert second.place(("labels", "team")) == f"{path}:5"
    assert WatchInput(name="7", watch={"id": "7"}).place(("labels",)) == "7"


def test_options_fill_in_what_is_not_said() -> None:
    defaults = WatchDefaults(
        source="s",
        endpoints=["a"],
        labels={"k": "option", "l": "option"},
        metadata={"n": 1},
        variables={"kind": "option"},
        traceparent="00-t",
    )
    assert defaults.fill({"id": "1"}) == {
        "id": "1",
        "source": "s",
        "endpoints": ["a"],
        "labels": {"k": "option", "l": "option"},
        "metadata": {"n": 1},
        "variables": {"kind": "option"},
        "traceparent": "00-t",
    }
    said = {
        "id": "1",
        "source": "t",
        "endpoints": ["b"],
        "labels": {"k": "own"},
        "metadata": 0,
        "variables": {"kind": "own"},
        "traceparent": "00-own",
    }
    assert defaults.fill(said) == said | {"labels": {"k": "own", "l": "option"}}
    assert WatchDefaults(source=None, endpoints=[], labels={}, metadata=None).fill({"id": "1"}) == {"id": "1"}


def test_labels_are_read() -> None:
    assert read_pairs(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for wrong in ("a", "=b"):
        with pytest.raises(SystemExit) as ended:
            read_pairs([wrong])
        assert ended.value.code == 2


def test_metadata_is_json() -> None:
    assert read_metadata('{"order": 7}') == {"order": 7}
    assert read_metadata(None) is None
    for wrong in ("{order: 7}", "[" * 100_000):
        with pytest.raises(SystemExit) as ended:
            read_metadata(wrong)
        assert ended.value.code == 2


def test_requests_are_no_larger_than_the_daemon_takes() -> None:
    """By number, and by size; none is empty and nothing is left out."""
    many = [WatchInput(name=str(n), watch={"id": str(n)}) for n in range(2 * MAX_WATCHES + 1)]
    assert [len(part) for part in batches(many)] == [MAX_WATCHES, MAX_WATCHES, 1]
    large = [WatchInput(name=str(n), watch={"id": str(n), "metadata": "x" * (MAX_BYTES // 3)}) for n in range(5)]
    parts = list(batches(large))
    assert [watch for part in parts for watch in part] == large
    assert all(len(json.dumps([watch.watch for watch in part])) <= MAX_BYTES for part in parts)
    assert list(batches([])) == []


def test_a_callback_is_filled_in_where_a_watch_has_none(tmp_path: Path) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    text = f'- "1"\n- {{id: "2", callback_url: "https://a.example/2", callback_secret: "{secret}"}}'
    defaults = WatchDefaults(
        source=None,
        endpoints=[],
        labels={},
        metadata=None,
        callback_url="https://a.example/x",
        callback_secret="whsec_y",
    )
    assert [defaults.fill(watch) for watch in read(tmp_path, text)] == [
        {"id": "1", "callback_url": "https://a.example/x", "callback_secret": "whsec_y"},
        {
            "id": "2",
            "callback_url": "https://a.example/2",
            "callback_secret": secret,
        },
    ]
