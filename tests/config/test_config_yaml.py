"""No text makes the reader fall over: not broken, deep, multiplying, binary or endless ones."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import yaml
from config_site import Site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.config import ConfigError, load, tree
from notifier.config import document as documents


def test_a_syntax_error_is_one_problem_with_its_place(site: Site) -> None:
    (problem,) = site.problems("log:\n  level: [info\nhttp: {}\n")
    assert problem.message.startswith("not valid YAML: ")
    assert (problem.line, problem.key) == (3, "")


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "none.yaml", env={})


def test_a_directory_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, env={})


def test_a_nul_in_the_files_name_is_a_problem() -> None:
    with pytest.raises(ConfigError, match="cannot be read: embedded null byte"):
        load(Path("a\0b"), env={})


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_a_problem(site: Site, text: str) -> None:
    (said,) = site.said(text)
    assert said.startswith("config.yaml:")
    assert "expected keys such as sources, endpoints and watches, got an empty file" in said


def test_a_file_that_holds_a_secret_alone_is_not_repeated(site: Site) -> None:
    (said,) = site.said("hunter2\n")
    assert said.endswith("got a mere text")


@pytest.mark.parametrize("text", ["- a\n", "hello\n", "5\n", "null\n"])
def test_a_file_that_is_no_mapping_is_a_problem(site: Site, text: str) -> None:
    (said,) = site.said(text)
    assert "expected keys such as sources, endpoints and watches, got " in said


def test_a_file_that_is_one_unset_variable_is_reported_for_that_alone(site: Site) -> None:
    (said,) = site.said("${NOPE}\n")
    assert "environment variable NOPE is not set" in said


def test_an_empty_mapping_is_a_configuration(site: Site) -> None:
    assert site.load("{}").sources == {}


def test_sections_of_which_only_comments_are_left_are_as_if_absent(site: Site) -> None:
    config = site.load("".join(f"{key}:\n" for key in type(site.load("{}")).model_fields))
    assert config == site.load("{}")


def test_a_byte_order_mark_is_no_part_of_the_text(site: Site) -> None:
    assert site.load(b"\xef\xbb\xbfloop: asyncio\n").loop == "asyncio"


def test_text_that_is_not_utf8_is_placed(site: Site) -> None:
    assert site.said(b"log: {}\n# \xc3\xa9 \xff\n") == ["config.yaml:2:5: not UTF-8; save the file in that encoding"]


def test_utf16_is_a_problem(site: Site) -> None:
    (said,) = site.said("log: {}\n".encode("utf-16"))
    assert "not UTF-8" in said


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: \0", "1:4"), ("a: 1\nb: \x07", "2:4"), ("a: 1\r\nb: 2\r\x01", "3:1"), ("\u2028\x7f", "2:1")],
)
def test_unprintable_characters_are_placed(site: Site, text: str, place: str) -> None:
    (said,) = site.said(text)
    assert said.startswith(f"config.yaml:{place}: unprintable character U+00")


def test_a_file_over_the_limit_is_a_problem(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 1024 * 1024)
    (said,) = site.said("#" * (1024 * 1024 + 1))
    assert said.endswith("larger than 1 MiB")


def test_a_configuration_may_come_through_a_pipe(site: Site) -> None:
    os.mkfifo(site.path)
    writer = threading.Thread(target=site.path.write_text, args=("loop: asyncio\n",))
    writer.start()
    assert load(site.path, env={}).loop == "asyncio"
    writer.join()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 100_000, "a: " + "[" * 5000 + "]" * 5000, "- " * 20_000, "{a: " * 999]
)
def test_deep_nesting_is_a_problem_and_not_a_crash(site: Site, text: str) -> None:
    (said,) = site.said(text)
    assert "nested more than 64 levels deep" in said


def test_deep_nesting_through_aliases_is_a_problem(site: Site) -> None:
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 80)]
    (said,) = site.said("\n".join(lines))
    assert "nested more than 64 levels deep through aliases" in said


def test_aliases_that_multiply_are_a_problem(site: Site) -> None:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 10)]
    (said,) = site.said("\n".join(lines))
    assert "aliases add more than 100000 values" in said


def test_merges_that_multiply_are_a_problem(site: Site) -> None:
    keys = ", ".join(f"k{i}: 1" for i in range(1000))
    (said,) = site.said(f"a: &a {{{keys}}}\nb: {{<<: [{', '.join(['*a'] * 101)}]}}\n")
    assert "aliases add more than 100000 values" in said


def test_an_alias_inside_of_itself_is_a_problem(site: Site) -> None:
    assert site.said("a: &a [*a]\n") == ["config.yaml:1:8: this alias stands inside of what it refers to"]


def test_an_alias_to_nothing_is_a_problem_that_does_not_repeat_it(site: Site) -> None:
    (said,) = site.said("http: {token: *hunter2}\n")
    assert said == "config.yaml:1:15: no anchor of this name before it; quote a text that begins with `*`"


def test_anchors_aliases_and_merge_keys_work_and_what_stands_there_wins(site: Site) -> None:
    config = site.load("""\
sources:
  a: &base {preset: vidu, deadline: 1h, max_streams: 7}
  b:
    <<: *base
    deadline: 2h
  c: {<<: [{max_streams: 8}, *base], idle_timeout: 5s}
  d: *base
""")
    assert [(s.preset, s.deadline, s.max_streams) for s in config.sources.values()] == [
        ("vidu", 3600, 7), ("vidu", 7200, 7), ("vidu", 3600, 8), ("vidu", 3600, 7),
    ]  # fmt: skip


def test_a_merged_fault_is_placed_where_it_is_written(site: Site) -> None:
    said = site.said("sources:\n  a: &a {preset: vidu, deadline: x}\n  b: {<<: *a}\n")
    assert [line.split(": ")[:2] for line in said] == [
        ["config.yaml:2:34", "sources.a.deadline"],
        ["config.yaml:2:34", "sources.b.deadline"],
    ]


def test_only_mappings_can_be_merged(site: Site) -> None:
    assert site.said("a: {<<: 5}\n") == ["config.yaml:1:9: `<<` takes a mapping or a list of mappings"]


@pytest.mark.parametrize(
    "text",
    ["a: !env X", "a: !!python/object:os.system x", "a: !x [1]", "a: !x {b: 1}", "a: !!binary aGk=", "a: !!set {x}",
     "a: !!timestamp 2024-01-01"],
)  # fmt: skip
def test_tags_of_ones_own_are_refused(site: Site, text: str) -> None:
    (said,) = site.said(text)
    assert "tags (`!...`) are not supported" in said


def test_the_tags_of_json_types_are_understood(site: Site) -> None:
    config = site.load("""\
sources: !!map {v: {preset: ! vidu, max_streams: !!int "7", default: !!bool "true"}}
watches: !!seq [!!str 007, {id: ! 008, metadata: !!null ""}]
""")
    assert [watch.id for watch in config.watches] == ["007", "008"]
    assert config.sources["v"].max_streams == 7


@pytest.mark.parametrize("text", ["{[a]: b}", "? {a: b}\n: c\n", "sources: {{ template }}"])
def test_keys_are_text(site: Site, text: str) -> None:
    (said,) = site.said(text)
    assert "a key must be text" in said


def test_keys_are_taken_as_they_are_written(site: Site) -> None:
    config = site.load('sources: {007: {preset: vidu}, on: {preset: vidu}, "1": {preset: vidu, default: true}}')
    assert list(config.sources) == ["007", "on", "1"]


def test_a_second_document_is_a_problem(site: Site) -> None:
    assert site.said("log: {}\n---\nlog: {}\n") == ["config.yaml:2:1: a second document begins here; keep one"]


def test_variables_may_stand_unquoted_in_braces(site: Site) -> None:
    """YAML forbids `{` in a plain scalar inside of `{...}`, yet people write it, and nothing else can be meant."""
    site.env = {"L": "debug"}
    assert site.load("log: {level: ${L}, format: ${F:-json}}").log.level == "debug"


def test_private_characters_of_the_users_own_survive(site: Site) -> None:
    site.env = {"L": "x"}
    config = site.load('sources: {v: {preset: vidu}}\nwatches: ["\ue000\ue001", "\\uE002", {id: ${L}}]\n')
    assert [watch.id for watch in config.watches] == ["\ue000\ue001", "\ue002", "x"]


def test_a_text_with_every_private_character_is_read_as_it_is(site: Site) -> None:
    every = "".join(map(chr, range(0xE000, 0xF900)))
    site.env = {"L": "debug"}
    assert site.load(f'log: {{level: "${{L}}"}} # {every}\n').log.level == "debug"


def test_the_reader_does_without_libyaml(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "LOADER", yaml.SafeLoader)
    assert site.load("log: {level: debug}\n").log.level == "debug"
    assert "not valid YAML" in site.said("a: [b\n")[0]
    assert "nested more than 64" in site.said("[" * 5000)[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="{}[]:,-?&*!|>'\"%@`#~<\n\t $ab1.\0\ue000", max_size=80)))
def test_garbage_is_a_problem_and_never_a_traceback(site: Site, garbage: bytes | str) -> None:
    for problem in site.attempt(garbage if isinstance(garbage, bytes) else garbage.encode()):
        assert problem.line >= 1
        assert problem.column >= 1
        assert len(str(problem).splitlines()) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_configuration_of_wrong_shapes_is_a_problem_and_never_a_traceback(site: Site, data: st.DataObject) -> None:
    leaf = st.sampled_from(
        ["x", "5", "null", "yes", "007", "1.5", "${X}", '"${Y:-z}"', "[]", "{}", "[{}]", "10s", "{a: 1}", "generic"]
    )
    keys = ["preset", "base_url", "url", "headers", "paths", "states", "token", "default", "backoff", "type",
            "secrets", "events", "match", "id", "source", "labels", "metadata", "listen", "level",
            "stream", "enabled"]  # fmt: skip
    section = st.dictionaries(st.sampled_from(keys), leaf, max_size=4).map(
        lambda found: "{" + ", ".join(f"{key}: {value}" for key, value in found.items()) + "}"
    )
    value = st.one_of(
        leaf, section, section.map(lambda found: f"{{n: {found}}}"), section.map(lambda found: f"[{found}]")
    )
    sections = ["sources", "endpoints", "watches", "queues", "store", "http", "callbacks", "log", "node", "watch_files"]
    text = "".join(f"{key}: {data.draw(value)}\n" for key in sections)
    assert all(problem.message for problem in site.attempt(text))
