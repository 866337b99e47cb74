"""YAML's own mistakes are told as a person would, at the place where they were made, by either parser."""

from __future__ import annotations

import re

import pytest
import yaml
from config_site import WHSEC, Site

from notifier.config import tree
from notifier.sources.preset import names


@pytest.fixture(params=["libyaml", "Python"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(tree, "LOADER", yaml.SafeLoader)


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("log:\n\tlevel: info\n", "2:1", "a tab in the indentation; use blanks"),
        ("log:\n  level: info\n\tformat: json\n", "3:1", "a tab in the indentation; use blanks"),
        ("log:\n  \tlevel: info\n", "2:3", "a tab in the indentation; use blanks"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "indented differently from the lines above"),
        ("sources:\n  v:\n    preset: vidu\n   token: x\n", "4:4", "indented differently from the lines above"),
        ("  a: 1\nb: 2\n", "2:1", "indented differently from the lines above"),
        ("- a\nb: 1\n", "2:1", "indented differently from the lines above"),
        ("a: 1\n  b: 2\n", "2:4", "a key is not expected here: the line above has a value already"),
        ('a: "x\nb: 1\nc: 2\n', "1:4", "the quote that opens here is never closed"),
        ("a: 'x\n", "1:4", "the quote that opens here is never closed"),
        ("a: 'it's'\n", "1:8", "text after the end of a quoted value"),
        ("a: [1, 2\nb: 3\n", "2:2", "the list that opens on line 1 needs `,` or `]` here"),
        ("a: {x: 1\nb: 3\n", "2:2", "the mapping that opens on line 1 needs `,` or `}` here"),
        ("a: {x: f[].u}\n", "1:9", "the mapping that opens on line 1 needs `,` or `}` here; a text that holds `[` is"),
        ("a: {x}/{y}\n", "1:7", "text after the closing `}`; put the whole value in quotes"),
        ("a: [x] y\n", "1:8", "text after the closing `]`; put the whole value in quotes"),
        ("a: b: c\n", "1:5", "a second `:` on this line; put the value in quotes"),
        ("a: @x\n", "1:4", "a value cannot begin with this character; put the value in quotes"),
        ("a: %x\n", "1:4", "a value cannot begin with this character"),
        ('a: "\\d"\n', "1:", "an unknown escape in double quotes"),
        ("a: *\n", "1:5", "`&` and `*` begin the names of anchors"),
        ("a: }\n", "1:4", "a value is expected here"),
        ("a: |\n x\nb\nc: 1\n", "", "a key without `:`"),
        ("a:b\nc: d\n", "2:2", "a key is not expected here: on the line above, the `:` needs a blank after it"),
        ("a: - x\n", "1:4", "`- ` begins a line of its own; write a list in one line as [a, b]"),
        ("a: |x\n b\n", "1:5", "nothing can follow `|` and `>` on their line"),
        ('a: "\\x1"\n', "1:", "an unknown escape in double quotes"),
        ("{a: b}}\n", "1:7", "nothing can stand here, after the end of the value before it"),
        ('a: "x\nb: 1\nc: ["d"]\n', "1:4", "the quote that opens here is closed only on line 3; is one missing?"),
        ("a: 'x\n\nb: 'c'\n", "1:4", "the quote that opens here is closed only on line 3; is one missing?"),
    ],
)
def test_a_mistake_is_explained(site: Site, text: str, place: str, message: str) -> None:
    """With its line and column, and what to do."""
    (said,) = site.said(text)
    assert said.startswith(f"config.yaml:{place}")
    assert f": not valid YAML: {message}" in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("log:\n\tlevel: info\n", ("1 | log:", "2 | →level: …", "  | ^")),
        ("log:\n  \tlevel: info\n", ("1 | log:", "2 |   →level: …", "  |   ^")),
        (
            "sources:\n  my:\n    # a comment\n    preset: vidu\n\n   token: hunter2\n",
            ("4 |     preset: …", "6 |    token: …", "  |    ^"),
        ),
        ("watches:\n  - id: 1\n   source: v\n", ("2 |   - id: …", "3 |    source: …", "  |    ^")),
        ("token: 'hunter2\n", ("1 | token: '…", "  |        ^")),
        ("token: 'hunt'er2'\n", ("1 | token: '……", "  |          ^")),
        ("token: hunter: 2\n", ("1 | token: …:…", "  |         ^")),
        ("token: @hunter2\n", ("1 | token: @…", "  |        ^")),
        ("hunter2: @x\n", ("1 | …: @…", "  |    ^")),
        ('"token" : @x\n', ('1 | "token" : @…', "  |           ^")),
        ("http: {token: hunter2\nlog: {}\n", ("2 | log: {…", "  |    ^")),
        (f"{' ' * 80}\tlevel: info\n", ()),
    ],
)
def test_the_line_is_shown_with_a_mark_below_the_place(site: Site, text: str, shown: tuple[str, ...]) -> None:
    """Of indentation with the line above it; keys that are known are shown, values and other keys are not."""
    (problem,) = site.problems(text)
    assert problem.excerpt == shown
    assert problem.in_full() == "\n".join([str(problem), *(f"    {line}" for line in shown)])


SECRETS = [
    WHSEC.removeprefix("whsec_"),
    "hunter2",
    "correct horse battery",
    "a#b:c'd",
    "p@ss: word",
    'qu"o"te',
    "-x- y",
]
BREAKS = [
    "token: '{}\n",
    'token: "{}" x\n',
    "token: @{}\n",
    "\ttoken: {}\n",
    "{}\n  a: b\n c: d\n",
    "{}: @x\n",
    "- {}\n token: x: y\n",
    'token: "x\n {}: y\nurl: "z"\n',
    "a: [{}\nurl: {}\n",
    "http:\n  token: {}\n url: x\n",
    "# {}\n http:\n  token: x\n url: x\n",
    "a: b\n{}: c: d\n",
    "a: &{} b: c\n",
    "a: !{} b\n",
    "'{}': @\n",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_a_broken_line_is_not_shown(site: Site, secret: str) -> None:
    """Wherever it stands: no two letters or digits of it that stand together are in what is said."""
    faults = 0
    for text in (each.replace("{}", secret) for each in BREAKS):
        for problem in site.attempt(text):
            # our own words stand before and after the excerpt
            shown = "\n".join(problem.excerpt)
            pairs = {secret[at : at + 2] for at in range(len(secret) - 1) if secret[at : at + 2].isalnum()}
            rest = re.sub(r"\b(token|url|http)\b|[0-9]+ \|", "", shown)
            assert not [pair for pair in pairs if pair in rest], shown
            assert secret not in str(problem) or problem.excerpt == ()
            faults += bool(problem.excerpt)
    assert faults >= len(BREAKS) - 6  # some secrets make the text valid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app: {type: webhook, url: 'https://e.example/'}", "app: unknown key; indent it under endpoints?"),
        ("app: {url: 'https://e.example/', secrets: x}", "app: unknown key; indent it under endpoints?"),
        ("vidu: {preset: vidu}", "vidu: unknown key; indent it under sources?"),
        ("acme: {base_url: 'https://e.example/', token: t}", "acme: unknown key; indent it under sources?"),
        ("lgo: {level: info}", 'lgo: unknown key; did you mean "log"?'),
        ("other: {a: b}", "other: unknown key"),
        ("other: 5", "other: unknown key"),
    ],
)
def test_a_section_that_lost_its_indentation_is_recognised(site: Site, text: str, message: str) -> None:
    """By its keys; any other unknown key is told as before."""
    (said,) = site.said(text)
    assert said == f"config.yaml:1:1: {message}"


@pytest.mark.parametrize("source", ["{token: t}", "{}", "{max_streams: 5}"])
def test_a_source_without_anything_needs_a_preset(site: Site, source: str) -> None:
    """A URL of one's own makes it generic; without that, what is missing is the preset."""
    (said,) = site.said(f"sources: {{s: {source}}}")
    advice = "those that `notifier preset list` names; `generic` is for a provider of your own"
    assert said.endswith(f"sources.s.preset: required, but missing; there are {advice}")
    mine = "presets: {mine: {url: '{base_url}/{id}', paths: {state: s}, states: {succeeded: [ok]}}}"
    (said,) = site.said(f"{mine}\nsources: {{s: {source}}}")
    assert said.endswith(f"sources.s.preset: required, but missing; there are mine (yours), and {advice}")


def test_an_unknown_preset_is_told_with_the_nearest_one(site: Site) -> None:
    """Not with the names of all, which fill a screen."""
    (said,) = site.said("sources: {s: {preset: runwai, token: t}}")
    assert 'unknown preset "runwai"; there are those that `notifier preset list` names' in said
    assert said.endswith('did you mean "runway"?')
    assert not set(names()) - {"generic", "runway"} & set(re.findall(r"[\w-]+", said))


def test_one_secret_may_stand_without_a_list(site: Site) -> None:
    """As text, or as a reference to a file."""
    site.write(WHSEC, "secret")
    for written in (WHSEC, f"[{WHSEC}]", "{file: secret}"):
        config = site.load(f"endpoints: {{e: {{type: webhook, url: 'https://e.example/', secrets: {written}}}}}")
        assert [secret.reveal() for secret in config.endpoints["e"].secrets] == [WHSEC]  # type: ignore[union-attr]  # a webhook
