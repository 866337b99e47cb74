"""A watch may carry values for what its source's URL names beside the id, and has to where the source gives none."""

from __future__ import annotations

from typing import Any

import pytest
from config_site import Site

from notifier.config import WatchRefused, parse_watch
from notifier.core.model import NewWatch

SOURCES = """\
sources:
  kling: {preset: kling, token: t}
  fal: {preset: fal, token: t}
  gateway: {preset: fal, token: t, variables: {owner: fal-ai, app: pika}}
  vidu: {preset: vidu, token: t}
  spread: {url: "https://{region}.example.com/{kind}/{id}", variables: {region: eu, kind: video}}
"""
KLING = {"id": "1", "source": "kling"}
FAL = {"id": "1", "source": "fal"}


def test_a_watch_has_variables_of_its_own(site: Site) -> None:
    """In YAML and in JSON alike; a watch of a source that has them all needs none."""
    config = site.load(
        SOURCES + "watches: [{id: a, source: kling, variables: {kind: images/generations}}, {id: b, source: kling},"
        " {id: c, source: fal, variables: {owner: o, app: 3}}, {id: d, source: gateway}]"
    )
    assert [dict(watch.to_new_watch().variables) for watch in config.watches] == [
        {"kind": "images/generations"},
        {},
        {"owner": "o", "app": "3"},
        {},
    ]
    assert parse_watch(KLING | {"variables": {"kind": "x/y"}}, config) == NewWatch(
        source="kling", id="1", variables={"kind": "x/y"}
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            FAL,
            "variables: the url of fal names app, owner; add `variables: {app: ..., owner: ...}` here or to the source",
        ),
        (FAL | {"variables": {"app": "a"}}, "variables: the url of fal names owner; add"),
        (KLING | {"variables": {"knd": "a"}}, 'variables.knd: watches of kling may give kind; did you mean "kind"?'),
        ({"id": "1", "source": "vidu", "variables": {"a": "b"}}, "variables.a: watches of vidu have no variables"),
        (KLING | {"variables": {"kind": "a\nb"}}, "variables.kind: holds a line break or another control character"),
        (KLING | {"variables": {"kind": "a/../b"}}, "variables.kind: `.` and `..` are no parts of a path here"),
        (KLING | {"variables": {"kind": "x" * 513}}, "variables.kind: longer than 512 characters"),
        (KLING | {"variables": {"kind": None}}, "variables.kind: expected text, got null"),
        (KLING | {"variables": "kind"}, "variables: expected a mapping"),
        (
            {"id": "1", "source": "spread", "variables": {"region": "evil.example/"}},
            "variables.region: watches of spread may give kind",
        ),
    ],
)
def test_a_variable_that_does_not_fit_is_refused_with_the_way_out(site: Site, value: Any, said: str) -> None:
    """A variable in the host is the source's alone: the host receives the credentials."""
    with pytest.raises(WatchRefused) as caught:
        parse_watch(value, site.load(SOURCES))
    (problem,) = caught.value.problems
    assert str(problem).startswith(said)


def test_a_watch_of_the_file_is_refused_at_its_line(site: Site) -> None:
    [said] = site.said(SOURCES + "watches:\n  - {id: a, source: kling}\n  - {id: b, source: fal}\n")
    assert said.startswith("config.yaml:9:5: watches[1].variables: the url of fal names app, owner")


def test_a_removal_names_a_watch_without_its_variables(site: Site) -> None:
    assert parse_watch(FAL, site.load(SOURCES), named=True).id == "1"


@pytest.mark.parametrize("variables", ["{kind: 'a\\tb'}", "{kind: a/./b}", "{token: x}", "{'a b': x}"])
def test_a_variable_of_a_source_is_checked_as_well(site: Site, variables: str) -> None:
    text = variables.replace("'a\\tb'", '"a\\tb"')
    assert site.problems(f"sources: {{kling: {{preset: kling, token: t, variables: {text}}}}}")
