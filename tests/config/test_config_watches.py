"""Watches come from the configuration, from files beside it, and in the same shape from anywhere as plain JSON."""

from __future__ import annotations

import os
from typing import Any

import pytest
from config_site import WHSEC, Site

from notifier.config import Config, Problem, WatchRefused, parse_watch
from notifier.core.callback import Callback
from notifier.core.model import NewWatch

ONE = "sources: {v: {preset: vidu}}\nendpoints: {app: {type: slack, url: 'https://x'}, b: {type: slack, url: 'https://x'}}\n"
TWO = ONE.replace("{v:", "{w: {preset: vidu}, v:")


def test_a_bare_id_is_a_watch_of_the_only_source(site: Site) -> None:
    (watch,) = site.load(f'{ONE}watches: ["2370487727425660"]').watches
    assert watch.to_new_watch() == NewWatch(source="v", id="2370487727425660")
    assert watch.endpoints is None


def test_a_bare_id_is_a_watch_of_the_default_source(site: Site) -> None:
    config = site.load(
        f"{TWO.replace('v: {', 'v: {default: true, ')}watches: [a, {{id: b, source: null}}, {{id: c, source: w}}]"
    )
    assert [(watch.source, watch.id) for watch in config.watches] == [("v", "a"), ("v", "b"), ("w", "c")]


def test_a_watch_is_taken_whole(site: Site) -> None:
    (watch,) = site.load(
        f"{ONE}watches: [{{id: a, source: v, endpoints: [b, app, b], labels: {{t: x}}, metadata: {{o: 7}}}}]"
    ).watches
    assert watch.to_new_watch() == NewWatch(
        source="v", id="a", endpoints=("b", "app"), labels={"t": "x"}, metadata={"o": 7}
    )


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ("{id: a, source: vv}", 'watches[0].source: unknown source "vv"; there are v; did you mean "v"?'),
        ("{id: a, source: zzz}", 'watches[0].source: unknown source "zzz"; there are v'),
        (
            "{id: a, endpoints: [ap]}",
            'watches[0].endpoints[0]: unknown endpoint "ap"; there are app, b; did you mean "app"?',
        ),
        ("{id: a, endpoints: app}", "watches[0].endpoints: expected a list"),
        ("{source: v}", "watches[0].id: required, but missing"),
        ("{id: a, label: {}}", 'watches[0].label: unknown key; did you mean "labels"?'),
        ("{id: a, labels: x}", "watches[0].labels: expected a mapping"),
        ("{id: [a]}", "watches[0].id: expected text, got a list"),
        ("{}", "watches[0].id: required, but missing"),
        ("[a]", "watches[0]: expected an id in quotes or a mapping with the key id, got a list"),
        ("null", "watches[0]: expected an id in quotes or a mapping with the key id, got null"),
    ],
)
def test_a_faulty_watch_is_a_problem(site: Site, watch: str, said: str) -> None:
    (line,) = site.said(f"{ONE}watches: [{watch}]")
    assert said in line


def test_without_a_default_a_watch_must_name_its_source(site: Site) -> None:
    said = site.said(
        f"{TWO}watches:\n  - a\n  - {{id: b}}\n  - {{id: c, idd: d, source: v}}\n  - {{id: '', labels: 5}}\n"
    )
    assert said[0] == "config.yaml:4:5: watches[0].source: say which: there are w, v; or mark one with `default: true`"
    assert [line.split(": ")[1] for line in said] == [
        "watches[0].source", "watches[1].source", "watches[2].idd", "watches[3].source", "watches[3].id",
        "watches[3].labels",
    ]  # fmt: skip


def test_watches_without_any_source_are_one_problem(site: Site) -> None:
    assert site.said("watches: [a, b, c]") == [
        "config.yaml:1:1: watches: no source is configured; a watch needs one under `sources`"
    ]
    assert list(site.load("watches: []").watches) == []


def test_watches_are_not_blamed_for_sources_that_cannot_be_read(site: Site) -> None:
    (said,) = site.said("sources: ${NOPE}\nwatches: [a, {id: b, source: v}]")
    assert "NOPE is not set" in said


def test_the_same_watch_twice_names_the_line_of_the_first(site: Site) -> None:
    said = site.said(f"{ONE}watches:\n  - a\n  - '1'\n  - id: a\n  - {{source: v, id: 1}}\n")
    assert said == [
        "config.yaml:6:5: watches[2]: the same watch is on line 4; remove one of them",
        "config.yaml:7:5: watches[3]: the same watch is on line 5; remove one of them",
    ]


def test_the_same_id_of_two_sources_is_two_watches(site: Site) -> None:
    assert len(site.load(f"{TWO}watches: [{{id: a, source: v}}, {{id: a, source: w}}]").watches) == 2


def test_watch_files_add_their_watches(site: Site) -> None:
    site.write("- b\n- {id: c, labels: {x: y}}\n", "watches.d/1.yaml")
    site.write("watches:\n  - d\n", "watches.d/2.yaml")
    site.write("", "watches.d/3.yaml")
    site.write("watches:\n", "watches.d/4.yaml")
    site.write("- e\n", "watches.d/deep/er/5.yml")
    site.write("- f\n", "single.yaml")
    config = site.load(f"{ONE}watches: [a]\nwatch_files: ['watches.d/*.yaml', single.yaml, 'watches.d/**/*.yml']\n")
    assert [watch.id for watch in config.watches] == list("abcdfe")
    assert config.watch_files == ("watches.d/*.yaml", "single.yaml", "watches.d/**/*.yml")
    assert [path.name for path in config.files] == [
        "config.yaml", "1.yaml", "2.yaml", "3.yaml", "4.yaml", "single.yaml", "5.yml",
    ]  # fmt: skip


def test_a_pattern_may_match_nothing_and_be_absolute(site: Site) -> None:
    site.write("- b\n", "x/a.yaml")
    site.env = {"DIR": str(site.directory / "x")}
    assert len(site.load(f"{ONE}watch_files: ['none.d/*', '${{DIR}}/*.yaml']").watches) == 1


def test_a_file_is_read_once_and_the_configuration_is_no_watch_file(site: Site) -> None:
    site.write("- b\n", "a.yaml")
    config = site.load(f"{ONE}watches: [a]\nwatch_files: ['*.yaml', './a.yaml', 'a*']")
    assert [watch.id for watch in config.watches] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x", "w.yaml:1:1: expected a list of watches, got a mere text"),
        ("watches: x", 'w.yaml:1:10: watches: expected a list of watches, got "x"'),
        ("watch: [a]", 'w.yaml:1:1: watch: unknown key; did you mean "watches"?'),
        ("- a\n- {id: b, sorce: v}", 'w.yaml:2:11: [1].sorce: unknown key; did you mean "source"?'),
        ("- a\n- 007", "w.yaml:2:3: [1].id: expected text, got 007"),
        ("watches:\n- {id: ${NOPE}}", "w.yaml:2:8: watches[0].id: environment variable NOPE is not set"),
        ("- ${NOPE}", "w.yaml:1:3: [0]: environment variable NOPE is not set"),
        ("[a", ": not valid YAML"),
        ("- a\n- a", "w.yaml:2:3: [1]: the same watch is on line 1"),
        ("- first", "w.yaml:1:3: [0]: the same watch is in "),
    ],
)
def test_the_faults_of_a_watch_file_cite_it(site: Site, content: str, said: str) -> None:
    site.write(content, "w.yaml")
    (line,) = site.said(f"{ONE}watches: [first]\nwatch_files: [w.yaml]")
    assert said in line


def test_a_doubled_watch_of_another_file_names_that(site: Site) -> None:
    site.write("- a", "w.yaml")
    (said,) = site.said(f"{ONE}watches: [a]\nwatch_files: ['*.yaml']")
    assert said == "w.yaml:1:3: [0]: the same watch is in config.yaml, line 3; remove one of them"


def test_a_watch_file_that_is_named_must_be_there(site: Site) -> None:
    (site.directory / "directory").mkdir()
    os.mkfifo(site.directory / "pipe")
    assert site.said(f"{ONE}watch_files: [none.yaml, directory, pipe]") == [
        "config.yaml:3:15: watch_files[0]: no such file; only a pattern such as watches.d/*.yaml may match none",
        "directory: cannot be read: it is a folder, not a regular file",
        "pipe: cannot be read: it is a named pipe, not a regular file",
    ]


def test_a_pattern_with_a_nul_is_a_problem(site: Site) -> None:
    assert "holds a line break or another control character" in site.said(f'{ONE}watch_files: ["a\\0"]')[0]


def _config(site: Site, text: str = ONE) -> Config:
    return site.load(text)


@pytest.mark.parametrize(
    ("value", "watch"),
    [
        ("a", NewWatch(source="v", id="a")),
        (2370487727425660, NewWatch(source="v", id="2370487727425660")),
        ({"id": "a"}, NewWatch(source="v", id="a")),
        ({"id": 7, "source": "v"}, NewWatch(source="v", id="7")),
        ({"id": "${X}", "metadata": "${X}"}, NewWatch(source="v", id="${X}", metadata="${X}")),
        (
            {"id": "ü\U0001f600", "labels": {"a": 5}, "metadata": [1.5, None, {"x": True}], "endpoints": ["app"]},
            NewWatch(
                source="v", id="ü\U0001f600", labels={"a": "5"}, metadata=[1.5, None, {"x": True}], endpoints=("app",)
            ),
        ),
        ({"id": "a", "endpoints": [], "labels": {}, "source": None}, NewWatch(source="v", id="a", endpoints=())),
    ],
)
def test_plain_json_is_a_watch_too_and_variables_are_no_part_of_it(site: Site, value: Any, watch: NewWatch) -> None:
    assert parse_watch(value, _config(site)) == watch


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "id: expected an id of 1 to 512 characters, got 0"),
        ({"id": ".."}, 'id: in a URL, ".." names another place, not a task'),
        (-5, "id: expected text, got -5, which can be read in several ways; put it in quotes"),
        (1.5, "id: expected text, got 1.5"),
        (True, "id: expected text, got true"),
        (None, "expected an id in quotes or a mapping with the key id, got null"),
        ([], "expected an id in quotes or a mapping with the key id, got a list"),
        ({}, "id: required, but missing"),
        ({"id": None}, "id: expected text, got null"),
        ({"id": "\ud800"}, "id: half of a surrogate pair is no text"),
        ({"id": "a", "sorce": "v"}, 'sorce: unknown key; did you mean "source"?'),
        ({"id": "a", "source": "w"}, 'source: unknown source "w"; there are v'),
        (
            {"id": "a", "endpoints": ["ap"]},
            'endpoints[0]: unknown endpoint "ap"; there are app, b; did you mean "app"?',
        ),
        ({"id": "a", "labels": {"x": None}}, "labels.x: expected text, got null"),
        ({"id": "a", "labels": {"\ud800": "x"}}, "labels"),
        ({"id": "a", "metadata": float("nan")}, "metadata: expected a JSON value, got nan"),
        ({"id": "a", "metadata": {"x": [float("inf")]}}, "metadata.x[0]: expected a JSON value, got inf"),
        ({"id": "a", "metadata": ["\udfff"]}, "metadata[0]: half of a surrogate pair is no text"),
        ({"id": "a", "metadata": {"\udfff": 1}}, "metadata: half of a surrogate pair is no text"),
        ({"id": "a", "metadata": {1: 1}}, "metadata: a key must be text, got 1"),
        ({"id": "a", "metadata": object()}, "metadata: expected a JSON value, got something else"),
    ],
)
def test_a_json_value_that_is_no_watch_is_refused_in_the_same_words(site: Site, value: Any, said: str) -> None:
    with pytest.raises(WatchRefused) as caught:
        parse_watch(value, _config(site))
    (problem,) = caught.value.problems
    assert str(problem).startswith(said)
    assert (problem.file, problem.line) == ("", 0)


def test_deep_json_is_refused(site: Site) -> None:
    value: Any = "x"
    for _ in range(100):
        value = [value]
    with pytest.raises(WatchRefused, match="nested more than 64 levels deep"):
        parse_watch({"id": "a", "metadata": value}, _config(site))
    for _ in range(100):
        value = {"x": value}
    with pytest.raises(WatchRefused, match="nested more than 64 levels deep"):
        parse_watch({"id": "a", "metadata": value}, _config(site))


def test_every_fault_of_a_json_watch_is_told(site: Site) -> None:
    with pytest.raises(WatchRefused) as caught:
        parse_watch({"idd": "a", "source": "x", "labels": 5}, _config(site))
    assert len(caught.value.problems) == 4
    assert all(isinstance(problem, Problem) for problem in caught.value.problems)


def test_a_json_watch_needs_a_source_to_choose(site: Site) -> None:
    with pytest.raises(WatchRefused, match="say which: there are w, v"):
        parse_watch("a", _config(site, TWO))
    with pytest.raises(WatchRefused, match="no source is configured"):
        parse_watch("a", _config(site, "{}"))


def test_a_callback_url_is_not_for_the_file(site: Site) -> None:
    """Whoever owns the configuration names an endpoint, which is held to no rules for strangers."""
    source = "sources: {v: {preset: vidu, token: x}}\n"
    said = site.said(source + 'watches: [{id: "1", callback_url: "https://a.example/t0ken", callback_secret: s3cret}]')
    where = "comes with a watch by API or queue; in a configuration, name the URL under `endpoints`"
    assert [line.partition(": ")[2] for line in said] == [
        f"watches[0].callback_url: {where}",
        f"watches[0].callback_secret: {where}",
    ]


@pytest.mark.parametrize(
    ("name", "rest", "problems"),
    [
        ("callback", "", 0),
        ("callback", f"callbacks: {{secret: {WHSEC}}}", 1),
        ("callback:x", "", 1),
        ("callbacks", f"callbacks: {{secret: {WHSEC}}}", 0),
    ],
)
def test_no_endpoint_goes_by_the_names_of_callbacks(site: Site, name: str, rest: str, problems: int) -> None:
    text = f'endpoints: {{"{name}": {{type: slack, url: "https://x"}}}}\n{rest}'
    assert len(site.attempt(text)) == problems


def test_a_watch_by_api_or_queue_may_have_a_callback(site: Site) -> None:
    config = site.load(f"sources: {{v: {{preset: vidu, token: x}}}}\ncallbacks: {{secret: {WHSEC}}}")
    url = "https://a.example/t0ken"
    assert parse_watch({"id": "1", "callback_url": url}, config).callback == Callback(url=url)
    own = parse_watch({"id": "1", "callback_url": url, "callback_secret": WHSEC}, config)
    assert own.callback == Callback(url=url, secret=WHSEC)
    for nothing in ("1", {"id": "1"}, {"id": "1", "callback_url": None}):
        assert parse_watch(nothing, config).callback is None
