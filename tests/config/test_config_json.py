"""A text that is JSON is read as JSON: also its escapes of characters beyond U+FFFF, which YAML does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_site import WHSEC, Site

from notifier.config import read_document, tree
from notifier.config.surrogates import join_surrogates

EMOJI = "\U0001f600"
FAR = "\U0010ffff\U00010000"


@pytest.fixture(params=["libyaml", "Python"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(tree, "LOADER", yaml.SafeLoader)


def read(tmp_path: Path, text: str, *, clear: bool = True) -> Any:
    path = tmp_path / "w.json"
    path.write_text(text)
    document = read_document(path, {"NAME": "value"}, clear=clear)
    assert document.problems == ()
    return document.data


DATA = [
    f"clip {EMOJI}",
    {"id": f"{FAR}{EMOJI}x", EMOJI: {"a/b\\c": ["\\", "\\ud83d\\ude00", "\u2028\x00\x7f\ufffe", '"', 1, None]}},
    {"a": f"\\{EMOJI}", f"\\\\{EMOJI}": EMOJI * 2000},
]


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize("indent", [None, 1])
def test_what_json_writes_is_read_back(tmp_path: Path, indent: int | None) -> None:
    """Keys and values, with blanks after the signs and without, and with escapes in capitals."""
    for separators in ((",", ": "), (",", ":")):
        text = json.dumps(DATA, indent=indent, separators=separators)
        assert read(tmp_path, text) == DATA
    assert read(tmp_path, '["\\uD83D\\uDE00", "\\uD83d\\uDe00"]') == [EMOJI, EMOJI]


def test_json_may_be_indented_by_tabs(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(DATA, indent="\t")) == DATA


def test_the_configuration_and_its_watch_files_may_be_json(site: Site) -> None:
    """A duplicate key is told, and every place is that of the text as it was written."""
    site.write(json.dumps([{"id": f"b {EMOJI}", "labels": {"t": EMOJI}}]), "w.json")
    settings = {"sources": {"s": {"preset": "vidu", "token": "t"}}, "watches": [EMOJI], "watch_files": ["w.json"]}
    assert [watch.id for watch in site.load(json.dumps(settings)).watches] == [EMOJI, f"b {EMOJI}"]
    text = json.dumps(settings | {"watches": [{"id": EMOJI, "lables": {}}]})
    [said] = site.said(text)
    column = text.index("lables")
    assert said.startswith(f"config.yaml:1:{column}: watches[0].lables: unknown key")
    twice = text.replace('"lables": {}', f'"labels": {{{json.dumps(EMOJI)}: "a",\n"{EMOJI}": "b"}}')
    [said] = site.said(twice)
    assert said.startswith("config.yaml:2:1: watches[0].labels.")
    assert said.endswith("duplicate key; first on line 1")


@pytest.mark.usefixtures("_parser")
def test_only_a_text_in_double_quotes_has_escapes(tmp_path: Path) -> None:
    """In a block, in single quotes, unquoted or in a comment, the same letters are text; variables are filled in."""
    pair = "\\ud83d\\ude00"
    text = (
        f'# {pair}\na: |\n  {{"t": "{pair}"}}\nb: \'{pair}\'\nc: {pair}#x\nd: "{pair}\n  {pair} ${{NAME}}" # {pair}\n'
        f'e: {{f: ${{NAME}}, "{pair}": x}}\ng: "\\{pair.replace(chr(92) + "ude", chr(92) * 2 + "ude")}"\n'
    )
    assert read(tmp_path, text, clear=False) == {
        "a": f'{{"t": "{pair}"}}\n',
        "b": pair,
        "c": f"{pair}#x",
        "d": f"{EMOJI} {EMOJI} value",
        "e": {"f": "value", EMOJI: "x"},
        "g": pair,
    }


@pytest.mark.parametrize(
    "text",
    ['["\\ud83d"]', '["\\ude00"]', '["\\ude00\\ud83d"]', '["\\ud83d\\ude00\\ud83d"]', '["\\ud83d\\\\ude00"]'],
)
def test_half_of_a_pair_is_a_mistake(site: Site, text: str) -> None:
    """Which the reader has to say, since no later step could."""
    site.write(text, "w.json")
    [said] = site.said("sources: {s: {preset: vidu, token: t}}\nwatch_files: [w.json]\n")
    assert said.startswith("w.json:1:")
    assert "an escape that is no character, such as one half of a pair (\\ud83d); write the character itself" in said


def test_a_mistake_behind_a_pair_is_told_at_its_place(site: Site) -> None:
    """Of the scanner and of the parser; in a long list as in a short one."""
    for count in (1, 3000):
        good = "".join(f"- {json.dumps({'id': f'{n}', 'labels': {'t': EMOJI, 'a': 'b'}})}\n" for n in range(count))
        text = f"sources: {{s: {{preset: vidu, token: t}}}}\nendpoints: {{e: {{type: webhook, secrets: [{WHSEC}]"
        text += ", url: 'https://e.example/'}}\nwatches:\n"
        assert len(site.load(text + good).watches) == count
        for wrong in ("@", '"x'):
            *_, said = site.said(f"{text}{good}- {wrong}\n")
            assert said.startswith(f"config.yaml:{count + 4}:3: not valid YAML: ")
    pair = "\\ud83d\\ude00"
    [said] = site.said(f'{{"watches": ["{pair}" "x"]}}')
    assert said.startswith(f"config.yaml:1:{len(pair) + 17}: not valid YAML: the list")


def test_a_text_without_pairs_is_left_as_it_is() -> None:
    for text in ('"\\u0041"', "a\n", '"\\ud83d"'):
        assert join_surrogates(text) is text
