"""A long list is read by the shapes of its entries, with the same result as by a YAML parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import shapes
from notifier.config.packed import CHUNK, Packed
from notifier.config.plain import NotPlain, parse_plain
from notifier.config.scalars import Interpolated, Number, Unclear
from notifier.config.shapes import parse_list


@pytest.fixture(autouse=True)
def any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take short texts too."""
    monkeypatch.setattr(shapes, "MIN_LENGTH", 0)


def plainly(text: str) -> Any:
    return parse_plain(text, str, clear=False)


def typed(value: Any) -> Any:
    """Return a value with the type of each of its parts, which == does not compare."""
    match value:
        case dict():
            return {key: typed(item) for key, item in value.items()}
        case list() | Packed():
            return [typed(item) for item in value]
        case _:
            return type(value), repr(value)


USUAL = {
    "flow": '- {{id: "{0}", labels: {{team: video, user: u{0}}}, metadata: {{order: {0}, at: 1.{0}, on: yes}}}}\n',
    "block": "- id: '{0}'\n  labels:\n    team: video team\n    user: u{0}\n  metadata:\n    order: {0}\n",
    "JSON": '- {{"id": "{0}", "labels": {{"a_b": "x: {0}, [y]"}}, "metadata": {{"order": [{0}, null, -{0}]}}}}\n',
    "lines": "- id: {0}\n  metadata: |\n    a word: {0}\n    # none\n",
    "words": '- task-{0}\n- \'{0}\'\n- "{0}"\n- 0{0}  # {0} "a: b"\n- 12:{0}\n',
    "deep": "- - [{0}, [a, {{b: c-{0}}}]]\n  - x.y@z/{0}\n",
}

PLACES = (
    "{}",
    "# a\n\n---\n{}",
    "a: ${X}\nwatches:\n{}b: [1]\n",
    "watches:  # all\n\n{}# end\nb: |\n  x\n",
)


@pytest.mark.unmeasured
@pytest.mark.parametrize("form", USUAL)
@pytest.mark.parametrize(
    "place", ["{}", "# a\n\n---\n{}", "a: ${X}\nwatches:\n{}b: [1]\n", "watches:  # all\n\n{}# end\nb: |\n  x\n"]
)
def test_usual_lists_are_read_by_shape(form: str, place: str) -> None:
    """Wherever the list stands, and however its entries are written; keys around it keep their order."""
    entries = "".join(USUAL[form].format(10 + number) for number in range(2 * CHUNK))
    for indentation in ("", "  "):
        if indentation and "watches" not in place:
            continue
        body = "".join(f"{indentation}{line}\n" for line in entries.splitlines())
        text = place.format(body) if "${" not in place else place.replace("{}", body)
        found, wanted = parse_list(text, str), plainly(text)
        assert typed(found) == typed(wanted)
        if isinstance(wanted, dict):
            assert list(found) == list(wanted)


SIGNS = st.sampled_from("-:,{}[]\"'#|>?&*!\\$%@~ \n\r\t\x85é7a")
PARTS = (
    "- ",
    ": ",
    ", ",
    '"q r"',
    "'s'",
    " # c",
    "id",
    "-1",
    "0x1f",
    "yes",
    "<<",
    "\\n",
    "作",
    "Qzv0Q",
    "${A}",
    "12:30",
)
LINES = ("---", "...", "\n- ", "\n  - ", "\nwatches:\n", "\nb: c\n")
TEXTS = st.lists(SIGNS | st.sampled_from(PARTS + LINES), max_size=25).map("".join)
BEFORE = ("", "a: 1\nwatches:\n", "watches:\n", "# c\n", "---\n", 'a: "x\nwatches:\n', "  a: 1\nwatches:\n")
ENTRIES = ('"7"', "{id: a}", "{id: b, c: [d]}", 'x "y: z"', "'a \"b\" c'", '{"k": "v w"}')
AFTER = ("", "b: 2\n", 'y"\n', "watches: []\n", "...\n", "---\n")
LISTS = st.builds(
    lambda before, entries, after: before + "".join(f"- {entry}\n" for entry in entries) + after,
    st.sampled_from(BEFORE),
    st.lists(st.sampled_from(ENTRIES) | TEXTS, max_size=6),
    st.sampled_from(AFTER) | TEXTS,
)


@given(LISTS | TEXTS)
def test_every_list_that_is_read_by_shape_is_read_alike(text: str) -> None:
    """Every other text is left to the parser, with all its mistakes."""
    try:
        found = parse_list(text, str)
    except NotPlain:
        return
    assert typed(found) == typed(plainly(text)), text


MISTAKES = {
    "a quote that opens before the list and closes behind it": 'a: "x\nwatches:\n- a\nb: y"\n',
    "keys before the list that are indented": "  a: 1\nwatches:\n- a\n",
    "an end of the document before the list": "a: 1\n...\nwatches:\n- a\n",
    "the same after another kind of line break": "a: 1\r...\nwatches:\n- a\n",
    "the same after the next line of Unicode": "a: 1\x85...\nwatches:\n- a\n",
    "the same after its line separator": "a: 1\u2028...\nwatches:\n- a\n",
    "the same after its paragraph separator": "a: 1\u2029...\nwatches:\n- a\n",
    "two lists": "watches:\n- a\nb: 1\nwatches:\n- b\n",
    "a key twice": "a: 1\nwatches:\n- a\na: 2\n",
    "a key twice in an entry": "- {a: 1, a: 2}\n",
    "an anchor": "- &a b\n- *a\n",
    "a tag": "- !t b\n",
    "an entry that is never closed": "- {a: b\n- c}\n",
    "quotes that are not those of a text": '- x "a: b" y\n',
    "a list in braces": "{watches: [a]}\nwatches:\n- a\n",
    "no list": "watches: 5\n",
    "variables": "- ${A}\n- b\n",
    "more levels than a document may have": "watches:\n- " + "[" * 63 + "]" * 63 + "\n",
}


@pytest.mark.parametrize("text", MISTAKES.values(), ids=MISTAKES)
def test_what_is_unusual_is_left_to_the_parser(text: str) -> None:
    with pytest.raises(NotPlain):
        parse_list(text, str)


def test_entries_that_have_little_in_common_are_left_to_the_parser() -> None:
    """Each would be parsed twice."""
    text = "".join(f"- {{k{number}: v}}\n" for number in range(3 * shapes.FEW))
    with pytest.raises(NotPlain):
        parse_list(text, str)


def test_a_short_text_is_left_to_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MIN_LENGTH", 100)
    with pytest.raises(NotPlain):
        parse_list("- a\n", str)


# -- packed


def items() -> Iterator[Any]:
    """Yield more items than two chunks have, of every kind that a document has."""
    kinds = [1, None, "x", {"a": [1.5]}, Number("1.50"), Unclear(text="0x1f"), Interpolated("i")]
    yield from (
        {"n": number, "kind": kinds[number % len(kinds)] if number > CHUNK else 0} for number in range(2 * CHUNK + 7)
    )


def test_a_packed_list_is_like_any_other() -> None:
    """Its items have their values and their types."""
    wanted, packed = list(items()), Packed[Any]()
    for item in wanted:
        packed.append(item)
    assert len(packed) == len(wanted)
    assert typed(packed) == typed(wanted)
    for index in (0, CHUNK - 1, CHUNK, 2 * CHUNK + 6, -1, -len(wanted)):
        assert packed[index] == wanted[index]
    assert packed[CHUNK - 2 : CHUNK + 2] == wanted[CHUNK - 2 : CHUNK + 2]
    assert packed[::-400] == wanted[::-400]
    for index in (len(wanted), -len(wanted) - 1):
        with pytest.raises(IndexError):
            packed[index]
    assert [item["n"] for chunk in packed.chunks() for item in chunk] == list(range(len(wanted)))
