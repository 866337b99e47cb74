"""Endpoints hold what delivery needs, and refuse what could not be delivered."""

from __future__ import annotations

import pytest
import trustme
from config_site import WHSEC, Site
from cryptography.hazmat.primitives import serialization

from notifier.config import AppriseEndpoint, EndpointConfig, SlackEndpoint, WebhookEndpoint, describe

HOOK = f"type: webhook, url: 'https://example.com/h', secrets: [{WHSEC}]"
UNSIGNED = "type: webhook, url: 'https://example.com/h'"
SLACK = "type: slack, url: 'https://hooks.slack.com/services/T/B/x'"


def _any(site: Site, keys: str) -> EndpointConfig:
    return site.load(f"sources: {{v: {{preset: vidu}}}}\nendpoints: {{e: {{{keys}}}}}").endpoints["e"]


def _endpoint(site: Site, keys: str) -> WebhookEndpoint | SlackEndpoint:
    endpoint = _any(site, keys)
    assert not isinstance(endpoint, AppriseEndpoint)
    return endpoint


def test_a_webhooks_defaults_are_the_designs(site: Site) -> None:
    endpoint = _endpoint(site, HOOK)
    assert isinstance(endpoint, WebhookEndpoint)
    assert endpoint.type == "webhook"
    assert [secret.reveal() for secret in endpoint.secrets] == [WHSEC]
    assert endpoint.events == ("task.*", "watch.lost")
    assert endpoint.match is None
    assert endpoint.timeout == 15
    assert endpoint.retry_schedule == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert (endpoint.max_in_flight, endpoint.rate_limit, endpoint.ordering) == (32, None, "strict")
    assert endpoint.disable_after == 5 * 86400
    assert endpoint.headers == {}
    assert endpoint.ca_file is None


def test_slacks_defaults_are_the_designs(site: Site) -> None:
    endpoint = _endpoint(site, SLACK)
    assert isinstance(endpoint, SlackEndpoint)
    assert (endpoint.max_in_flight, endpoint.rate_limit, endpoint.ordering) == (1, 1.0, "latest")
    assert endpoint.retry_on_timeout is True
    assert endpoint.service == "slack"
    assert endpoint.target.reveal() == "https://hooks.slack.com/services/T/B/x"
    assert endpoint.timeout == 15


def test_what_is_given_is_taken(site: Site) -> None:
    endpoint = _endpoint(
        site,
        f"{HOOK}, events: ['*'], match: {{source: v, labels: {{team: video, n: 5}}}}, timeout: 500ms, "
        "retry_schedule: [0s, 1s], max_in_flight: 1, ordering: latest, disable_after: 1h, "
        "headers: {X-A: b, user-agent: c}",
    )
    assert endpoint.events == ("*",)
    assert endpoint.match is not None
    assert (endpoint.match.source, endpoint.match.labels) == ("v", {"team": "video", "n": "5"})
    assert (endpoint.timeout, endpoint.retry_schedule, endpoint.max_in_flight) == (0.5, (0, 1), 1)
    assert (endpoint.ordering, endpoint.disable_after) == ("latest", 3600)
    assert {name: value.reveal() for name, value in endpoint.headers.items()} == {"X-A": "b", "user-agent": "c"}


@pytest.mark.parametrize(
    ("written", "rate"), [("10/s", 10), ("90/m", 1.5), ("3600/h", 1), ("0.5/s", 0.5), ("null", None)]
)
def test_a_rate_is_per_second(site: Site, written: str, rate: float | None) -> None:
    assert _endpoint(site, f"{SLACK}, rate_limit: {written}").rate_limit == rate


@pytest.mark.parametrize(
    "glob", ["*", "task.*", "task.succeeded", "endpoint.*", "notifier.*", "watch.[ls]*", "*.failed"]
)
def test_events_are_globs_of_known_types(site: Site, glob: str) -> None:
    assert _endpoint(site, f"{SLACK}, events: ['{glob}']").events == (glob,)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x?y=z", "https://u:p@example.com", "https://[::1]:8443/", "HTTP://x",
                                 "https://bücher.example/ü"])  # fmt: skip
def test_an_endpoints_url_may_point_anywhere(site: Site, url: str) -> None:
    assert _endpoint(site, f"type: slack, url: '{url}'").target.reveal() == url


def test_an_endpoints_url_may_come_from_a_file(site: Site) -> None:
    site.write("https://hooks.slack.com/services/x\n", "url")
    assert _endpoint(site, "type: slack, url: {file: url}").target.reveal() == "https://hooks.slack.com/services/x"


def test_authorities_are_read(site: Site) -> None:
    trustme.CA().cert_pem.write_to_path(site.directory / "ca.pem")
    assert _endpoint(site, f"{HOOK}, ca_file: ca.pem").ca_file == site.directory / "ca.pem"


@pytest.mark.parametrize(
    ("keys", "secrets"),
    [
        ("signature: none", []),
        ("signature: github, secrets: [sixteen-bytes-xx]", ["sixteen-bytes-xx"]),
        (f"signature: stripe, secrets: [{WHSEC}, any text of 20 bytes]", [WHSEC, "any text of 20 bytes"]),
        (f"secrets: [{WHSEC}], signature: standard", [WHSEC]),
    ],
)
def test_secrets_are_as_the_signature_needs_them(site: Site, keys: str, secrets: list[str]) -> None:
    endpoint = _endpoint(site, f"{UNSIGNED}, {keys}")
    assert isinstance(endpoint, WebhookEndpoint)
    assert [secret.reveal() for secret in endpoint.secrets] == secrets


def test_a_proxys_password_is_not_printed(site: Site) -> None:
    proxy = _endpoint(site, f"{SLACK}, proxy: 'http://user:hunter2@proxy.example.com:3128'").proxy
    assert proxy is not None
    assert (proxy.reveal(), str(proxy)) == (
        "http://user:hunter2@proxy.example.com:3128",
        "http://proxy.example.com:3128",
    )


def _certificate(site: Site) -> None:
    issued = trustme.CA().issue_cert("client.example.com")
    issued.private_key_pem.write_to_path(site.directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(site.directory / "cert.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(site.directory / "both.pem")


def test_a_certificate_is_read_with_its_key(site: Site) -> None:
    _certificate(site)
    apart = _endpoint(site, f"{HOOK}, cert_file: cert.pem, key_file: key.pem")
    assert (apart.cert_file, apart.key_file) == (site.directory / "cert.pem", site.directory / "key.pem")
    assert _endpoint(site, f"{HOOK}, cert_file: both.pem").key_file is None


def test_a_certificate_that_cannot_be_shown_is_a_problem(site: Site) -> None:
    _certificate(site)
    said = site.said(f"endpoints: {{e: {{{HOOK}, cert_file: cert.pem}}}}")
    assert "e.cert_file: holds no certificate with its private key in PEM form" in said[0]
    plain = HOOK.replace("https:", "http:")
    said = site.said(f"endpoints: {{e: {{{plain}, cert_file: both.pem}}}}")
    assert "e.cert_file: a certificate is shown in TLS only; the url begins with http://" in said[0]
    trustme.CA().issue_cert("x.example.com").private_key_pem.write_to_path(site.directory / "key.pem")
    said = site.said(f"endpoints: {{e: {{{HOOK}, cert_file: cert.pem, key_file: key.pem}}}}")
    assert "e.key_file: the private key is not that of the certificate" in said[0]


def test_nobody_is_asked_for_the_password_of_a_key(site: Site) -> None:
    _certificate(site)
    key = serialization.load_pem_private_key((site.directory / "key.pem").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"hunter2")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    site.write(pem, "key.pem")
    said = site.said(f"endpoints: {{e: {{{HOOK}, cert_file: cert.pem, key_file: key.pem}}}}")
    assert "e.key_file: the private key is encrypted" in said[0]


def test_an_endpoint_whose_certificate_was_renewed_is_another(site: Site) -> None:
    """So that a reload takes up the new one."""
    _certificate(site)
    keys = f"{HOOK}, cert_file: both.pem"
    before = _endpoint(site, keys)
    assert _endpoint(site, keys) == before
    _certificate(site)
    assert _endpoint(site, keys) != before


def test_a_misspelt_type_hides_no_other_fault(site: Site) -> None:
    said = site.said("endpoints: {e: {type: webhok, urll: 'https://x', timeout: 5, ordering: newest}}")
    places = {line.split(": ")[1].removeprefix("endpoints.e.") for line in said}
    assert places == {"type", "urll", "url", "secrets", "timeout", "ordering"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("url: 'https://x'", "endpoints.e.type: required, but missing: webhook, slack or apprise"),
        (
            "type: slak, url: 'https://x'",
            'endpoints.e.type: expected webhook, slack or apprise, got "slak"; did you mean "slack"?',
        ),
        ("type: 5", "endpoints.e.type: expected webhook, slack or apprise, got 5"),
        ("type: webhook, url: 'https://x'", "endpoints.e.secrets: required, but missing"),
        ("type: webhook, url: 'https://x', secrets: []", "endpoints.e.secrets: required, but missing"),
        ("type: webhook, url: 'https://x', secrets: true", "endpoints.e.secrets[0]: expected text in quotes"),
        (f"type: webhook, secrets: [{WHSEC}]", "endpoints.e.url: required, but missing"),
        (f"{SLACK}, secrets: [a]", "endpoints.e.secrets: Slack endpoints are not signed; remove it"),
        (f"{HOOK}, retry_on_timeout: true", "endpoints.e.retry_on_timeout: unknown key"),
        ("type: slack, url: hooks.slack.com", "endpoints.e.url: expected a URL such as https://example.com/path"),
        (
            "type: slack, url: 'ftp://x'",
            "endpoints.e.url: expected a URL that begins with http:// or https:// and names",
        ),
        (
            "type: slack, url: 'http://'",
            "endpoints.e.url: expected a URL that begins with http:// or https:// and names",
        ),
        ("type: slack, url: 'http://x:99999'", "endpoints.e.url: expected a URL such as"),
        ("type: slack, url: 'http://x:0'", "endpoints.e.url: expected a URL such as"),
        ("type: slack, url: 'http://[x'", "endpoints.e.url: expected a URL such as"),
        ("type: slack, url: 'http://a b/'", "endpoints.e.url: expected a URL such as"),
        (
            "type: slack, url: 'http://{host}/'",
            "endpoints.e.url: expected a URL that begins with http:// or https:// and",
        ),
        ("type: slack, url: 'http://x/#y'", "endpoints.e.url: a fragment (#...) is never sent; remove it"),
        (f"{SLACK}, events: []", "endpoints.e.events: expected at least one entry"),
        (f"{SLACK}, events: task.*", "endpoints.e.events: expected a list"),
        (f"{SLACK}, events: [task.sucess]", 'did you mean "task.succeeded"?'),
        (f"{SLACK}, events: ['tasks.*']", 'did you mean "task.*"?'),
        (f"{SLACK}, match: {{source: w}}", 'endpoints.e.match.source: unknown source "w"; there are v'),
        (f"{SLACK}, match: {{label: {{}}}}", 'endpoints.e.match.label: unknown key; did you mean "labels"?'),
        (f"{SLACK}, match: v", "endpoints.e.match: expected a mapping with keys such as source, labels"),
        (f"{SLACK}, match: {{labels: {{a: 007}}}}", "endpoints.e.match.labels.a: expected text, got 007"),
        (f"{SLACK}, timeout: 0s", "endpoints.e.timeout: must be longer than 0"),
        (f"{SLACK}, retry_schedule: []", "endpoints.e.retry_schedule: expected at least one entry"),
        (f"{SLACK}, retry_schedule: [0s, 5]", "endpoints.e.retry_schedule[1]: expected a duration"),
        (f"{SLACK}, max_in_flight: 0", "endpoints.e.max_in_flight: expected a whole number from 1"),
        (f"{SLACK}, rate_limit: 10", "endpoints.e.rate_limit: expected a rate such as 10/s, 100/m or 5/h, got 10"),
        (f"{SLACK}, rate_limit: 0/s", "endpoints.e.rate_limit: expected a rate above 0"),
        (f"{SLACK}, ordering: strickt", 'did you mean "strict"?'),
        (f"{SLACK}, retry_on_timeout: 1", "endpoints.e.retry_on_timeout: expected true or false, got 1"),
        (f"{SLACK}, disable_after: never", "endpoints.e.disable_after: expected a duration"),
        (f"{SLACK}, proxies: x", 'endpoints.e.proxies: unknown key; did you mean "proxy"?'),
        (f"{SLACK}, proxy: x", "endpoints.e.proxy: expected a URL such as"),
        (f"{SLACK}, proxy: 'https://p:1'", "endpoints.e.proxy: expected the URL of an HTTP proxy"),
        (f"{SLACK}, proxy: 'socks5://p:1'", "endpoints.e.proxy: expected the URL of an HTTP proxy"),
        (f"{SLACK}, proxy: 'http://p:1/x'", "endpoints.e.proxy: a proxy has no path and no query"),
        (f"{SLACK}, proxy: 'http://p:1/?x'", "endpoints.e.proxy: a proxy has no path and no query"),
        (f"{SLACK}, proxy: 'http://u:1/p@p:1'", "endpoints.e.proxy: percent-encode"),
        (f"{SLACK}, signature: none", "endpoints.e.signature: Slack endpoints are not signed; remove it"),
        (f"{HOOK}, signature: none", "endpoints.e.secrets: `signature: none` signs nothing; remove one of the two"),
        (f"{HOOK}, signature: gitlab", "endpoints.e.signature: expected one of standard, github, stripe, none"),
        (f"{UNSIGNED}, signature: github", "endpoints.e.secrets: required, but missing"),
        (f"{UNSIGNED}, signature: stripe, secrets: []", "endpoints.e.secrets: required, but missing"),
        (
            f"{UNSIGNED}, signature: github, secrets: [{WHSEC}, {WHSEC}]",
            "endpoints.e.secrets: GitHub's header holds one signature, so there can be one secret only",
        ),
        (
            f"{UNSIGNED}, signature: stripe, secrets: [{WHSEC}, fifteen-bytes-x]",
            "endpoints.e.secrets[1]: a secret has at least 16 bytes",
        ),
        (f"{UNSIGNED}, secrets: [any text of 20 bytes]", "endpoints.e.secrets[0]: a secret begins with whsec_"),
        (f"{SLACK}, key_file: config.yaml", "endpoints.e.key_file: the key of no certificate; set cert_file too"),
        (f"{SLACK}, cert_file: none.pem", "endpoints.e.cert_file: no such file"),
        (f"{SLACK}, cert_file: .", "endpoints.e.cert_file: no such file"),
        (f"{SLACK}, cert_file: config.yaml", "endpoints.e.cert_file: holds no certificate with its private key"),
        (
            f"{SLACK}, cert_file: config.yaml, key_file: config.yaml",
            "endpoints.e.key_file: certificate or private key is not in PEM form",
        ),
        (f"{SLACK}, service: discrod", "endpoints.e.service: expected one of slack, mattermost, discord, feishu"),
        (f"{HOOK}, service: slack", "endpoints.e.service: unknown key"),
        (f"{SLACK}, headers: [a]", "endpoints.e.headers: expected a mapping, got a list"),
        (f"{SLACK}, headers: {{a: ''}}", "endpoints.e.headers.a: must not be empty"),
        (f'{SLACK}, headers: {{a: "b\\r\\nc: d"}}', "endpoints.e.headers.a: holds a line break"),
        (f"{SLACK}, headers: {{a: [b]}}", "endpoints.e.headers.a: expected text in quotes"),
        (f"{SLACK}, headers: {{X-A: b, x-a: c}}", "endpoints.e.headers.x-a: given twice"),
    ],
)
def test_a_faulty_endpoint_is_a_problem(site: Site, keys: str, said: str) -> None:
    (line,) = site.said(f"sources: {{v: {{preset: vidu}}}}\nendpoints: {{e: {{{keys}}}}}")
    assert said in line


@pytest.mark.parametrize(
    "name",
    ["webhook-id", "Webhook-Signature", "WEBHOOK-X", "X-Hub-Signature-256",
     "stripe-signature", "Host", "Content-Length", "content-type", "Connection",
     "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer",
     "Transfer-Encoding", "Upgrade", "Content-Encoding", "Expect", "", "a b", "a:b", "ü", 'a\\r\\nb'],
)  # fmt: skip
def test_headers_that_are_not_the_users_to_set_are_refused_at_their_place(site: Site, name: str) -> None:
    (problem,) = site.problems(
        f'endpoints:\n  e:\n    {SLACK.replace(", ", chr(10) + "    ")}\n    headers: {{"{name}": x}}\n'
    )
    assert (problem.line, problem.column) == (5, 15)
    assert problem.key.startswith("endpoints.e.headers.")


def test_doubled_headers_are_told_beside_other_faults(site: Site) -> None:
    said = site.said(f"endpoints: {{e: {{{SLACK}, headers: {{A: b, a: c, Host: x}}}}}}")
    assert len(said) == 2


@pytest.mark.parametrize("entry", ["x", "[a]", "null", "5"])
def test_an_endpoint_is_a_mapping(site: Site, entry: str) -> None:
    (said,) = site.said(f"endpoints: {{e: {entry}}}")
    assert said.startswith("config.yaml:1:")
    assert "expected a mapping with the keys type and url" in said or "endpoints.e.type: required" in said


def test_a_match_is_not_held_against_sources_that_cannot_be_known(site: Site) -> None:
    said = site.said(f"sources: 5\nendpoints: {{e: {{{SLACK}, match: {{source: v}}}}}}")
    assert len(said) == 1
    assert "sources: expected a mapping" in said[0]


def test_what_messages_show_besides(site: Site) -> None:
    """One value may stand without a list; names become mentions in Slack's form."""
    endpoint = _endpoint(site, f"{SLACK}, metadata: order, mention: [here, U012AB3CD, S012AB3CD]")
    assert isinstance(endpoint, SlackEndpoint)
    additions = endpoint.additions("https://n.example")
    assert (additions.metadata, additions.public_url) == (("order",), "https://n.example")
    assert additions.mentions == ("<!here>", "<@U012AB3CD>", "<!subteam^S012AB3CD>")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            "mention: '@anna'",
            "mention[0]: expected here, channel, a user's id (U...) or a group's (S...), got \"@anna\"",
        ),
        ("mention: here, service: discord", "mention: only Slack's messages mention somebody"),
        ("mention: here, template: x", "mention: a template makes the whole message"),
        ("metadata: order, template: x", "metadata: a template makes the whole message"),
    ],
)
def test_what_a_message_cannot_show_is_refused(site: Site, keys: str, problem: str) -> None:
    """In words."""
    (found,) = site.problems(f"endpoints: {{e: {{{SLACK}, {keys}}}}}")
    assert problem in str(found)


BOT = "type: slack, token: xoxb-1-t0ps3cr3t, channel: C0OPS"


def test_a_bot(site: Site) -> None:
    """Its token is secret, and another token or channel makes another endpoint."""
    bot = _endpoint(site, BOT)
    assert isinstance(bot, SlackEndpoint)
    assert (bot.url, bot.thread, bot.target.reveal()) == (None, False, "https://slack.com/api")
    assert "t0ps3cr3t" not in repr(bot)
    others = [BOT.replace("C0OPS", "ops"), BOT.replace("xoxb-1", "xoxb-2"), f"{BOT}, api_url: 'https://x.example/api'"]
    assert len({bot.identity, *(_endpoint(site, keys).identity for keys in others)}) == 4
    lines = describe(site.load(f"endpoints: {{e: {{{BOT}}}}}"))
    assert lines[1].startswith("endpoint e: slack at https://slack.com, a bot in C0OPS")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("type: slack", "url: required, but missing: an incoming webhook's URL, or a bot's `token` and `channel`"),
        (f"{BOT}, url: 'https://hooks.slack.com/x'", "token: a bot posts without an incoming webhook; remove `url`"),
        ("type: slack, token: xoxb-1", "channel: required with `token`, but missing"),
        (f"{SLACK}, channel: ops", "channel: an incoming webhook has a channel of its own"),
        (f"{SLACK}, thread: true", "thread: an incoming webhook has a channel of its own"),
        (f"{BOT}, service: discord", "token: only Slack has bots here"),
        (f"{BOT}, mention: here", "mention: an edited message calls nobody; set `thread: true`"),
        ("type: slack, token: 'https://hooks.slack.com/x', channel: c", "token: expected a bot's token"),
    ],
)
def test_what_no_bot_can_do_is_refused(site: Site, keys: str, problem: str) -> None:
    """In words, and without the token."""
    (found,) = site.problems(f"endpoints: {{e: {{{keys}}}}}")
    assert problem in str(found)
    assert "xoxb-1" not in str(found)


def test_a_service_of_apprise(site: Site) -> None:
    """Its whole URL is secret: a token may stand where other URLs have a host."""
    endpoint = _any(site, "type: apprise, url: 'tgram://123456789:t0ken_t0ken_t0ken_t0ken_t0ken_t/5', metadata: order")
    assert isinstance(endpoint, AppriseEndpoint)
    assert (endpoint.max_in_flight, endpoint.rate_limit, endpoint.ordering, endpoint.timeout) == (1, 1.0, "latest", 15)
    assert (endpoint.metadata, endpoint.origin) == (("order",), "tgram://")
    assert "t0ken" not in repr(endpoint)
    lines = describe(site.load("endpoints: {e: {type: apprise, url: 'json://host/t0ken'}}"))
    assert lines[1] == "endpoint e: apprise by json://, task.*, watch.lost, of all watches"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("url: 'jsn://host/t0ken'", "url: Apprise knows no such service, or a part of the URL is missing"),
        ("url: 'slack://t0ken'", "url: Apprise knows no such service, or a part of the URL is missing"),
        ("url: t0ken", "url: expected a URL"),
        ("url: 'json://h', proxy: 'http://p:1'", "proxy: Apprise sends in its own way"),
        ("url: 'json://h', headers: {a: b}", "headers: Apprise sends in its own way"),
        ("url: 'json://h', template: x, metadata: order", "metadata: a template makes the whole message"),
        ("template: x", "url: required, but missing"),
    ],
)
def test_what_apprise_cannot_do_is_refused(site: Site, keys: str, problem: str) -> None:
    """In words, and without the URL."""
    (found,) = site.problems(f"endpoints: {{e: {{type: apprise, {keys}}}}}")
    assert problem in str(found)
    assert "t0ken" not in str(found)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (f"{SLACK}, ordering: strict", "a digest has the newest state of each task"),
        (f"{SLACK}, template: x", "a template is for single events"),
        (f"{BOT}, thread: true", "has no thread of one"),
        (f"{SLACK}, rate_limit: null", "one node sends a digest"),
        ("type: apprise, url: 'json://h', ordering: strict", "a digest has the newest state of each task"),
        (HOOK, "unknown key"),
    ],
)
def test_what_no_digest_can_have_is_refused(site: Site, keys: str, problem: str) -> None:
    """In words."""
    (found,) = site.problems(f"endpoints: {{e: {{{keys}, digest: 10m}}}}")
    assert str(found.key) == "endpoints.e.digest"
    assert problem in str(found)


def test_a_digest_may_mention_somebody(site: Site) -> None:
    """It is a new message, also of a bot."""
    bot = _endpoint(site, f"{BOT}, mention: here, digest: 10m")
    assert isinstance(bot, SlackEndpoint)
    assert bot.digest == 600
