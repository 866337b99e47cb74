"""A source is its preset with what is overridden, checked as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from config_site import Site

from notifier.config import SourceConfig
from notifier.core.model import Phase
from notifier.sources import preset as presets
from notifier.sources.preset import Preset


def _source(site: Site, keys: str) -> SourceConfig:
    return site.load(f"sources: {{s: {{{keys}}}}}").sources["s"]


def test_a_presets_fields_are_taken_as_they_are(site: Site) -> None:
    source = _source(site, "preset: vidu")
    assert source.description.model_dump() == Preset.model_validate(presets.raw("vidu")).model_dump()
    assert isinstance(source.description, Preset)


def test_the_defaults_are_the_designs(site: Site) -> None:
    source = _source(site, "base_url: 'https://x'")
    assert source.preset == "generic"
    assert source.token is None
    assert source.default is False
    assert (source.max_streams, source.connect_rate) == (2000, 200)
    assert (source.connect_timeout, source.idle_timeout) == (10, 90)
    assert (source.backoff.initial, source.backoff.max) == (1, 60)
    assert (source.not_found_grace, source.give_up_after, source.deadline, source.stall_after) == (
        60,
        3600,
        86400,
        None,
    )
    assert source.ca_file is None


def test_single_fields_are_replaced(site: Site) -> None:
    description = _source(
        site, "preset: vidu, base_url: 'http://127.0.0.1:9/x/', framing: event, method: POST, failure_if_present: [err]"
    ).description
    assert (description.base_url, description.framing, description.method) == ("http://127.0.0.1:9/x", "event", "POST")
    assert description.failure_if_present == ("err",)


def test_headers_are_merged_without_regard_to_case_and_null_removes_one(site: Site) -> None:
    headers = "headers: {authorization: 'Key {token}', X-Team: 5}"
    assert _source(site, f"preset: vidu, {headers}").description.headers == {
        "Accept": "text/event-stream",
        "authorization": "Key {token}",
        "X-Team": "5",
    }
    removed = _source(site, "preset: vidu, headers: {AUTHORIZATION: null}").description
    assert removed.headers == {"Accept": "text/event-stream"}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ('"a\\u200bb"', "holds a character that cannot be seen, U+200B; remove it"),
        ('"Bearer\\u00a0{token}"', "holds a character that cannot be seen, U+00A0; remove it"),
        ("'Bearer {token} '", "begins or ends with a blank; remove it"),
    ],
)
def test_a_header_that_looks_right_and_is_not_is_refused(site: Site, value: str, fault: str) -> None:
    """The upstream would refuse it as if the token were wrong."""
    said = site.said(f"sources: {{s: {{preset: vidu, token: t, headers: {{Authorization: {value}}}}}}}")
    assert [line.partition(": ")[2] for line in said] == [f"sources.s.headers.Authorization: {fault}"]


def test_paths_are_merged_key_by_key(site: Site) -> None:
    paths = _source(site, "preset: vidu, paths: {state: data.state, eta: null}").description.paths
    assert (paths.state, paths.eta, paths.error_code) == ("data.state", None, "err_code")


def test_states_are_replaced_phase_by_phase(site: Site) -> None:
    states = _source(site, "preset: vidu, states: {running: [processing, 'true', 42], failed: []}").description.states
    assert states[Phase.RUNNING] == ("processing", "true", "42")
    assert states[Phase.FAILED] == ()
    assert states[Phase.SUCCEEDED] == ("success",)


def test_every_field_of_a_preset_can_be_overridden(site: Site) -> None:
    assert set(Preset.model_fields) <= set(SourceConfig.keys())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("preset: vido", "sources.s.preset: unknown preset \"vido\"; there are "),
        ("preset: [x]", "sources.s.preset: expected text, got a list"),
        ("preset: generic", "sources.s.base_url: required by the url, but not set"),
        ("preset: vidu, base_url: null", "sources.s.base_url: required by the url, but not set"),
        ("preset: vidu, base_url: 5", "sources.s.base_url: expected text, got 5"),
        ("preset: vidu, base_url: example.com", "sources.s.base_url: expected an address that begins with http:// or"),
        ("preset: vidu, base_url: 'ftp://example.com'", "sources.s.base_url: expected an address that begins with"),
        ("preset: vidu, base_url: 'http://'", "sources.s.base_url: expected an address"),
        ("preset: vidu, base_url: 'http://[::1'", "sources.s.base_url: expected an address"),
        ("preset: vidu, base_url: 'http://a#b'", "sources.s.base_url: expected an address"),
        ("preset: vidu, base_url: 'http://a/b?c=d'", "sources.s.base_url: has a query (?...), which the"),
        ("preset: vidu, base_url: \"https://a/b\\nc\"", "sources.s.base_url: holds a line break or another control"),
        ("url: \"https://x\\t/{id}\"", "sources.s.url: holds a line break or another control character"),
        ("url: ''", "sources.s.url: must not be empty"),
        ("preset: vidu, result_request: {url: \"{base_url}\\n\", result: a}", "result_request.url: holds a line break"),
        ("url: 'https://x/{id}#f'", "sources.s.url: expected an address that begins with http:// or"),
        ("url: 'https://x/'", "sources.s.url: the task's id is used nowhere; put {id} into the url or a header"),
        ("url: 'https://x/{ids}'", "{base_url}, {id}, {token}, and what `variables` names; did you mean \"id\""),
        ("url: 'https://x/{id!r}'", "sources.s.url: a template may use"),
        ("url: 'https://x/{id:>9}'", "sources.s.url: a template may use"),
        ("url: 'https://x/{}{id}'", "sources.s.url: a template may use"),
        ("url: 'https://x/{id}/{'", "sources.s.url: braces do not match"),
        ("url: 'https://x/{id}', headers: {A: '{x}'}", "sources.s.headers.A: a template may use"),
        ("url: 'https://x/{token}/{id}'", "sources.s.token: required by {token} in the url, but missing"),
        ("preset: vidu, headers: {'a b': x}", "sources.s.headers.\"a b\": not the name of a header"),
        ("preset: vidu, headers: {a: \"x\\ny\"}", "sources.s.headers.a: holds a line break"),
        ("preset: vidu, headers: {Content-length: '2'}", "this header is about how a request is sent"),
        ("preset: vidu, headers: {transfer-Encoding: chunked}", "sources.s.headers.transfer-Encoding: this header is"),
        ("preset: vidu, headers: {Expect: 100-continue}", "sources.s.headers.Expect: this header is about how"),
        ("preset: vidu, headers: {a: ''}", "sources.s.headers.a: must not be empty"),
        ("preset: vidu, headers: [a]", "sources.s.headers: expected a mapping, got a list"),
        ("preset: vidu, states: {runing: [a]}", "expected one of queued, running,"),
        ("preset: vidu, states: {running: processing}", "s.states.running: expected a list, got \"processing\""),
        ("preset: vidu, states: {running: [a, 007]}", "sources.s.states.running[1]: expected text, got 007"),
        ("preset: vidu, states: {running: [success]}", "s.states.running: \"success\" is listed under \"running\" "),
        ("preset: vidu, states: {failed: [x], canceled: [x]}", "states.canceled: \"x\" is listed under \"failed\" and"),
        ("preset: vidu, states: 5", "sources.s.states: expected a mapping, got 5"),
        ("preset: vidu, paths: {stat: x}", "sources.s.paths.stat: unknown key; did you mean \"state\"?"),
        ("preset: vidu, paths: {state: 'a['}", "sources.s.paths.state: not a JMESPath expression"),
        ("preset: vidu, paths: {state: null}", "sources.s.paths.state: expected text, got null"),
        ("preset: vidu, paths: x", "sources.s.paths: expected a mapping"),
        ("preset: vidu, failure_if_present: ['(']", "sources.s.failure_if_present[0]: not a JMESPath expression"),
        ("preset: vidu, failure_if_present: x", "sources.s.failure_if_present: expected a list"),
        ("preset: vidu, framing: lines", "expected one of event, line, got \"lines\"; did you mean \"line\"?"),
        ("preset: vidu, transport: ws", "sources.s.transport: expected "),
        ("preset: vidu, method: get", "method: expected one of GET, POST, got \"get\"; did you mean \"GET\"?"),
        ("preset: vidu, description: {}", "sources.s.description: unknown key"),
        ("preset: vidu, gateway: x", "sources.s.gateway: unknown key"),
        ("preset: vidu, proxy: x", "sources.s.proxy: expected a URL such as"),
        ("preset: vidu, proxy: 'socks5://h:1'", "sources.s.proxy: expected the URL of an HTTP proxy"),
        ("preset: vidu, max_event: 1", "sources.s.max_event: expected a size from 1KiB to 64MiB"),
        ("preset: vidu, max_event: 65MiB", "sources.s.max_event: expected a size from 1KiB to 64MiB, such as"),
        ("preset: vidu, max_event: 1GB", "sources.s.max_event: expected a size from 1KiB to 64MiB, such as"),
        ("preset: vidu, state_events: done", "sources.s.state_events"),
        ("preset: vidu, backoff: {initial: 2m}", "sources.s.backoff.initial: max is shorter than initial"),
        ("preset: vidu, backoff: {max: 500ms}", "sources.s.backoff.max: max is shorter than initial"),
        ("preset: vidu, backoff: {initial: 0s}", "sources.s.backoff.initial: must be longer than 0"),
        ("preset: vidu, backoff: 5s", "s.backoff: expected a mapping with keys such as initial, max, got \"5s\""),
        ("preset: vidu, max_streams: 0", "sources.s.max_streams: expected a whole number from 1"),
        ("preset: vidu, max_streams: 1.5", "s.max_streams: expected a whole number such as 100, without quotes"),
        ("preset: vidu, max_streams: '5'", "without quotes, got \"5\""),
        ("preset: vidu, max_streams: 1_000", "sources.s.max_streams: expected a whole number such as 100"),
        ("preset: vidu, max_streams: true", "sources.s.max_streams: expected a whole number such as 100"),
        ("preset: vidu, connect_rate: 0", "sources.s.connect_rate: expected a number above 0"),
        ("preset: vidu, connect_rate: -1", "sources.s.connect_rate: expected a number above 0"),
        ("preset: vidu, connect_rate: 10/s", "sources.s.connect_rate: expected a number such as 200 or 0.5"),
        ("preset: vidu, base_url: 'http://u:p@h'", "sources.s.base_url: a user name and password do not go"),
        ("preset: vidu, poll: {growth: 0.5}", "sources.s.poll.growth: expected at least 1, got 0.5"),
        ("preset: vidu, poll: {growth: 101}", "sources.s.poll.growth: expected at most 100, got 101"),
        ("preset: vidu, poll: {growth: abc}", 'poll.growth: expected a number such as 1.5, got "abc"'),
        ("preset: vidu, poll: {growth: .inf}", "poll.growth: expected a number such as 1.5, got .inf"),
        ("preset: vidu, poll: {growth: true}", "poll.growth: expected a number such as 1.5, got true"),
        ("preset: vidu, poll: {growth: '2'}", 'poll.growth: expected a number such as 1.5, got "2"'),
        ("preset: vidu, poll: {max_in_flight: true}", "max_in_flight: expected a whole number such as 100, got true"),
        ("preset: vidu, experimental: 'yes'", 's.experimental: expected true or false, got "yes"'),
        ("preset: vidu, not_found: [{empty: 1}]", "not_found[0].empty: expected true or false, got 1"),
        ("preset: vidu, base_url: 'http://h:99999'", "sources.s.base_url: expected an address that begins with"),
        ("preset: vidu, base_url: 'http://h:0'", "sources.s.base_url: expected an address that begins with"),
        ("preset: vidu, base_url: 'http://[::1]:x'", "sources.s.base_url: expected an address that begins with"),
        ("preset: vidu, url: 'http://h:70000/{id}'", "sources.s.url: expected an address that begins with"),
        ("preset: vidu, batch: {url: x}", "sources.s.batch.url: expected an address that begins with"),
        ("preset: vidu, batch: {url: 'http://h:70000/'}", "sources.s.batch.url: expected an address that begins with"),
        ("preset: vidu, result_request: {url: '{id}', result: a}", "result_request.url: expected an address that"),
        ("preset: vidu, result_request: {url: '{base_url}#{id}', result: a}", "result_request.url: expected an "),
        (
            "preset: vidu, base_url: 'ftp://h', result_request: {url: '{base_url}/{id}', result: a}",
            "sources.s.base_url: expected an address",
        ),
        ("preset: vidu, poll: {max_in_flight: 1.5}", "max_in_flight: expected a whole number such as 100, got 1.5"),
        ("preset: vidu, poll: {hint: 'a b'}", 'poll.hint: expected text of the form ^[A-Za-z0-9-]+$, got "a b"'),
        ("preset: vidu, experimental: maybe", 's.experimental: expected true or false, got "maybe"'),
        ("preset: vidu, batch: {url: '{base_url}', ids: ''}", "sources.s.batch.ids: must not be empty"),
        ("preset: vidu, cursor: {path: a, parameter: b, x: 1}", "sources.s.cursor.x: unknown key"),
        ("preset: vidu, not_found: [{status: 99999}]", "not_found[0].status: expected at most 599, got 99999"),
        ("preset: vidu, no_stream: [{status: 42}]", "no_stream[0].status: expected at least 100, got 42"),
        ("preset: vidu, ca_file: none.pem", "sources.s.ca_file: no such file"),
        ("preset: vidu, ca_file: bad.pem", "sources.s.ca_file: holds no certificates in PEM form"),
        (f"preset: vidu, ca_file: {'x' * 300}", "sources.s.ca_file: cannot be read: "),
        ("preset: vidu, ca_file: ''", "sources.s.ca_file: must not be empty"),
    ],
)  # fmt: skip
def test_a_faulty_source_is_a_problem(site: Site, keys: str, said: str) -> None:
    site.write("hello", "bad.pem")
    (line,) = site.said(f"sources: {{s: {{{keys}}}}}")
    assert said in line


@pytest.mark.parametrize("url", ["http://h:{port}/{id}", "{scheme}://h/{id}", "https://{region}.example/{id}"])
def test_a_variable_may_stand_anywhere_in_an_address(site: Site, url: str) -> None:
    variables = "{port: null, scheme: https, region: null}"
    config = site.load(f"""\
presets: {{p: {{url: "{url}", variables: {variables}, states: {{running: [a]}}}}}}
sources: {{s: {{preset: p}}}}
""")
    assert config.sources["s"].description.url == url


def test_several_faults_of_one_source_are_told_together(site: Site) -> None:
    said = site.said("""\
sources:
  s:
    preset: vidu
    states: {running: [007], bad: [x]}
    paths: {stat: x, eta: 5}
    headers: {"a b": x, c: ""}
    deadlin: 5s
    deadline: 5
""")
    assert len(said) == 8


def test_an_unknown_preset_hides_no_other_fault(site: Site) -> None:
    said = site.said("sources: {s: {preset: vidoo, poll: {intervall: 5s, growth: 0}, paths: {stat: x}, max_stream: 5}}")
    assert [line.split(": ")[1].removeprefix("sources.s.") for line in said] == [
        "preset",
        "poll.intervall",
        "poll.growth",
        "paths.stat",
        "max_stream",
    ]


def test_a_fault_hides_no_impossible_pair_of_other_keys(site: Site) -> None:
    said = site.said(
        "sources: {s: {preset: runway, base_url: 'ftp://x', poll: {interval: 60s, max_interval: 5s, growth: 0}, "
        "states: {failed: [PENDING], runing: [x]}, result_request: {url: 5}, method: PUT}}"
    )
    told = {line.split(": ")[1].removeprefix("sources.s."): line.split(": ", 2)[2] for line in said}
    assert told["base_url"].startswith("expected an address")
    assert told["poll.max_interval"] == "max_interval is shorter than interval"
    assert told["poll.growth"] == "expected at least 1, got 0"
    assert told["states.failed"].startswith('"PENDING" is listed under')
    assert told["states.runing"].startswith("expected one of queued")
    assert told["result_request.result"] == "required, but missing"
    assert told["method"] == 'expected one of GET, POST, got "PUT"'
    assert len(told) == len(said) == 8


def test_a_fault_of_a_preset_hides_no_others(site: Site) -> None:
    said = site.said(
        "presets: {mine: {url: 'https://x/{idd}', states: {succeeded: [ok], failed: [ok], runing: [x]}, method: PUT}}\n"
        "sources: {s: {preset: mine, poll: {intervall: 5s}}}"
    )
    assert [line.split(": ")[1] for line in said] == [
        "presets.mine.url",
        "presets.mine.states.failed",
        "presets.mine.states.runing",
        "presets.mine.method",
        "sources.s.poll.intervall",
    ]
    (lacking,) = site.said("presets: {mine: {states: {succeeded: [ok]}}}")
    assert lacking.endswith("presets.mine.url: required, but missing")


@pytest.mark.parametrize("token", ["nocolon", "access:", ":secret"])
def test_a_header_that_is_signed_takes_a_pair_of_keys(site: Site, token: str) -> None:
    keys = "preset: kling, variables: {kind: x}, headers: {Authorization: 'Bearer {jwt}'}"
    (said,) = site.said(f"sources: {{s: {{{keys}, token: '{token}'}}}}")
    assert said.endswith("sources.s.token: a header is signed by {jwt}, which takes a pair of keys: ACCESS:SECRET")
    site.load(f"sources: {{s: {{{keys}, token: 'access:secret'}}}}")
    site.load(f"sources: {{s: {{{keys}}}}}")  # without a token the header is left out


def test_a_state_that_a_variable_holds_is_not_shown(site: Site) -> None:
    site.env["WORD"] = "hunter2"
    (said,) = site.said('sources: {s: {preset: vidu, states: {running: ["${WORD}"], queued: ["${WORD}"]}}}')
    assert "a variable's value is listed under" in said


def test_durations_are_seconds(site: Site) -> None:
    source = _source(
        site,
        "preset: vidu, connect_timeout: 250ms, idle_timeout: 1.5s, deadline: 5d, give_up_after: 2h, "
        "not_found_grace: 0, stall_after: 10m, backoff: {initial: 0.5s, max: 5m}",
    )
    assert (source.connect_timeout, source.idle_timeout, source.deadline) == (0.25, 1.5, 432000)
    assert (source.give_up_after, source.not_found_grace, source.stall_after) == (7200, 0, 600)
    assert (source.backoff.initial, source.backoff.max) == (0.5, 300)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("10", "got 10; add a unit, as in 10s"),
        ("1.5", "got 1.5; add a unit, as in 1.5s"),
        ("-5", "got -5; add a unit"),
        ("'10'", 'got "10"'),
        ("-5s", 'got "-5s"'),
        ("5 s", 'got "5 s"'),
        ("1h30m", 'got "1h30m"'),
        ("5w", 'got "5w"'),
        ("12:30", "got 12:30"),
        ("true", "got true"),
        ("null", "got null"),
        ("[5s]", "got a list"),
        ("٣s", 'got "٣s"'),
    ],
)
def test_a_duration_needs_its_unit(site: Site, written: str, said: str) -> None:
    (line,) = site.said(f"sources: {{s: {{preset: vidu, deadline: {written}}}}}")
    assert line.endswith(f"expected a duration such as 250ms, 90s, 5m, 2h or 5d, {said}")


@pytest.mark.parametrize("written", ["0", "0s", "0ms", "0.0d"])
def test_zero_is_a_duration_only_where_it_makes_sense(site: Site, written: str) -> None:
    assert _source(site, f"preset: vidu, not_found_grace: {written}").not_found_grace == 0
    (said,) = site.said(f"sources: {{s: {{preset: vidu, deadline: {written}}}}}")
    assert said.endswith("sources.s.deadline: must be longer than 0")


def test_a_duration_has_an_end(site: Site) -> None:
    assert site.said("sources: {s: {preset: vidu, deadline: 3651d}}")[0].endswith("longer than 3650d")


def test_the_authorities_to_trust_are_read_beside_the_configuration(site: Site) -> None:
    trustme.CA().cert_pem.write_to_path(site.directory / "ca.pem")
    config = site.load("sources: {s: {preset: vidu, ca_file: ca.pem}}")
    assert config.sources["s"].ca_file == site.directory / "ca.pem"
    assert site.directory / "ca.pem" in config.files


def test_a_source_read_twice_is_equal_and_one_with_another_token_is_not(site: Site) -> None:
    first, second = (_source(site, "preset: vidu, token: a") for _ in range(2))
    assert first == second
    assert first != _source(site, "preset: vidu, token: b")
    assert first != _source(site, "preset: vidu, token: a, framing: event")


def test_a_source_can_be_made_in_code() -> None:
    source = SourceConfig.model_validate({"preset": "vidu", "deadline": "5s", "ca_file": Path("x.pem")})
    assert source.description.framing == "line"
    assert SourceConfig.model_validate(source) is source


def test_the_source_of_watches_that_name_none(site: Site) -> None:
    assert site.load("{}").default_source is None
    assert site.load("sources: {a: {preset: vidu}}").default_source == "a"
    assert site.load("sources: {a: {preset: vidu}, b: {preset: vidu}}").default_source is None
    assert site.load("sources: {a: {preset: vidu}, b: {preset: vidu, default: yes}}").default_source == "b"


def test_two_default_sources_are_an_impossible_pair(site: Site) -> None:
    said = site.said("sources:\n  a: {preset: vidu, default: true}\n  b: {preset: vidu, default: on}\n")
    assert said == ["config.yaml:3:30: sources.b.default: only one source can be the default; a is"]


def test_a_source_without_keys_is_told_what_it_lacks(site: Site) -> None:
    assert site.said("sources:\n  a:\n") == [
        "config.yaml:2:3: sources.a.preset: required, but missing; there are those that `notifier preset list` names; "
        "`generic` is for a provider of your own"
    ]
