"""Every fault is reported, all at once, with file, line, column, key and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_site import WHSEC, Site
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import ConfigError, Problem, key_path, load, split_problem
from notifier.core.errors import NotifierError


def test_five_mistakes_are_reported_in_one_go_with_their_exact_places(site: Site) -> None:
    problems = site.problems("""\
sources:
  vidu:
    preset: vidu
    token: ${VIDU_TOKEN}
    idle_timeout: abc
    backoff: {initial: 2m, max: 1m}
endpoints:
  app:
    type: webhook
    url: https://example.com/hooks
    secrets: ["whsec_tooshort"]
    tiemout: 5s
""")
    assert [(problem.line, problem.column, problem.key, problem.suggestion) for problem in problems] == [
        (4, 12, "sources.vidu.token", None),
        (5, 19, "sources.vidu.idle_timeout", None),
        (6, 33, "sources.vidu.backoff.max", None),
        (11, 15, "endpoints.app.secrets[0]", None),
        (12, 5, "endpoints.app.tiemout", "timeout"),
    ]
    assert {problem.file for problem in problems} == {str(site.path)}
    assert problems[0].message.startswith("environment variable VIDU_TOKEN is not set")
    assert problems[1].message == 'expected a duration such as 250ms, 90s, 5m, 2h or 5d, got "abc"'
    assert str(problems[4]) == f'{site.path}:12:5: endpoints.app.tiemout: unknown key; did you mean "timeout"?'


def test_the_error_is_one_of_the_programs_and_lists_the_problems(site: Site) -> None:
    with pytest.raises(ConfigError) as caught:
        site.load("stroe: {}\nlop: auto\n")
    assert isinstance(caught.value, NotifierError)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    assert len(caught.value.problems) == 2


def test_the_path_is_shown_as_it_was_given(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write("stroe: {}\n")
    monkeypatch.chdir(site.directory)
    with pytest.raises(ConfigError, match=r'^config\.yaml:1:1: stroe: unknown key; did you mean "store"\?$'):
        load(Path("config.yaml"), env={})


def test_a_problem_is_one_line_whatever_the_key(site: Site) -> None:
    (said,) = site.said('"a\\nb\\u2028c\\e[31m": 1\n')
    assert len(said.splitlines()) == 1
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("key", "shown"),
    [("plain-key_1", "labels.plain-key_1"), ("a.b", 'labels."a.b"'), ("a b", 'labels."a b"'), ("é", "labels.é")],
)
def test_a_key_that_would_be_misread_is_quoted_in_the_path(site: Site, key: str, shown: str) -> None:
    (problem,) = site.problems(f'sources: {{v: {{preset: vidu}}}}\nwatches: [{{id: "1", labels: {{"{key}": yes}}}}]\n')
    assert problem.key == f"watches[0].{shown}"


def test_a_problem_without_a_file_shows_its_key_only() -> None:
    assert str(Problem(file="", line=0, column=0, key="id", message="required")) == "id: required"


def test_duplicate_keys_name_the_line_of_the_first(site: Site) -> None:
    assert site.said("log:\n  level: info\n  format: json\n  level: debug\nlog: {}\n") == [
        "config.yaml:4:3: log.level: duplicate key; first on line 2",
        "config.yaml:5:1: log: duplicate key; first on line 1",
    ]


def test_duplicate_keys_behind_an_alias_are_reported_once(site: Site) -> None:
    said = site.said("""\
sources:
  a: {preset: vidu, backoff: &b {max: 5s, max: 6s}}
  c: {preset: vidu, backoff: *b}
""")
    assert said == ["config.yaml:2:43: sources.a.backoff.max: duplicate key; first on line 2"]


def test_an_unknown_key_hides_neither_other_faults_nor_impossible_pairs(site: Site) -> None:
    assert site.said('http:\n  listen: "0.0.0.0:80"\n  tokn: x\n') == [
        "config.yaml:2:11: http.listen: others can reach this address: set http.token, or listen on 127.0.0.1",
        'config.yaml:3:3: http.tokn: unknown key; did you mean "token"?',
    ]


def test_a_pair_is_not_called_impossible_when_one_of_it_is_faulty_itself(site: Site) -> None:
    said = site.said('http: {listen: "0.0.0.0:80", token: "${NOPE}"}\ncallbacks: {enabled: true, secret: whsec_x}\n')
    assert [line.split(": ")[1] for line in said] == ["http.token", "callbacks.secret"]
    (problem,) = site.problems("sources: {s: {preset: vidu, backoff: {initial: 5m, max: x}}}")
    assert problem.message.startswith("expected a duration")


def test_a_missing_required_key_is_placed_at_its_section(site: Site) -> None:
    said = site.said("endpoints:\n  app:\n    type: webhook\n")
    assert sorted(said) == [
        "config.yaml:2:3: endpoints.app.secrets: required, but missing",
        "config.yaml:2:3: endpoints.app.url: required, but missing",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sources: [a]", "1:1: sources: expected a mapping of names to sources, got a list"),
        ("endpoints: 5", "1:12: endpoints: expected a mapping of names to endpoints, got 5"),
        ("watches: {}", "1:1: watches: expected a list of watches, got a mapping"),
        ("queues: x", '1:9: queues: expected a list of queues, got "x"'),
        ("store: x", '1:8: store: expected a mapping with keys such as url, retention, got "x"'),
        ("log: {level: [x]}", "1:7: log.level: expected one of debug, info, warning, error, got a list"),
        (
            "log: {level: inf}",
            'log.level: expected one of debug, info, warning, error, got "inf"; did you mean "info"?',
        ),
        ("log: {level: WARNING}", 'did you mean "warning"?'),
        ("loop: uvlop", 'loop: expected one of auto, uvloop, asyncio, got "uvlop"; did you mean "uvloop"?'),
        ("loop: off", "loop: expected one of auto, uvloop, asyncio, got off"),
        ("reload_on_change: maybe", 'reload_on_change: expected true or false, got "maybe"'),
        ("watch_files: a.yaml", 'watch_files: expected a list, got "a.yaml"'),
        ("sources: {'a b': {preset: vidu}}", "a name has 1 to 64 characters, none of them a blank or a slash"),
        ("sources: {'': {preset: vidu}}", "must not be empty"),
        ("endpoints: {'a/b': {type: slack, url: 'https://x'}}", "a name has 1 to 64 characters"),
        ("node: {name: ''}", "node.name: must not be empty"),
        ("node: {name: 007}", "1:14: node.name: expected text, got 007, which can be read in several ways"),
        ("log: {level: 12345678901234567890123456789012345678901234567890}", "got a very large number"),
        (f"log: {{level: {'x' * 100}}}", f'got "{"x" * 40}..."'),
        ("log: {level: true}", "got true"),
        ("log: {level: ~}", "got null"),
        ("log: {level: 'https://u:hunter2@h'}", "got a text that may be secret"),
        (f"log: {{level: {WHSEC}}}", "got a text that may be secret"),
    ],
)
def test_a_wrong_value_is_told_what_was_expected(site: Site, text: str, expected: str) -> None:
    (said,) = site.said(text)
    assert expected in said


def test_the_value_of_a_variable_is_never_shown(site: Site) -> None:
    site.env = {"V": "hunter2"}
    said = site.said("""\
sources:
  s: {preset: "${V}", max_streams: "${V}"}
  t: {preset: vidu, paths: {state: "${V}["}, states: {running: ["${V}"], queued: ["${V}"]}, framing: "${V}"}
endpoints:
  app: {type: "${V}"}
  web:
    type: webhook
    url: ${V}
    secrets: ["${V}"]
    events: ["${V}"]
    match: {source: "${V}"}
    timeout: ${V}
    rate_limit: ${V}
    ordering: ${V}
    headers: {Host: "${V}"}
    ca_file: ${V}
store: {url: "${V}://x"}
http: {listen: "${V}"}
callbacks: {enabled: "${V}", allow_networks: ["${V}"], allow_hosts: ["${V}/"]}
queues: [{url: "${V}://x"}]
watches: [{id: "1", source: "${V}", endpoints: ["${V}"]}]
watch_files: ["${V}"]
loop: ${V}
""")
    assert len(said) >= 20
    assert "hunter2" not in "\n".join(said)
    assert any(
        line.endswith(
            "endpoints.web.timeout: expected a duration such as 250ms, 90s, 5m, 2h or 5d, got a variable's value"
        )
        for line in said
    )


def test_the_problems_come_in_the_order_of_the_files(site: Site) -> None:
    site.write("- [1]\n", "b.yaml")
    site.write("x\n", "a.yaml")
    said = site.said("zzz: 1\nwatch_files: [b.yaml, a.yaml]\nsources: {v: {preset: vido}}\n")
    assert [line.split(": ")[0] for line in said] == ["config.yaml:1:1", "config.yaml:3:23", "b.yaml:1:3", "a.yaml:1:1"]


@pytest.mark.parametrize(
    ("text", "location", "message"),
    [
        ("[3]: expected a mapping, got null", (3,), "expected a mapping, got null"),
        ("[3].id: required, but missing", (3, "id"), "required, but missing"),
        ('[3].labels."a: b": got "x: y"', (3, "labels", "a: b"), 'got "x: y"'),
        ('endpoints."my app".headers.X-Y: unknown', ("endpoints", "my app", "headers", "X-Y"), "unknown"),
        ("and more; these are the first", (), "and more; these are the first"),
        ("no watch of that name", (), "no watch of that name"),
        ("", (), ""),
    ],
)
def test_a_printed_problem_is_taken_apart(text: str, location: tuple[int | str, ...], message: str) -> None:
    """A client names the same value by another place; a text that begins with no key is a message alone."""
    assert split_problem(text) == (location, message)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)


@given(st.lists(st.integers(0) | NAMES, min_size=1), st.text())
def test_every_key_is_found_again(location: list[int | str], message: str) -> None:
    """Whatever the names are: what `key_path` writes, `split_problem` reads."""
    assert split_problem(f"{key_path(tuple(location))}: {message}") == (tuple(location), message)


def test_an_empty_pattern_is_told_once(site: Site) -> None:
    assert site.said('watch_files: [""]') == ["config.yaml:1:15: watch_files[0]: must not be empty"]
