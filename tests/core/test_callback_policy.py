"""A stranger's URL leads to public hosts by HTTPS, or nowhere; however it is spelt."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from notifier.core.addresses import is_special
from notifier.core.callback import CallbackPolicy

POLICY = CallbackPolicy()


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://example.com/", "HTTPS://Hooks.Example.com:8443/a/b?c=d&e=@f", "https://8.8.8.8/",
     "https://[2606:4700:4700::1111]:443/x", "https://a_b.example.com/%41/ü?q=ü", "https://xn--bcher-kva.example/",
     "https://intranet/", "https://1.example.com", "https://0x7f.example.com", "https://example.com?x"],
)  # fmt: skip
def test_a_plain_url_passes(url: str) -> None:
    """A name's addresses are judged when it is connected to."""
    assert POLICY.refusal(url) is None


LITERALS = ["127.0.0.1", "0.0.0.0", "10.0.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.168.0.1",
            "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]",
            "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::808:808]",
            "[::ffff:8.8.8.8]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:808:808::]", "[2001::1]",
            "[2606:4700::5efe:7f00:1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "localhost", "LOCALHOST",
            "a.localhost", "127.0.0.1:443", "[::1]:443", "localhost:443"]  # fmt: skip
ODD = ["2130706433", "017700000001", "0x7f000001", "0X7F000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "127.1",
       "127.0.1", "127.0.0.0x1", "0", "0x", "127.0.0.1.", "1.2.3.4.5", "256.0.0.1", "08.8.8.8", "8.8.8.010",
       "00000000000000000000000000000000000177.1", "127.0.0.1%00", "127%2e0.0.1", "%31%32%37.0.0.1", "%6cocalhost",
       "localhost.", "localhost..", "example.com.", "example..com", ".example.com", "-a.com", "a-.com", "exa mple.com",
       "①②⑦.0.0.1", "127\uff0e0\uff0e0\uff0e1", "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1",
       "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "bücher.example", "१२७.0.0.1",
       "exam\u00adple.com", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1%lo]", "[v1.x]", "[127.0.0.1]", "[::1", "::1",
       "[::1]x", "[]", "", ":443", "example.com:", "example.com:0", "example.com:65536", "example.com:8x",
       "user@example.com", "user:pass@example.com", "example.com@127.0.0.1", "example.com\\@127.0.0.1",
       "127.0.0.1\\.example.com", "example.com\t", "exam\nple.com", "a" * 64 + ".com", ".".join(["a" * 60] * 5),
       "ex*mple.com", "a,b.com", "'example.com'", "example.com\x00"]  # fmt: skip


@pytest.mark.parametrize("host", LITERALS)
def test_a_special_address_is_refused_before_anything_is_connected(host: str) -> None:
    """And by name where there is nothing to look up."""
    assert POLICY.refusal(f"https://{host}/")


@pytest.mark.parametrize("host", ODD)
def test_an_odd_spelling_of_a_host_is_refused(host: str) -> None:
    """Whatever it would lead to: parsers and resolvers disagree on it. Not even where every network is allowed."""
    anything = CallbackPolicy(allow_networks=[ip_network("0.0.0.0/0"), ip_network("::/0")], allow_http=True)
    assert anything.refusal(f"https://{host}/path")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.com/", "must begin with https:// (callbacks.allow_http is false)"),
        ("ftp://example.com/", "expected a URL that begins with https://"),
        ("file:///etc/passwd", "expected a URL that begins with https://"),
        ("example.com/x", "expected a URL such as https://example.com/path"),
        ("//example.com/x", "expected a URL such as https://example.com/path"),
        ("https:example.com", "expected a URL such as https://example.com/path"),
        ("://example.com", "expected a URL such as https://example.com/path"),
        ("", "expected a URL such as https://example.com/path"),
        ("https:///example.com/", "names no host"),
        ("https://example.com/#top", "a fragment (#...) is never sent; remove it"),
        ("https://example.com/\r\nHost: x", "holds a blank, a backslash or a control character"),
        ("https://example.com/" + "x" * 2048, "longer than 2048 characters"),
        ("https://u:hunter2@example.com/", "holds a user name or password; callbacks are signed instead"),
        ("https://bücher.example/", "write an international host name in ASCII (xn--...)"),
        ("https://127.1/", "an IP address must be written as 192.0.2.1 or [2001:db8::1]"),
        ("https://[::ffff:8.8.8.8]/", "write an IPv4 address as such"),
        ("https://10.0.0.1/", "its address is special (private), and callbacks.allow_networks does not list it"),
        ("https://localhost/", "its address is special (loopback), and callbacks.allow_networks does not list it"),
    ],
)
def test_a_refusal_says_why(url: str, said: str) -> None:
    """Without repeating what may be secret."""
    assert POLICY.refusal(url) == said


def test_networks_are_allowed_by_their_addresses() -> None:
    """Loopback by address and by name; the rest stays refused."""
    policy = CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16")], allow_http=True)
    for allowed in (
        "http://127.0.0.1:8000/",
        "http://localhost:8000/",
        "https://10.1.2.3/",
        "https://[::ffff:a01:203]",
    ):
        assert policy.refusal(allowed) is None
    for refused in ("http://10.2.0.1/", "http://[::1]/", "http://169.254.169.254/"):
        assert policy.refusal(refused)
    assert policy.forbids(ip_address("127.0.0.1")) is None
    assert policy.forbids(ip_address("::ffff:127.0.0.1")) is None
    assert policy.forbids(ip_address("8.8.8.8")) is None
    assert policy.forbids(ip_address("10.2.0.1")) == "private"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example.com/", True),
        ("https://HOOKS.example.com:8443/", True),
        ("https://a.b.example.com/", True),
        ("https://example.com/", False),
        ("https://example.com.evil.test/", False),
        ("https://evil.test/?hooks.example.com", False),
        ("https://evilexample.com/", False),
        ("https://[2606:4700:0:0::1]/", True),
        ("https://[2606:4701::1]/", False),
        ("https://8.8.8.8/", False),
    ],
)
def test_hosts_are_narrowed_by_globs(url: str, allowed: bool) -> None:
    """By the host and nothing else of the URL; an address in its shortest form."""
    refusal = CallbackPolicy(allow_hosts=("*.example.com", "2606:4700::*")).refusal(url)
    assert refusal == (None if allowed else "callbacks.allow_hosts does not list its host")


_PIECES = st.sampled_from(
    ["https://", "@", ":", "/", "\\", "#", "?", "[", "]", ".", "%", "127.0.0.1", "::1", "localhost", "example.com",
     "0x7f", "2130706433", "\t", "\uff05", "\u3002", "\uff11", "user", "443"],
)  # fmt: skip


@given(st.lists(_PIECES, max_size=8).map(lambda parts: "https://" + "".join(parts)) | st.text(max_size=60))
def test_what_passes_is_read_alike_by_those_who_connect(url: str) -> None:
    """The host that was judged is the host that yarl, which aiohttp connects by, and the standard library read."""
    if POLICY.refusal(url) is not None:
        return
    host = URL(url).raw_host
    assert host is not None
    assert host == urlsplit(url).hostname
    assert URL(url).user is None
    try:
        address = ip_address(host)
    except ValueError:
        assert not host.replace(".", "").isdigit()
    else:
        assert is_special(address) is None
