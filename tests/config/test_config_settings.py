"""The small sections, their defaults, and the pairs of values that cannot be."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from config_site import WHSEC, Site

from notifier.config import (
    AmqpQueue,
    CallbacksConfig,
    Config,
    HttpConfig,
    NatsQueue,
    RedisQueue,
    Secret,
    StoreConfig,
    TcpAddress,
    UnixAddress,
    describe,
    http_section,
)


def test_the_defaults_are_the_designs(site: Site) -> None:
    config = site.load("{}")
    assert config.model_dump() == Config().model_dump()
    assert config.store.url.reveal() == "sqlite:///./notifier.db"
    assert config.store.retention == 7 * 86400
    assert (config.http.listen, config.http.token) == ("127.0.0.1:8780", None)
    assert (config.callbacks.enabled, config.callbacks.secret) == (False, None)
    assert (config.callbacks.allow_hosts, config.callbacks.allow_networks) == (("*",), ())
    assert config.callbacks.allow_http is False
    assert (config.log.format, config.log.level) == ("auto", "info")
    assert (config.node.name, config.node.timeout) == (None, 10)
    assert (config.shutdown_timeout, config.loop, config.reload_on_change) == (30, "auto", False)
    assert (len(config.watches), config.watch_files, config.queues) == (0, (), ())


@pytest.mark.parametrize(
    "url",
    ["sqlite:///./notifier.db", "sqlite:////var/lib/n.db", "sqlite:///n.db?timeout=5", "postgresql:///n", "postgresql://h",
     "postgresql://u:p@h:5432,[::1]:5433,k/n", "postgresql:///n?host=h,k&port=1,2",
     "postgresql://u:p@h:5432/n?sslmode=verify-full", "postgres://u:p@h/n", "postgresql:///n?host=/run/postgresql",
     "postgresql://u:p@h1:5432,h2:5433/n?target_session_attrs=read-write", "postgresql://[::1]:5432,[fe80::1%25eth0]/n",
     "postgresql://%2Frun%2Fpostgresql/n", "postgresql://u:a%2Fb%40c@h/n"],
)  # fmt: skip
def test_a_store_is_sqlite_or_postgresql(site: Site, url: str) -> None:
    assert site.load(f"store: {{url: '{url}'}}").store.url.reveal() == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hunter2@h/n", "expected a URL that begins with sqlite:/// or postgresql://"),
        ("postgresq://u:hunter2@h/n", 'or postgresql://; did you mean "postgresql://"?'),
        (
            "postgresql://u:hunter2@h:0/n",
            "expected postgresql://USER:PASSWORD@HOST:PORT/NAME, with a port of 1 to 65535",
        ),
        ("postgresql://u:hunter2@h:54320000/n", "expected postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("postgresql://h1:hunter2,h2/n", "expected postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("postgresql://u:hunter2@h:5432,k:x/n", "expected postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("postgresql://u:hunter2@h:5432,k:65536/n", "expected postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("postgresql://u:hunter2@h:0,k:5432/n", "expected postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("postgresql://u:1,2#hunter2@h/n", "percent-encode `/`, `?`, `#` and `@` in a user name or password"),
        ("postgresql://u:hunter2@h one/n", "expected a URL such as"),
        ("postgresql://u:one hunter2@h/n", "write a blank as %20"),
        ("sqlite:////var/hunter2 dir/n.db", "write a blank as %20"),
        ("sqlite:////var/#hunter2/n.db", "write `#` in a path as %23"),
        ("sqlite:////var/hunter2%00.db", "no path holds the character %00"),
        ("postgresql://u:%hunter2@h/n", "a `%` that stands for itself is written %25"),
        ("postgresql://u:hunter2@h/n?sslmod=require", 'none of PostgreSQL\'s; did you mean "sslmode=..."?'),
        ("postgresql://u:hunter2@h/n?sslmode", "PostgreSQL's library cannot read this URL"),
        ("postgresql://u:one@hunter2@h/n", "percent-encode `/`, `?`, `#` and `@` in a user name or password"),
        ("postgresql+asyncpg://u:hunter2@h/n", 'did you mean "postgresql://"?'),
        ("notifier.db", "expected a URL such as"),
        ("sqlite://", "expected sqlite:/// and a path"),
        ("sqlite:///", "expected sqlite:/// and a path"),
        ("sqlite://host/x", "expected sqlite:/// and a path"),
        ("sqlite:///:memory:", "a database in memory loses everything at the end"),
        ("sqlite:///file::memory:?cache=shared", "a database in memory loses everything at the end"),
        ("postgresql://u:1hunter2#x@h/n", "percent-encode `/`, `?`, `#` and `@` in a user name or password"),
        ("postgresql://u:12#hunter2@h/n", "percent-encode `/`, `?`, `#` and `@` in a user name or password"),
        ("postgresql://u:12/hunter2@h/n", "percent-encode `/`, `?`, `#` and `@` in a user name or password"),
        ("postgresql://u:12?hunter2@h/n", "percent-encode `/`, `?`, `#` and `@` in a user name or password"),
    ],
)
def test_any_other_store_is_a_problem_that_does_not_repeat_the_url(site: Site, url: str, said: str) -> None:
    (line,) = site.said(f"store: {{url: '{url}'}}")
    assert said in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://u:hunter2@h:5432/n?sslmode=require&password=hunter2", "postgresql://h:5432/n"),
        ("postgresql://u:hunter2@h1:1,[::1]:2/n", "postgresql://h1:1,[::1]:2/n"),
        (
            "postgresql:///n?host=/run/postgresql&user=hunter2&port=5433",
            "postgresql:///n?host=/run/postgresql&port=5433",
        ),
        ("postgresql://?passfile=/hunter2&dbname=n&hostaddr=127.0.0.1", "postgresql:///?dbname=n&hostaddr=127.0.0.1"),
        ("postgresql://h", "postgresql://h"),
    ],
)
def test_a_store_is_shown_without_what_may_be_secret(site: Site, url: str, shown: str) -> None:
    """Hosts and database tell it from others; user, password and other parameters do not."""
    config = site.load(f"store: {{url: '{url}'}}")
    assert str(config.store.url) == shown
    assert config.store.url.shared


def test_what_a_node_is_called_is_told_where_there_may_be_several(site: Site) -> None:
    """`check` says under what name a node joins, and when the others take over; on SQLite there are no others."""
    site.env["URL"] = "postgresql://h/n"
    told = describe(site.load("store: {url: '${URL}'}\nnode: {name: a, timeout: 30s}"))
    assert "node: a, taken for dead after 30s of silence" in told
    assert "node: named as its host, taken for dead after 10s of silence" in describe(
        site.load("store: {url: '${URL}'}")
    )
    assert not [line for line in describe(site.load("node: {name: a}")) if line.startswith("node")]


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8780", TcpAddress(host="127.0.0.1", port=8780)),
        ("127.0.0.2:0", TcpAddress(host="127.0.0.2", port=0)),
        ("localhost:65535", TcpAddress(host="localhost", port=65535)),
        ("[::1]:8780", TcpAddress(host="::1", port=8780)),
        ("unix:/run/notifier.sock", UnixAddress(path=Path("/run/notifier.sock"))),
        ("unix:n.sock", UnixAddress(path=Path("n.sock"))),
    ],
)
def test_an_address_of_this_machine_needs_no_token(site: Site, listen: str, address: object) -> None:
    http = site.load(f"http: {{listen: '{listen}'}}").http
    assert (http.listen, http.address) == (listen, address)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://notifier.example.com", "https://notifier.example.com"),
        ("https://example.com/notifier/", "https://example.com/notifier"),
        ("http://[::1]:8780/", "http://[::1]:8780"),
    ],
)
def test_a_public_url_may_have_a_path(site: Site, url: str, kept: str) -> None:
    assert site.load(f"http: {{public_url: '{url}'}}").http.public_url == kept


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("notifier.example.com", "expected a URL such as https://notifier.example.com"),
        ("ftp://example.com", "expected a URL such as https://notifier.example.com"),
        ("https://", "expected a URL such as https://notifier.example.com"),
        ("https://example.com:99999", "expected a URL such as https://notifier.example.com"),
        ("https://[::1", "expected a URL such as https://notifier.example.com"),
        ("https://user:s3cret@example.com", "holds a user name, a query or a fragment"),
        ("https://example.com/?a=b", "holds a user name, a query or a fragment"),
        ("https://example.com/#x", "holds a user name, a query or a fragment"),
    ],
)
def test_a_public_url_is_one_that_browsers_have_as_origin(site: Site, url: str, message: str) -> None:
    (problem,) = site.said(f"http: {{public_url: '{url}'}}\n")
    assert message in problem
    assert "s3cret" not in problem


def test_no_listener_is_needed(site: Site) -> None:
    http = site.load("http: {listen: null}").http
    assert (http.listen, http.address) == (None, None)


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:80", "[::]:80", "192.168.1.1:80", "example.com:80", "[fe80::1%eth0]:80", "[2001:db8::1]:1"]
)
def test_an_address_that_others_reach_needs_a_token(site: Site, listen: str) -> None:
    (said,) = site.said(f"http:\n  listen: '{listen}'\n")
    assert said.startswith("config.yaml:2:11: http.listen: others can reach this address: set http.token")
    assert site.load(f"http: {{listen: '{listen}', token: x}}").http.token == Secret("x")


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("8780", "http.listen: expected an address such as"),
        (
            "':8780'",
            'http.listen: expected an address such as "127.0.0.1:8780", "[::1]:8780" or unix:/run/notifier.sock',
        ),
        ("127.0.0.1", 'got "127.0.0.1"'),
        ("'::1:8780'", "expected an address such as"),
        ("'[127.0.0.1]:80'", "there is no IPv6 address between the brackets"),
        ("'[1::2::3]:80'", "there is no IPv6 address between the brackets"),
        ("127.0.0.1:65536", "a port is at most 65535"),
        ("'unix:'", "expected unix: and a path of 1 to 107 bytes"),
        (f"unix:/{'x' * 107}", "expected unix: and a path of 1 to 107 bytes"),
        ("'http://127.0.0.1:80'", "got a text that may be secret"),
        ("true", "http.listen: expected text, got true"),
    ],
)
def test_any_other_address_is_a_problem(site: Site, listen: str, said: str) -> None:
    (line,) = site.said(f"http: {{listen: {listen}}}")
    assert said in line


def test_callbacks_are_enabled_by_their_secret(site: Site) -> None:
    assert site.load(f"callbacks: {{secret: {WHSEC}}}").callbacks.enabled is True
    assert site.load(f"callbacks: {{secret: {WHSEC}, enabled: false}}").callbacks.enabled is False
    assert site.load("callbacks: {secret: null}").callbacks.enabled is False
    assert site.load("callbacks: {}").callbacks == CallbacksConfig()


def test_callbacks_without_a_secret_are_an_impossible_pair_told_beside_other_faults(site: Site) -> None:
    said = site.said("callbacks: {enabled: true, allow_networks: [x], allow_host: []}")
    assert [line.split(": ")[1] for line in said] == [
        "callbacks.secret", "callbacks.allow_networks[0]", "callbacks.allow_host",
    ]  # fmt: skip
    assert "required when callbacks are enabled, but missing" in said[0]


def test_callback_networks_and_hosts_are_read(site: Site) -> None:
    callbacks = site.load("""\
callbacks:
  allow_hosts: ["*.Example.com", 10.0.0.1]
  allow_networks: [10.0.0.0/8, "fd00::/8", 10.1.2.3]
""").callbacks
    assert callbacks.allow_hosts == ("*.example.com", "10.0.0.1")
    assert callbacks.allow_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("10.1.2.3/32"))
    assert callbacks.model_dump()["allow_networks"] == ("10.0.0.0/8", "fd00::/8", "10.1.2.3/32")
    assert CallbacksConfig(allow_networks=callbacks.allow_networks) == CallbacksConfig(
        allow_networks=callbacks.allow_networks
    )


def test_callback_urls_are_held_to_what_is_configured(site: Site) -> None:
    keys = "allow_hosts: ['*.Example.com'], allow_networks: [10.0.0.0/8], allow_http: true"
    policy = site.load(f"callbacks: {{{keys}}}").callbacks.policy
    assert policy.refusal("http://hooks.example.com/") is None
    assert policy.refusal("https://example.org/") == "callbacks.allow_hosts does not list its host"
    assert policy.forbids(ip_address("10.1.2.3")) is None
    assert policy.forbids(ip_address("127.0.0.1")) == "loopback"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("allow_networks: [10.0.0.1/8]", "callbacks.allow_networks[0]: expected a network, got an address"),
        ("allow_networks: [10.0.0.1/8]", 'got an address inside of one: "10.0.0.1/8"; did you mean "10.0.0.0/8"?'),
        ("allow_networks: ['fd00::1/8']", 'did you mean "fd00::/8"?'),
        ("allow_networks: [10.0.0.0/33]", "expected a network such as 10.0.0.0/8 or fd00::/8"),
        ("allow_networks: [example.com]", "expected a network such as 10.0.0.0/8 or fd00::/8"),
        ("allow_networks: 10.0.0.0/8", "callbacks.allow_networks: expected a list"),
        ("allow_hosts: ['https://example.com']", "callbacks.allow_hosts[0]: expected a host such as hooks.example.com"),
        ("allow_hosts: ['a/b']", "callbacks.allow_hosts[0]: expected a host such as"),
        ("allow_hosts: ['']", "callbacks.allow_hosts[0]: must not be empty"),
        ("allow_hosts: ['*.bücher.example']", "callbacks.allow_hosts[0]: write an international host name in ASCII"),
        ("allow_http: 1", "callbacks.allow_http: expected true or false, got 1"),
        ("enabled: y", 'callbacks.enabled: expected true or false, got "y"'),
    ],
)  # fmt: skip
def test_a_faulty_rule_for_callbacks_is_a_problem(site: Site, keys: str, said: str) -> None:
    (line,) = site.said(f"callbacks: {{{keys}}}")
    assert said in line


@pytest.mark.parametrize(
    ("written", "meant"), [("true", True), ("yes", True), ("On", True), ("False", False), ("off", False)]
)
def test_a_boolean_is_taken_as_meant(site: Site, written: str, meant: bool) -> None:
    assert site.load(f"reload_on_change: {written}").reload_on_change is meant


def test_the_kind_of_a_queue_follows_from_its_url(site: Site) -> None:
    redis, redis_tls, nats, nats_tls, amqp, amqps = site.load("""\
queues:
  - {url: "redis://localhost:6379", stream: s, group: g}
  - {url: "rediss://localhost"}
  - {url: "nats://localhost:4222", stream: S, subject: s.t, durable: d}
  - {url: "tls://localhost"}
  - {url: "amqp://guest:guest@localhost/", queue: q}
  - {url: "amqps://localhost/%2F"}
""").queues
    assert isinstance(redis, RedisQueue)
    assert (redis.stream, redis.group) == ("s", "g")
    assert isinstance(redis_tls, RedisQueue)
    assert (redis_tls.stream, redis_tls.group) == ("notifier:watches", "notifier")
    assert isinstance(nats, NatsQueue)
    assert (nats.stream, nats.subject, nats.durable) == ("S", "s.t", "d")
    assert isinstance(nats_tls, NatsQueue)
    assert (nats_tls.stream, nats_tls.subject, nats_tls.durable) == ("NOTIFIER", "notifier.watches", "notifier")
    assert isinstance(amqp, AmqpQueue)
    assert (amqp.queue, amqp.url.reveal(), str(amqp.url)) == ("q", "amqp://guest:guest@localhost/", "amqp://localhost")
    assert isinstance(amqps, AmqpQueue)
    assert amqps.queue == "notifier.watches"


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        ("{stream: s}", "queues[0].url: required, but missing"),
        (
            "{url: 'kafka://x'}",
            "queues[0].url: expected a URL that begins with one of redis, rediss, nats, tls, amqp, amqps",
        ),
        ("{url: 'rediss2://x'}", 'did you mean "rediss://"?'),
        ("{url: localhost}", "queues[0].url: expected a URL such as"),
        ("{url: {fil: x}}", "queues[0].url: expected text, {file: PATH} or"),
        ("{url: {file: 5}}", "queues[0].url.file: expected text, got 5"),
        ("{url: 'amqp://u:1/p@h/'}", "queues[0].url: percent-encode"),
        ("{url: 'redis://x', subject: s}", "queues[0].subject: belongs to nats queues; the url names another kind"),
        ("{url: 'redis://x', queue: s}", "queues[0].queue: belongs to amqp queues; the url names another kind"),
        ("{url: 'nats://x', group: s}", "queues[0].group: belongs to redis queues; the url names another kind"),
        (
            "{url: 'amqp://x', stream: s}",
            "queues[0].stream: belongs to redis and nats queues; the url names another kind",
        ),
        ("{url: 'amqp://x', quue: s}", 'queues[0].quue: unknown key; did you mean "queue"?'),
        ("{url: 'amqp://x', queue: ''}", "queues[0].queue: must not be empty"),
        ("'amqp://x'", "queues[0]: expected a mapping with the key url"),
    ],
)
def test_a_faulty_queue_is_a_problem(site: Site, queue: str, said: str) -> None:
    (line,) = site.said(f"queues: [{queue}]")
    assert said in line


def test_a_section_is_frozen(site: Site) -> None:
    with pytest.raises(ValueError, match="frozen"):
        site.load("{}").log.level = "debug"  # type: ignore[misc] # what the test is about


def test_a_model_made_in_code_refuses_unknown_keys_too() -> None:
    with pytest.raises(ValueError, match="unknown key"):
        StoreConfig.model_validate({"ulr": "x"})


def test_the_http_section_is_read_alone(site: Site) -> None:
    path = site.write("http: {listen: '0.0.0.0:1', token: '${T}'}\nsources: {v: {preset: none}}\nzzz: 1\n")
    http = http_section(path, env={"T": "x"})
    assert (http.listen, http.token) == ("0.0.0.0:1", Secret("x"))


@pytest.mark.parametrize(
    "text",
    ["", "[", "- a", "http: 5", "log: {}", "http:\n", "http: {listen: 5}", "http: {token: {file: none}}", b"\xff"],
)
def test_what_cannot_be_read_of_the_http_section_is_left_at_its_default(site: Site, text: str | bytes) -> None:
    assert http_section(site.write(text), env={}) == HttpConfig()


def test_the_http_sections_address_is_found_though_its_token_is_the_daemons_alone(site: Site) -> None:
    path = site.write("http: {listen: 'example.com:1', token: {credential: x}, zzz: 1}")
    http = http_section(path, env={})
    assert (http.listen, http.token) == ("example.com:1", None)
    assert http_section(site.write("http: {listen: x, token: y}"), env={}).token == Secret("y")


def test_a_missing_file_has_the_default_http_section(tmp_path: Path) -> None:
    assert http_section(tmp_path / "none.yaml") == HttpConfig()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("to: /var/lib/x", "archive.to: expected a directory such as file:///var/lib/notifier/results"),
        ("to: 's3://bucket/x'", "archive.s3: with s3:// it needs `access_key` and `secret_key`"),
        ("to: 's3://B_/x'", "archive.to: expected a bucket's name"),
        ("to: 'gs://bucket/x'", "archive.to: expected a directory such as"),
        ("to: 'file://host/x'", "archive.to: expected an absolute path"),
        ("to: 'file:x'", "archive.to: expected an absolute path"),
        ("max_bytes: 1 GB", "archive.max_bytes: expected a size such as 500MiB"),
        ("max_bytes: 0", "archive.max_bytes: expected a size"),
        ("allow_networks: [x]", "archive.allow_networks[0]: expected a network"),
    ],
)
def test_what_an_archive_cannot_be_is_refused(site: Site, keys: str, problem: str) -> None:
    """In words."""
    (found,) = site.problems(f"archive: {{{keys}}}")
    assert problem in str(found)


def test_an_archive(site: Site) -> None:
    """A directory, and sizes in units or bytes."""
    archive = site.load("archive: {to: 'file:///var/lib/a%20b', max_bytes: 2GiB}").archive
    assert (str(archive.to), archive.max_bytes, archive.timeout, archive.allow_http) == (
        "/var/lib/a b",
        2 << 30,
        120.0,
        False,
    )
    assert site.load("archive: {max_bytes: 5}").archive.max_bytes == 5


def test_an_archive_in_a_bucket(site: Site) -> None:
    """Its key is secret."""
    text = (
        "archive: {to: 's3://films/a/b/', s3: {access_key: AK, secret_key: s3cr3t, endpoint: 'http://127.0.0.1:9000'}}"
    )
    archive = site.load(text).archive
    assert str(archive.to) == "s3://films/a/b/"
    assert "s3cr3t" not in repr(archive)
