"""No address that is not a public host's passes, in whatever disguise."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.addresses import embeds, is_allowed, is_special, parse

SPECIAL = {
    "127.0.0.1": "loopback", "127.255.255.254": "loopback", "0.0.0.0": "unspecified", "0.1.2.3": "this network",
    "10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private",
    "169.254.1.1": "link-local", "169.254.169.254": "a cloud's metadata service", "169.254.170.2": "link-local",
    "100.64.0.1": "carrier-grade NAT", "100.127.255.255": "carrier-grade NAT",
    "100.100.100.200": "a cloud's metadata service", "168.63.129.16": "a cloud's metadata service",
    "192.0.0.1": "reserved for protocols", "192.0.0.192": "reserved for protocols", "192.0.2.1": "documentation",
    "198.51.100.1": "documentation", "203.0.113.1": "documentation", "192.88.99.1": "6to4 relay",
    "198.18.0.1": "benchmarking", "198.19.255.255": "benchmarking", "224.0.0.1": "multicast",
    "239.255.255.255": "multicast", "240.0.0.1": "reserved", "255.255.255.254": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified", "::1": "loopback", "fe80::1": "link-local", "febf::1": "link-local", "fec0::1": "site-local",
    "fc00::1": "private", "fdff::1": "private", "fd00:ec2::254": "a cloud's metadata service",
    "fd20:ce::254": "a cloud's metadata service", "ff02::1": "multicast", "2001:db8::1": "documentation",
    "3fff::1": "documentation", "2001:2::1": "benchmarking", "2001:10::1": "reserved for protocols",
    "2001::1": "Teredo", "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo", "2002:7f00:1::": "6to4",
    "2002:808:808::1": "6to4", "100::1": "discard-only", "::7f00:1": "IPv4-compatible",
    "::808:808": "IPv4-compatible", "::ffff:0:127.0.0.1": "IPv4-translated", "64:ff9b:1::7f00:1": "local NAT64",
    "64:ff9b:1:808:8:800::": "local NAT64", "2606:4700::5efe:7f00:1": "ISATAP", "2606:4700::200:5efe:a00:1": "ISATAP",
    "fe80::5efe:7f00:1": "link-local", "4000::1": "reserved", "5f00::1": "reserved", "64:ff9b:2::1": "reserved",
    "200::1": "reserved",
    "::ffff:127.0.0.1": "loopback", "::ffff:10.0.0.1": "private", "::ffff:0.0.0.0": "unspecified",
    "::ffff:169.254.169.254": "a cloud's metadata service", "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a9fe:a9fe": "a cloud's metadata service", "64:ff9b::a00:1": "private",
}  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1",
          "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::200e",
          "2001:4860:4860::8888", "2001:200::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), SPECIAL.items())
def test_a_special_address_is_told(text: str, reason: str) -> None:
    """And what it is."""
    assert is_special(parse(text)) == reason


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_passes(text: str) -> None:
    """Also one that DNS64 made of an IPv4 address, else a host of an IPv6-only network could call nobody."""
    assert is_special(parse(text)) is None


@given(st.ip_addresses())
def test_nothing_passes_that_the_standard_library_takes_for_special(address: IPv4Address | IPv6Address) -> None:
    """Its tables are of the same registries, older in parts, but never stricter."""
    plain = address
    if isinstance(address, IPv6Address):
        plain = address.ipv4_mapped or address
        if address in ip_network("64:ff9b::/96"):
            plain = IPv4Address(int(address) & 0xFFFF_FFFF)
    if is_special(address) is None:
        assert plain.is_global
        assert not plain.is_multicast


@given(st.ip_addresses(v=4))
def test_a_disguise_changes_nothing(address: IPv4Address) -> None:
    """A mapped or translated address is judged as the IPv4 address that it leads to."""
    for prefix in ("::ffff:", "64:ff9b::"):
        assert is_special(ip_address(f"{prefix}{address}")) == is_special(address)
        assert embeds(ip_address(f"{prefix}{address}"))


def test_a_zone_is_no_part_of_an_address() -> None:
    """Resolvers and sockets write it behind."""
    assert is_special(parse("fe80::1%eth0")) == "link-local"
    assert is_special(IPv6Address("fe80::1%eth0")) == "link-local"
    assert is_special(IPv6Address("::1%lo")) == "loopback"
    assert not embeds(IPv6Address("2606:4700::1"))


@pytest.mark.parametrize("text", ["2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1", "127.0.0.1.", "", "localhost"])
def test_only_the_usual_spelling_is_an_address(text: str) -> None:
    """What a resolver or socket never says."""
    with pytest.raises(ValueError, match=r".*"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "network", "allowed"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "::ffff:0:0/96", True),
        ("64:ff9b::a01:203", "10.0.0.0/8", True),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "10.0.0.0/8", False),
        ("10.1.2.3", "::/0", False),
    ],
)
def test_networks_allow_what_they_hold(text: str, network: str, allowed: bool) -> None:
    """As it is written or as it is meant."""
    assert is_allowed(parse(text), [ip_network(network)]) is allowed
