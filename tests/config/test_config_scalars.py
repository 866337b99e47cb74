"""Ids and texts survive exactly; an unquoted scalar that YAML readers read in several ways must be quoted."""

from __future__ import annotations

import json

import pytest
from config_site import Site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.config.scalars import Interpolated, Number, Unclear, resolve, settle

SOURCE = "sources: {v: {preset: vidu}}\n"
UNCLEAR = [
    "007", "08", "0x1F", "0o17", "0b101", "1_000", "+5", "-0", "12:30:45", "1:30", "190:20:30.15", ".5", "1.", "+1.5",
    "1e400", "-0e1", "1_0.5", "1_0e3", ".inf", "-.INF", ".nan", "2024-01-01", "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43", "yes", "No", "ON", "off", "=", "1" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", UNCLEAR)
def test_an_unclear_scalar_is_told_apart(text: str) -> None:
    assert isinstance(resolve(text), Unclear)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("NULL", None), ("true", True), ("False", False), ("0", 0), ("-5", -5),
        ("2370487727425660", 2370487727425660), ("1.5", 1.5), ("1e5", 100000.0), ("-2.5E-3", -0.0025),
        ("abc", "abc"), ("1.2.3", "1.2.3"), ("127.0.0.1:8780", "127.0.0.1:8780"), ("10s", "10s"), ("5d", "5d"),
        ("notes", "notes"), ("task-1", "task-1"), ("1a", "1a"), ("2024-01", "2024-01"), ("e5", "e5"), ("_1", "_1"),
        ("yesterday", "yesterday"), ("y", "y"), ("N", "N"), ("-", "-"), (".", "."), ("٣", "٣"),
    ],
)  # fmt: skip
def test_a_clear_scalar_is_what_every_reader_takes_it_for(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    if isinstance(value, float):
        assert isinstance(found, Number)
        assert found.text == text  # what a refusal shows
    else:
        assert type(found) is type(value)


def test_a_variable_is_read_like_an_unquoted_scalar_where_no_text_is_meant() -> None:
    assert settle(Interpolated("5")) == 5
    assert settle("5") == "5"
    assert settle(7) == 7


@pytest.mark.parametrize("text", [*UNCLEAR, "1.5", "1e5", "-5", "true", "False", "null", "~"])
def test_an_id_that_could_be_something_else_must_be_quoted(site: Site, text: str) -> None:
    (problem,) = site.problems(f"{SOURCE}watches:\n- {{id: {text}}}\n")
    assert (problem.line, problem.column, problem.key) == (3, 8, "watches[0].id")
    assert "in quotes" in problem.message


@pytest.mark.parametrize("text", [text for text in UNCLEAR if len(text) <= 512] + ["1.5", "1e5", "true", "null", "-5"])
def test_the_same_in_quotes_is_an_id(site: Site, text: str) -> None:
    config = site.load(f"{SOURCE}watches: ['{text}', {{id: \"{text}x\"}}]\n")
    assert [watch.id for watch in config.watches] == [text, text + "x"]


@pytest.mark.parametrize("text", ["2370487727425660", "0", "7", "9" * 512])
def test_an_unquoted_canonical_integer_is_the_id_of_those_digits(site: Site, text: str) -> None:
    config = site.load(f"{SOURCE}watches: [{text}]\n")
    assert config.watches[0].id == text


def test_a_bare_watch_that_is_unclear_is_refused_at_its_place(site: Site) -> None:
    said = site.said(f"{SOURCE}watches:\n  - 007\n  - yes\n  - -5\n")
    assert [line.split(": ")[0] for line in said] == ["config.yaml:3:5", "config.yaml:4:5", "config.yaml:5:5"]


@pytest.mark.parametrize("text", ["007", "1e5", "yes", "1.5", "null", "2024-01-01", "-5", "on"])
def test_the_value_of_a_label_follows_the_same_rule(site: Site, text: str) -> None:
    (problem,) = site.problems(f'{SOURCE}watches: [{{id: "1", labels: {{a: {text}}}}}]\n')
    assert problem.key == "watches[0].labels.a"
    assert site.load(f'{SOURCE}watches: [{{id: "1", labels: {{a: "{text}", b: 42}}}}]\n').watches[0].labels == {
        "a": text,
        "b": "42",
    }


def test_a_variables_value_is_text_where_text_is_meant(site: Site) -> None:
    site.env = {"ID": "007"}
    assert site.load(f"{SOURCE}watches: [{{id: ${{ID}}}}, 'a-${{ID}}']\n").watches[1].id == "a-007"
    assert site.load(f"{SOURCE}watches:\n- ${{ID}}\n").watches[0].id == "007"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029\ufffe\uffff"),
        min_size=1,
        max_size=512,
    ).filter(lambda text: text not in (".", ".."))
)
def test_a_quoted_id_survives_exactly(site: Site, text: str) -> None:
    written = json.dumps(text, ensure_ascii=False).replace("${", "$${")
    assert site.load(f"{SOURCE}watches: [{written}]\n").watches[0].id == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('""', "expected an id of 1 to 512 characters, got 0"),
        ("'" + "x" * 513 + "'", "expected an id of 1 to 512 characters, got 513"),
        ('"a\\nb"', "an id holds no line breaks or other control characters"),
        ('"a\\0b"', "an id holds no line breaks or other control characters"),
        ('"a\\x9Fb"', "an id holds no line breaks or other control characters"),
        ('"."', 'in a URL, "." names another place, not a task'),
        ('".."', 'in a URL, ".." names another place, not a task'),
    ],
)
def test_an_id_has_1_to_512_characters_and_none_of_them_controls(site: Site, text: str, said: str) -> None:
    (problem,) = site.problems(f"{SOURCE}watches: [{text}]\n")
    assert problem.message == said


def test_metadata_is_any_json_value(site: Site) -> None:
    value = {"a": [1, -2.5, 1e300, True, None, "7", {"é": ""}], "007": {}, "big": 10**40}
    config = site.load(f'{SOURCE}watches: [{{id: "1", metadata: {json.dumps(value)}}}]\n')
    assert config.watches[0].metadata == value
    assert json.loads(json.dumps(config.watches[0].metadata)) == value


@pytest.mark.parametrize("text", ["2024-01-01", ".nan", ".inf", "-.inf", "no", "0x10", "1_000", "12:30:45", "1e999"])
def test_what_json_does_not_have_is_refused_in_metadata_at_its_place(site: Site, text: str) -> None:
    (problem,) = site.problems(f'{SOURCE}watches: [{{id: "1", metadata: {{a: [0, {text}]}}}}]\n')
    assert (problem.key, problem.line, problem.column) == ("watches[0].metadata.a[1]", 2, 39)


def test_variables_work_in_metadata_and_are_plain_text_there(site: Site) -> None:
    site.env = {"X": "5"}
    metadata = site.load(f'{SOURCE}watches: [{{id: "1", metadata: ["${{X}}", "$${{X}}"]}}]\n').watches[0].metadata
    assert metadata == ["5", "${X}"]
    assert {type(item) for item in metadata} == {str}
