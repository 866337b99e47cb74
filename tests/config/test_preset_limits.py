"""What a preset says of its tasks beside states: limits that a source may override, and the twin that is polled."""

from __future__ import annotations

import pytest
from config_site import Site

from notifier.config import SourceConfig
from notifier.daemon.adapters import feed_policy, source_settings

PRESET = """\
presets:
  slow:
    url: "{base_url}/jobs/{id}"
    states: {succeeded: [ok]}
    deadline: 3d
    stall_after: 2h
    idle_timeout: 45s
    max_event: 16MiB
    resume_window: 5m
"""


def source(site: Site, text: str, name: str = "s") -> SourceConfig:
    return site.load(text).sources[name]


def test_a_presets_limits_are_its_sources(site: Site) -> None:
    slow = source(site, PRESET + "sources: {s: {preset: slow, base_url: 'https://h'}}")
    assert (slow.deadline, slow.stall_after, slow.idle_timeout, slow.max_event) == (259200, 7200, 45, 16 << 20)
    policy = feed_policy(slow)
    assert (policy.deadline, policy.stall_after, policy.idle_timeout) == (259200, 7200, 45)
    assert policy.resume_window == 300
    assert source_settings(slow, True).max_event == 16 << 20


def test_a_sources_own_limits_go_before_the_presets(site: Site) -> None:
    """Also where it says null, or the default."""
    own = "deadline: 24h, stall_after: null, idle_timeout: 90s, max_event: 1MiB"
    mine = source(site, PRESET + f"sources: {{s: {{preset: slow, base_url: 'https://h', {own}}}}}")
    assert (mine.deadline, mine.stall_after, mine.idle_timeout, mine.max_event) == (86400, None, 90, 1 << 20)
    plain = source(site, "sources: {s: {preset: vidu, token: t}}")
    assert (plain.deadline, plain.stall_after, plain.idle_timeout, plain.max_event) == (86400, None, 90, 1 << 20)


def test_a_twin_is_polled_at_the_sources_address_and_pace(site: Site) -> None:
    """With its token, variables and headers; the rest is the twin's own."""
    config = site.load("""\
sources:
  hedra: {preset: hedra-stream, token: t, base_url: "https://proxy.example/h", poll: {interval: 2s, rate_limit: 7/s},
          headers: {X-Org: o}}
  fal: {preset: fal-stream, token: t, variables: {owner: o, app: a}}
  comfy: {preset: comfy-stream, token: t, base_url: "https://comfy.example"}
  vidu: {preset: vidu, token: t}
""")
    twin = config.sources["hedra"].description.twin
    assert twin is not None
    assert (twin.transport, twin.base_url) == ("poll", "https://proxy.example/h")
    assert twin.url == "{base_url}/v3/jobs/{id}/status"
    assert twin.headers["X-Org"] == "o"
    policy = feed_policy(config.sources["hedra"])
    assert policy.poll is not None
    assert (policy.poll.interval, policy.request_rate, policy.max_streams) == (2.0, 7.0, 2000)
    settings = source_settings(config.sources["hedra"], True)
    assert settings.twin is not None
    assert (settings.twin.token, settings.twin.preset) == ("t", twin)
    fal, comfy = config.sources["fal"].description.twin, config.sources["comfy"].description.twin
    assert fal is not None
    assert comfy is not None
    assert (fal.variables, comfy.base_url) == ({"owner": "o", "app": "a"}, "https://comfy.example")
    assert config.sources["vidu"].description.twin is None
    assert feed_policy(config.sources["vidu"]).poll is None


def test_a_source_may_name_a_twin_of_its_own_or_none(site: Site) -> None:
    mine = "presets: {mine: {url: '{base_url}/j/{id}', transport: poll, states: {succeeded: [ok]}}}\n"
    own = source(site, mine + "sources: {s: {preset: vidu, token: t, poll_twin: mine}}").description.twin
    assert own is not None
    assert own.base_url == "https://api.gptgod.online"
    assert source(site, "sources: {s: {preset: hedra-stream, token: t, poll_twin: null}}").description.twin is None


def test_a_change_of_pace_leaves_streams_alone(site: Site) -> None:
    text = "sources: {s: {preset: hedra-stream, token: t, poll: {interval: %s}}}"
    one, other = source(site, text % "2s").description, source(site, text % "3s").description
    assert one != other
    assert one.asks_like(other)
    assert not one.asks_like(source(site, "sources: {s: {preset: fal-stream, token: t}}").description)


@pytest.mark.parametrize(
    ("field", "value", "other"),
    [
        ("title", "One", "Two"),
        ("about", "{confidence: high}", "{confidence: low}"),
        ("experimental", "true", "false"),
        ("deadline", "1h", "2h"),
        ("stall_after", "1m", "null"),
        ("idle_timeout", "30s", "40s"),
        ("max_event", "2MiB", "4MiB"),
    ],
)
def test_a_change_of_what_no_request_and_no_reading_needs_leaves_streams_alone(
    site: Site, field: str, value: str, other: str
) -> None:
    """A preset of one's own may hold it; its streams do not reopen."""
    text = (
        "presets: {p: {url: '{base_url}/{id}', states: {running: [a]}, %s: %s}}\n"
        "sources: {s: {preset: p, base_url: 'http://h', token: t}}"
    )
    one, two = (source(site, text % (field, each)).description for each in (value, other))
    assert one != two
    assert one.asks_like(two)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("poll_twin: hedraa", 'poll_twin: unknown preset "hedraa"; did you mean "hedra"?'),
        ("poll_twin: vidu", "poll_twin: the preset vidu is no polled one"),
        ("poll_twin: veo", ""),
        ("batch: {url: '{base_url}/b', method: GET}", "batch.url: the ids are used nowhere; put {ids} into the url"),
        ("batch: {url: '{base_url}/{idz}'}", "batch.url: a template may use"),
        ("batch: {url: '{base_url}/b', most: 1}", "batch.most"),
        ("cursor: {path: '[', parameter: after}", "cursor.path: not a JMESPath expression"),
        ("cursor: {path: seq, parameter: 'a&b'}", "cursor.parameter"),
        ("no_stream: [{text: x}]", "no_stream[0].status: required, but missing"),
    ],
)
def test_what_does_not_fit_is_a_problem(site: Site, fields: str, said: str) -> None:
    problems = site.said(f"sources: {{s: {{preset: vidu, token: t, {fields}}}}}") if said else ["sources.s."]
    assert any(f"sources.s.{said}" in problem for problem in problems), problems
