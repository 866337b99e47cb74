"""What `watch add` is given: the forms of a file, mistakes at their place, requests that the daemon takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notifier.cli.given import MAX_BYTES, MAX_WATCHES, Filling, Given, read_file, read_labels, read_metadata, requests


def read(tmp_path: Path, text: str) -> list[dict[str, object]]:
    path = tmp_path / "w.yaml"
    path.write_text(text)
    return [given.watch for given in read_file(path)]


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


def test_a_single_watch_and_nothing(tmp_path: Path) -> None:
    one = {"id": "1", "endpoints": ["a"], "labels": {"k": "v"}, "metadata": {"n": [1, None]}}
    assert read(tmp_path, json.dumps(one)) == [one]
    assert read(tmp_path, "# nothing yet\n") == []


def test_mistakes_are_told_at_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, each with line and column; nothing is sent."""
    with pytest.raises(SystemExit) as ended:
        read(tmp_path, '- 1e5\n- "1"\n- {id: "2", lables: {}}\n')
    assert ended.value.code == 1
    first, second, summary = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/w.yaml:1:3: [0].id: expected text" in first
    assert f'{tmp_path}/w.yaml:3:13: [2].lables: unknown key; did you mean "labels"?' in second
    assert "nothing was added" in summary


def test_options_fill_in_what_is_not_said() -> None:
    filling = Filling(source="s", endpoints=["a"], labels={"k": "option", "l": "option"}, metadata={"n": 1})
    assert filling.fill({"id": "1"}) == {
        "id": "1",
        "source": "s",
        "endpoints": ["a"],
        "labels": {"k": "option", "l": "option"},
        "metadata": {"n": 1},
    }
    said = {"id": "1", "source": "t", "endpoints": ["b"], "labels": {"k": "own"}, "metadata": 0}
    assert filling.fill(said) == said | {"labels": {"k": "own", "l": "option"}}
    assert Filling(source=None, endpoints=[], labels={}, metadata=None).fill({"id": "1"}) == {"id": "1"}


def test_labels_are_read() -> None:
    assert read_labels(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for wrong in ("a", "=b"):
        with pytest.raises(SystemExit) as ended:
            read_labels([wrong])
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
    many = [Given(place=str(n), watch={"id": str(n)}) for n in range(2 * MAX_WATCHES + 1)]
    assert [len(part) for part in requests(many)] == [MAX_WATCHES, MAX_WATCHES, 1]
    large = [Given(place=str(n), watch={"id": str(n), "metadata": "x" * (MAX_BYTES // 3)}) for n in range(5)]
    parts = list(requests(large))
    assert [given for part in parts for given in part] == large
    assert all(len(json.dumps([given.watch for given in part])) <= MAX_BYTES for part in parts)
    assert list(requests([])) == []


def test_a_callback_is_filled_in_where_a_watch_has_none(tmp_path: Path) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    text = f'- "1"\n- {{id: "2", callback_url: "https://a.example/2", callback_secret: "{secret}"}}'
    filling = Filling(
        source=None,
        endpoints=[],
        labels={},
        metadata=None,
        callback_url="https://a.example/x",
        callback_secret="whsec_y",
    )
    assert [filling.fill(watch) for watch in read(tmp_path, text)] == [
        {"id": "1", "callback_url": "https://a.example/x", "callback_secret": "whsec_y"},
        {
            "id": "2",
            "callback_url": "https://a.example/2",
            "callback_secret": secret,
        },
    ]
