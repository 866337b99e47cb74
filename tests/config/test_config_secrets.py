"""Secrets come from text, variables, files and systemd's credentials, and are never shown."""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path

import pytest
from config_site import WHSEC, WHSK, Site

from notifier.config import ConfigError, Secret, SecretUrl, WebhookEndpoint, describe, load
from notifier.config.document import interpolate

MARKER = "hunter2"


def _token(site: Site, written: str) -> str:
    token = site.load(f"sources: {{v: {{preset: vidu, token: {written}}}}}").sources["v"].token
    assert token is not None
    return token.reveal()


def test_a_secret_prints_as_such_everywhere() -> None:
    secret = Secret(MARKER)
    assert {str(secret), repr(secret), f"{secret}", f"{secret!r}"} == {"<secret>"}
    assert secret.reveal() == MARKER


def test_secrets_compare_by_value_so_that_a_reload_sees_what_changed() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("http://a") != SecretUrl("http://a")
    assert copy.deepcopy(Secret("a")) == Secret("a")


def test_a_configuration_shows_no_secret_in_any_form(site: Site) -> None:
    site.env = {"T": MARKER, "URL": f"https://user:{MARKER}@example.com:8443/{MARKER}?key={MARKER}"}
    config = site.load(f"""\
sources:
  v: {{preset: vidu, token: "${{T}}", headers: {{X-Key: "${{T}}"}}, url: "https://h/${{T}}/{{id}}"}}
endpoints:
  app: {{type: webhook, url: "${{URL}}", secrets: [{WHSEC}], headers: {{X-Key: {MARKER}}}}}
  ops: {{type: slack, url: https://hooks.slack.com/services/{MARKER}}}
store: {{url: "postgresql://notifier:{MARKER}@db:5432/notifier?password={MARKER}"}}
http: {{token: {MARKER}}}
callbacks: {{secret: {WHSEC}}}
queues: [{{url: "amqp://guest:{MARKER}@localhost/"}}]
""")
    shown = [repr(config), str(config), "\n".join(describe(config))]
    shown += [
        repr(config.endpoints["app"].model_dump()),
        config.http.model_dump_json(),
        repr(config.store.model_dump()),
    ]
    for text in shown:
        assert MARKER not in text
        assert WHSEC.removeprefix("whsec_") not in text
    app = config.endpoints["app"]
    assert isinstance(app, WebhookEndpoint)
    assert app.target.reveal() == site.env["URL"]
    assert repr(app.target) == "https://example.com:8443"
    assert app.headers["X-Key"].reveal() == MARKER
    assert str(config.store.url) == "postgresql://db:5432/notifier"
    assert json.loads(config.http.model_dump_json())["token"] == "<secret>"
    assert json.loads(config.store.model_dump_json())["url"] == "postgresql://db:5432/notifier"


@pytest.mark.parametrize(
    ("content", "value"),
    [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), ("é\n", "é"), ("a b", "a b")],
)
def test_a_secret_file_loses_one_line_end_and_nothing_else(site: Site, content: str, value: str) -> None:
    site.write(content, "secrets/token")
    assert _token(site, "{file: secrets/token}") == value


def test_the_path_of_a_secret_file_may_be_absolute_or_hold_a_variable(site: Site) -> None:
    path = site.write("abc", "elsewhere/token")
    site.env = {"DIR": str(path.parent)}
    assert _token(site, f"{{file: {path}}}") == "abc"
    assert _token(site, '{file: "${DIR}/token"}') == "abc"


def test_relative_paths_start_at_the_configuration_whatever_the_working_directory(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site.write("abc", "token")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert _token(site, "{file: token}") == "abc"


def test_a_credential_is_read_from_the_directory_that_systemd_names(site: Site) -> None:
    site.env = {"CREDENTIALS_DIRECTORY": str(site.write("abc\n", "run/vidu.token").parent)}
    assert _token(site, "{credential: vidu.token}") == "abc"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{file: none}", "secret file cannot be read: no such file"),
        ("{file: .}", "secret file cannot be read: not a regular file"),
        ("{file: pipe}", "secret file cannot be read: not a regular file"),
        ("{file: binary}", "secret file cannot be read: not UTF-8"),
        ("{file: large}", "secret file is larger than 64 KiB"),
        ("{file: empty}", "must not be empty; a secret or URL is one line of text"),
        ("{file: lines}", "holds a line break or another control character; a secret or URL is one line of text"),
        ("{file: 5}", "expected text, got 5"),
        ("{file: ~}", "expected text, got null"),
        ("{file: a, credential: b}", "expected text, {file: PATH} or {credential: NAME}"),
        ("{fil: a}", 'expected text, {file: PATH} or {credential: NAME}; did you mean "file"?'),
        ("{}", "expected text, {file: PATH} or {credential: NAME}"),
        ("{credential: none}", "credential cannot be read: no such file"),
        ("{credential: ../x}", "the name of a credential has no slash and is not empty"),
        ("{credential: ..}", "the name of a credential has no slash and is not empty"),
        ("{credential: ''}", "the name of a credential has no slash and is not empty"),
        ("''", "must not be empty"),
        ("'${EMPTY}'", "must not be empty"),
        ("[a]", "expected text in quotes, {file: PATH} or {credential: NAME}"),
        ("1e5", "expected text in quotes, {file: PATH} or {credential: NAME}"),
        ("true", "expected text in quotes, {file: PATH} or {credential: NAME}"),
        ('"a\\tb"', "holds a line break or another control character"),
        ("{file: blank}", "begins or ends with a blank; remove it"),
        ("' abc'", "begins or ends with a blank; remove it"),
        ("{file: hidden}", "holds a character that cannot be seen, U+200B; remove it"),
        ('"a\\xa0b"', "holds a character that cannot be seen, U+00A0; remove it"),
        ('"abc\\ufeff"', "holds a character that cannot be seen, U+FEFF; remove it"),
        ('"\\u202eabc"', "holds a character that cannot be seen, U+202E; remove it"),
        ("${HIDDEN}", "holds a character that cannot be seen, U+2028; remove it"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_problem(site: Site, written: str, said: str) -> None:
    os.mkfifo(site.directory / "pipe")
    site.write(b"\xff", "binary")
    site.write(b"x" * (64 * 1024 + 1), "large")
    site.write("\n", "empty")
    site.write("a\nb\n", "lines")
    site.write("abc \n", "blank")
    site.write("ab\u200bc\n", "hidden")
    site.env = {"EMPTY": "", "HIDDEN": "a\u2028b", "CREDENTIALS_DIRECTORY": str(site.directory)}
    (line,) = site.said(f"sources: {{v: {{preset: vidu, token: {written}}}}}")
    assert "sources.v.token" in line
    assert line.split(": ", 2)[2].startswith(said)


def test_a_secret_file_that_the_system_cannot_open_is_a_problem(site: Site) -> None:
    (said,) = site.said(f"sources: {{v: {{preset: vidu, token: {{file: {'x' * 300}}}}}}}")
    assert "secret file cannot be read: " in said


def test_credentials_outside_of_systemd_are_a_problem_that_says_so(site: Site) -> None:
    (said,) = site.said("sources: {v: {preset: vidu, token: {credential: x}}}")
    assert "CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential" in said


def test_an_unset_variable_inside_a_reference_is_reported_once(site: Site) -> None:
    (said,) = site.said('sources: {v: {preset: vidu, token: {file: "${NOPE}/x"}}}')
    assert "sources.v.token.file: environment variable NOPE is not set" in said


def test_a_token_of_digits_is_text(site: Site) -> None:
    assert _token(site, "12345") == "12345"


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_signing_secret_has_24_to_64_bytes(site: Site, size: int) -> None:
    import base64

    secret = "whsec_" + base64.b64encode(bytes(size)).decode()
    config = site.load(f"callbacks: {{secret: {secret}}}")
    assert config.callbacks.secret is not None
    assert config.callbacks.secret.reveal() == secret


@pytest.mark.parametrize(
    "secret",
    ["whsec_" + "A" * 31 + "=", "whsec_" + "A" * 88, "whsec_", "whsec_" + "!" * 32, "whsec_" + "A" * 33,
     "A" * 32, "whsk_" + "A" * 44, "whpk_" + "A" * 43 + "=", "WHSEC_" + "A" * 32],
)  # fmt: skip
def test_any_other_signing_secret_is_refused_with_its_line_and_unseen(site: Site, secret: str) -> None:
    (problem,) = site.problems(
        "endpoints:\n  app:\n    type: webhook\n    url: https://x\n"
        f"    secrets:\n      - {WHSEC}\n      - '{secret}'\n"
    )
    assert (problem.line, problem.column, problem.key) == (7, 9, "endpoints.app.secrets[1]")
    assert "AAAA" not in str(problem)


def test_an_ed25519_key_signs_too(site: Site) -> None:
    config = site.load(f"endpoints: {{app: {{type: webhook, url: 'https://x', secrets: ['{WHSK}', {WHSEC}]}}}}")
    assert len(config.endpoints["app"].model_dump()["secrets"]) == 2


def test_an_ed25519_key_without_the_library_says_what_to_install(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)  # the import then fails as if it were not installed
    (said,) = site.said(f"callbacks: {{secret: '{WHSK}'}}")
    assert "notifier's extra 'ed25519'" in said


def test_every_file_that_was_read_is_listed(site: Site) -> None:
    site.write("abc", "token")
    site.write("- '1'", "watches.d/a.yaml")
    config = site.load("sources: {v: {preset: vidu, token: {file: token}}}\nwatch_files: ['watches.d/*']\n")
    assert config.files == (site.path, site.directory / "watches.d/a.yaml", site.directory / "token")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "1"), ("x${A}y${B}z", "x1y22z"), ("$${A}", "${A}"), ("$$${A}", "$${A}"), ("${NO:-d}", "d"),
        ("${NO:-}", ""), ("${E:-d}", "d"), ("${E}", ""), ("${A:-d}", "1"), ("$A", "$A"), ("a$", "a$"),
        ("${NO:-a:-b}", "a:-b"), ("{A}", "{A}"), ("$${", "${"), ("${R}", "${A}"),
    ],
)  # fmt: skip
def test_variables_are_filled_in_once(text: str, value: str) -> None:
    assert interpolate(text, {"A": "1", "B": "22", "E": "", "R": "${A}"}) == value


@pytest.mark.parametrize("text", ["${1}", "${", "${A", "${A-b}", "${ A }", "${}", "${A.b}"])
def test_a_reference_that_is_none_says_how_to_write_one(site: Site, text: str) -> None:
    site.env = {"A": "1"}
    (problem,) = site.problems(f"log: {{level: '{text}'}}")
    assert "write $${ for a literal ${" in problem.message


def test_a_default_holds_no_other_variable(site: Site) -> None:
    """It would end at the brace of the inner one."""
    (problem,) = site.problems("log: {level: '${NO:-${OTHER}}'}")
    assert problem.message == "the default of NO holds another variable; a default is plain text"


def test_every_unset_variable_of_a_text_is_named(site: Site) -> None:
    said = site.said("log: {level: '${A}${B}${A}${C:-}'}")
    assert [line.split(": ")[2].split(" is ")[0] for line in said] == [
        "environment variable A",
        "environment variable B",
    ]


def test_a_variable_that_is_not_utf8_is_a_problem(site: Site) -> None:
    site.env = {"A": "x\udcff"}
    assert site.said("log: {level: '${A}'}")[0].endswith("environment variable A is not valid UTF-8")


def test_variables_fill_in_numbers_and_booleans_too(site: Site) -> None:
    site.env = {"N": "7", "R": "1.5", "T": "true", "Y": "yes", "D": "90s", "Q": "10/s", "Z": "0"}
    config = site.load("""\
sources: {v: {preset: vidu, max_streams: "${N}", connect_rate: "${R}", default: "${T}", deadline: "${D}",
              not_found_grace: "${Z}"}}
reload_on_change: ${Y}
""")
    source = config.sources["v"]
    assert (source.max_streams, source.connect_rate, source.default, source.deadline) == (7, 1.5, True, 90)
    assert config.reload_on_change is True
    assert config.default_source == "v"


def test_the_environment_is_the_processs_unless_given(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_TEST_LEVEL", "debug")
    path = site.write("log: {level: '${NOTIFIER_TEST_LEVEL}'}")
    assert load(path).log.level == "debug"
    with pytest.raises(ConfigError, match="NOTIFIER_TEST_LEVEL is not set"):
        load(path, env={})


def test_a_model_made_in_code_reads_files_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from notifier.config import HttpConfig

    (tmp_path / "token").write_text("abc")
    monkeypatch.chdir(tmp_path)
    token = HttpConfig.model_validate({"token": {"file": "token"}}).token
    assert token == Secret("abc")
