"""Large lists of watches are read in one pass, with the same result as by the way that keeps every place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from config_site import Site
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import document
from notifier.config.document import read_document
from notifier.config.plain import NotPlain, parse_plain
from notifier.config.section import Context
from notifier.config.watch import WatchConfig, WatchRequest, usual

ENV = {"A": "alpha", "N": "7", "E": ""}
PLAIN = (
    "a",
    "id",
    "labels",
    "007",
    "1e5",
    "12",
    "-1",
    "yes",
    "null",
    "~",
    "1.5",
    "x y",
    "true",
    "0x1f",
    "é",
    "作",
    "#",
)
VARIABLES = ("${A}", "${N}", "$${A}", "${E:-d}", '"${A}"', "'${N}'")
ODD = ('"q"', "'s'", '"\\u00e9"', "<<", "&x y", "*x", "!t v", "- z", ": ")
WORDS = st.sampled_from(PLAIN + VARIABLES + ODD)
VALUES = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(WORDS, inner, max_size=4).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=12,
)
BLOCKS = st.lists(WORDS | VALUES, max_size=5).map(lambda items: "".join(f"- {item}\n" for item in items)) | (
    st.lists(st.tuples(WORDS, VALUES), max_size=5).map(lambda items: "".join(f"{k}: {v}\n" for k, v in items))
)


def typed(value: Any) -> Any:
    """Return a value with the type of each of its parts, which == does not compare."""
    match value:
        case dict():
            return {key: typed(item) for key, item in value.items()}
        case list():
            return [typed(item) for item in value]
        case _:
            return type(value), repr(value)


@given(VALUES | BLOCKS | st.text(st.sampled_from("ab:-[]{}\n \"'&*!#<,?|>$"), max_size=40), st.booleans())
def test_one_pass_gives_what_the_tree_gives(text: str, clear: bool) -> None:
    """Whatever is not read in one pass is left to the tree, with its problems and their places."""
    slow = document._with_places(Path("x"), text, ENV, clear=clear)
    try:
        data = parse_plain(text, lambda part: document.interpolate(part, ENV), clear=clear)
    except (NotPlain, document.Unresolved):
        return
    assert not slow.problems
    assert typed(data) == typed(slow.data)


UNUSUAL = ("&a [x]", "[*a]", "a: !!str 1", "{a: 1, a: 2}", "{<<: {a: 1}}", "a: 1\n---\nb: 2", "{[a]: b}", "[", "a\0")


@pytest.mark.parametrize("text", [*UNUSUAL, "{a: ${NOPE}}", "[" * 65 + "]" * 65])
def test_what_is_unusual_is_left_to_the_tree(text: str) -> None:
    """Among it is everything that is a mistake."""
    with pytest.raises((NotPlain, document.Unresolved)):
        parse_plain(text, lambda part: document.interpolate(part, ENV), clear=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
WATCH = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["1", 7, "x" * 600, "", "a\n", True, -1, None, "作", "\ud800"]),
        "source": st.sampled_from(["s", "t", "", None, 5]),
        "endpoints": st.none() | st.lists(st.sampled_from(["a", "b", "c", 1]), max_size=3) | st.just("a"),
        "labels": st.none() | st.dictionaries(st.sampled_from(["k", "l", "\ud800"]), st.sampled_from(["v", 1, None])),
        "metadata": JSON,
        "lables": st.just({}),
    },
)


@given(WATCH, st.sampled_from([WatchConfig, WatchRequest]))
def test_a_usual_watch_is_what_the_model_makes_of_it(value: dict[str, Any], model: type[WatchConfig]) -> None:
    """The quick way takes nothing that the model refuses, and gives the same watch."""
    context = Context(env={}, sources=("s", "t"), endpoints=("a", "b"))
    row = usual(value, "s", context)
    if row is None:
        return
    quick = model.of_row(row)
    whole = {**value, "source": "s" if value.get("source") is None else value["source"]}
    slow = model.model_validate(whole, context=context)
    assert quick == slow
    assert typed(quick.model_dump()) == typed(slow.model_dump())
    assert slow.row == row
    assert quick.to_new_watch() == slow.to_new_watch()


def test_usual_watches_take_the_quick_way() -> None:
    """The forms of every example do."""
    context = Context(env={}, sources=("s",), endpoints=("a",))
    for value in ({"id": "1"}, {"id": 2, "labels": {"k": "v"}, "metadata": {"n": [1, None]}, "endpoints": ["a"]}):
        assert usual(value, "s", context) is not None
        assert usual(value, "s", context) == WatchConfig.model_validate({"source": "s"} | value, context=context).row


WATCHES = 100_000
CPU, MEMORY = 3.0, 160  # seconds of a quiet core; MiB of the process at its most

MEASURE = """
import re, sys, time
from pathlib import Path
from notifier.config import load
began = time.process_time()
config = load(Path(sys.argv[1]), env={})
spent = time.process_time() - began
peak = re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]  # KiB (proc_pid_status(5))
print(len(config.watches), spent, int(peak) / 1024)
"""

FORMS = {
    "flow": '- {{id: "{0}", labels: {{team: video, user: u{0}}}, metadata: {{order: {0}}}}}\n',
    "block": "- id: '{0}'\n  labels:\n    team: video\n    user: u{0}\n  metadata:\n    order: {0}\n",
    "JSON": '- {{"id": "{0}", "labels": {{"team": "video", "user": "u{0}"}}, "metadata": {{"order": {0}}}}}\n',
}


@pytest.mark.parametrize(("form", "watches"), [("flow", WATCHES), ("block", WATCHES // 10), ("JSON", WATCHES // 10)])
def test_a_hundred_thousand_watches_are_read_soon_and_in_little_memory(site: Site, form: str, watches: int) -> None:
    """As mappings with labels and metadata; a tenth in a tenth of the time; four times that if busy.

    The process is not measured for coverage, which takes as long as the work itself.
    """
    site.write("".join(FORMS[form].format(2370487727000000 + n) for n in range(watches)), "w.yaml")
    path = site.write("sources: {s: {preset: vidu, token: t}}\nwatch_files: [w.yaml]\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, check=True, timeout=600, env=env
    )
    count, cpu, memory = map(float, done.stdout.split())
    assert count == watches
    assert cpu < 4 * CPU * watches / WATCHES
    assert memory < MEMORY


def test_a_mistake_in_a_large_file_has_its_place(site: Site) -> None:
    """The places are looked up for problems alone."""
    lines = [f'- {{id: "{n}", labels: {{team: a}}}}\n' for n in range(3000)]
    lines[1999] = '- {id: "x", lables: {}}\n'
    site.write("".join(lines), "w.yaml")
    [said] = site.said("sources: {s: {preset: vidu, token: t}}\nwatch_files: [w.yaml]\n")
    assert said == 'w.yaml:2000:13: [1999].lables: unknown key; did you mean "labels"?'
    assert read_document(site.directory / "w.yaml", {}).line((2500,)) == 2501
