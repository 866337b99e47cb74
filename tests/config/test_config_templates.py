"""A template is tried before it is trusted: on every type of event that its endpoint takes, full and bare."""

from __future__ import annotations

from typing import Any

import pytest
from config_site import WHSEC, Site

from notifier.config.template import Anything, Open, samples
from notifier.core.model import EventType

INDENT = " " * 6


def configuration(template: str, *, kind: str = "slack", events: str = "['task.*', 'watch.lost']") -> str:
    """Write a configuration with a template of several lines; it begins on line 7."""
    secrets = f"    secrets: [{WHSEC}]\n" if kind == "webhook" else "    service: mattermost\n"
    lines = template.replace("\n", f"\n{INDENT}")
    return (
        f"endpoints:\n  e:\n    type: {kind}\n    url: https://example.com/\n{secrets}    events: {events}\n"
        f"    template: |\n{INDENT}{lines}\n"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ data.watch.id }} is {{ data.state }}",
        "{{ type }} {{ timestamp }} {{ id }} {{ data.sequence }} {{ data.watched_seconds }}",
        "{{ data.error.message if data.error else 'fine' }} {{ (data.result or {}).urls | default([]) | join(' ') }}",
        "{{ data.watch.labels.team }} {{ data.watch.labels.team.upper() }} {{ data.watch.metadata.order + 1 }}",
        "{{ data.watch.metadata.user.name[0] | default('-') }} {{ data.watch.metadata.price * 1.2 | round(2) }}",
        "{% for key, value in data.watch.labels.items() %}{{ key }}={{ value }} {% endfor %}x",
        "{% for key, value in data.watch.labels | dictsort %}{{ key }}={{ value }} {% endfor %}x",
        "{% if data.watch.labels.priority > 3 and 'x' in data.watch.labels.tags %}!{% endif %}{{ data.task or '-' }}",
        "{% if data.task %}{{ data.task.video.url | default('-') }}{% for c in data.task.creations %}{{ c.url }}"
        "{% endfor %}{% endif %}x",
        "{{ data.progress | default('?', true) }} {{ data.previous_state or 'new' }} {{ data.reason | default('') }}",
    ],
)  # fmt: skip
def test_what_a_template_may_count_on(site: Site, template: str) -> None:
    """Of what only provider and user know, whatever it asks for."""
    endpoint = site.load(configuration(template)).endpoints["e"]
    assert endpoint.template == template + "\n"


@pytest.mark.parametrize(
    ("template", "events", "said"),
    [
        (
            "ok\n{{ data.wach.id }}",
            "['task.*']",
            "line 2 of the template: 'dict object' has no attribute 'wach' (with a sample of task.state_changed)",
        ),
        ("{{ data.error.message }}", "[task.failed]", "line 1 of the template: 'None' has no attribute 'message'"),
        ("{{ data.result.urls[0] }}", "[task.succeeded]", "'None' has no attribute 'urls'"),
        ("{{ data.progress * 100 }}", "[task.state_changed]", "TypeError: unsupported operand type"),
        ("{{ data.task.state }}", "[watch.lost]", "'None' has no attribute 'state' (with a sample of watch.lost)"),
        ("{{ data.watch.id }}", "['*']", "has no attribute 'watch' (with a sample of endpoint.failing)"),
        ("{{ data.detail }}", "[endpoint.recovered]", "has no attribute 'detail' (with a sample of endpoint.rec"),
        ("{{ data.endpoint }}", "['endpoint.*', 'notifier.*']", "(with a sample of notifier.reload_failed)"),
        ("{% if data.error %}x{% endif %}", "[task.failed]", "it makes an empty text (with a sample of task.failed)"),
        ("\n\n{% fi %}", "['*']", "endpoints.e.template: line 3 of the template: Encountered unknown tag 'fi'."),
        ("{{ range(10001) }}", "['*']", "a range of more than 10000 elements"),
        ("{% include 'x' %}", "['*']", "{% include %} is not for templates of one piece"),
    ],
)  # fmt: skip
def test_a_template_that_would_fail_is_a_problem(site: Site, template: str, events: str, said: str) -> None:
    """Where it stands, with the line inside of it, and the event that it would fail for."""
    (problem,) = site.problems(configuration(template, events=events))
    assert said in str(problem)
    assert (problem.line, problem.column, problem.key) == (7, 15, "endpoints.e.template")


@pytest.mark.parametrize(
    "template",
    [
        '{"text": "{{ data.watch.id }}", "l": {{ data.watch.labels | tojson }}, "p": {{ data.progress | tojson }}}',
        "{{ data | tojson }}",
        '{"team": "{{ data.watch.labels.team }}", "n": {{ data.watch.metadata.n }}, "s": {{ data.task.s | tojson }}}',
    ],
)
def test_a_webhooks_template_makes_json(site: Site, template: str) -> None:
    """Whatever the sample."""
    assert site.load(configuration(template, kind="webhook", events="['task.*']")).endpoints["e"].template


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ data.state }}", "what it makes is not JSON (Expecting value at line 1, column 1); the filter tojson"),
        ('{"a": {{ data.progress }}}', "what it makes is not JSON (Expecting value at line 1, column 7)"),
        ('{"a": 1,}', "what it makes is not JSON"),
        ('{"a": NaN}', "what it makes is not JSON"),
        ("{% if type == 'none' %}{}{% endif %}", "what it makes is not JSON"),
    ],
)  # fmt: skip
def test_a_webhooks_template_that_makes_no_json_is_a_problem(site: Site, template: str, said: str) -> None:
    """Since the body is JSON."""
    (problem,) = site.problems(configuration(template, kind="webhook"))
    assert said in problem.message


@pytest.mark.parametrize(
    ("value", "said"),
    [("''", "must not be empty"), ("'  '", "must not be empty"), ("[a]", "expected text, got a list"),
     ("5.5", "expected text, got 5.5")],
)  # fmt: skip
def test_a_template_is_text(site: Site, value: str, said: str) -> None:
    (line,) = site.said(f"endpoints: {{e: {{type: slack, url: 'https://x', template: {value}}}}}")
    assert f"endpoints.e.template: {said}" in line


def test_what_came_out_of_a_variable_is_not_repeated(site: Site) -> None:
    """It may be a secret in the wrong place."""
    site.env["SECRET"] = "{% hunter2 %}"
    (line,) = site.said("endpoints: {e: {type: slack, url: 'https://x', template: \"a ${SECRET}\"}}")
    assert "hunter2" not in line
    assert "cannot be rendered, line 1 of it; it holds a variable, so no more is said" in line


def test_a_fault_hides_no_other(site: Site) -> None:
    """Of the same endpoint."""
    said = site.said("endpoints: {e: {type: slack, url: x, events: [a], template: '{% x %}', zzz: 1}}")
    assert len(said) == 4


def test_there_are_samples_of_every_event() -> None:
    """At least one, and of what may be null both."""
    found: dict[EventType, list[dict[str, Any]]] = {}
    for kind, sample in samples(("*",)):
        assert sample["type"] == kind
        assert sample["id"].startswith("msg_")
        found.setdefault(kind, []).append(sample["data"])
    assert found.keys() == set(EventType)
    for kind in (EventType.FAILED, EventType.SUCCEEDED, EventType.STATE_CHANGED):
        full, bare = found[kind]
        assert (full["progress"], bare["progress"], bare["error"], bare["result"]) == (0.5, None, None, None)
        assert (full["previous_state"], bare["previous_state"]) == ("queueing", None)


def test_anything_goes_along_with_everything() -> None:
    """Fields, calls, arithmetic from either side, comparison, loops."""
    it: Any = Open()["x"]
    for found in (
        it.a.b,
        it["c"],
        it(1, d=2),
        it + 1,
        1 + it,
        "a" + it,
        it * "b",
        3 / it,
        it % 2,
        *it,
        it.items()[0][1],
    ):
        assert isinstance(found, Anything)
    assert "x" in it
    assert it > "a"
    assert len(it) == 1
