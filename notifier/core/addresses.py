"""Says which IP addresses are no public host's. Pure: no names, URLs or sockets.

`core/callback.py` (`forbids`) refuses them. `runtime/http1/names.py` asks it about every address that a callback or the
URL of a result leads to, before it is dialled.

The tables follow IANA's special-purpose registries (RFC 6890; iana.org/assignments/iana-ipv4-special-registry and
iana-ipv6-special-registry). Of IPv6 only global unicast space, 2000::/3, is public at all (RFC 4291 section 2.4). An
address that embeds an IPv4 address is classified as that one, or refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_METADATA = "a cloud's metadata service"  # it gives credentials to every client inside the network
_V4 = tuple(
    (IPv4Network(network), reason)
    for network, reason in (  # the first match counts
        ("169.254.169.254/32", _METADATA),
        ("100.100.100.200/32", _METADATA),  # Alibaba
        ("168.63.129.16/32", _METADATA),  # Azure's host; public space, but never routed
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "this network"),  # RFC 791 section 3.2; Linux connects 0.0.0.0 to itself
        ("10.0.0.0/8", "private"),  # RFC 1918
        ("100.64.0.0/10", "carrier-grade NAT"),  # RFC 6598
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),  # RFC 3927
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),  # RFC 6890
        ("192.0.2.0/24", "documentation"),  # RFC 5737
        ("192.88.99.0/24", "6to4 relay"),  # RFC 7526
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),  # RFC 2544
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),  # RFC 5771
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),  # RFC 1112 section 4
    )
)
_V6 = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("fd00:ec2::254/128", _METADATA),  # AWS
        ("fd20:ce::254/128", _METADATA),  # Google
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),  # RFC 4291 section 2.5.5.1, deprecated
        ("::ffff:0:0:0/96", "IPv4-translated"),  # RFC 2765
        ("64:ff9b:1::/48", "local NAT64"),  # RFC 8215: each network places the IPv4 address itself
        ("100::/64", "discard-only"),  # RFC 6666
        ("2001::/32", "Teredo"),  # RFC 4380
        ("2001:2::/48", "benchmarking"),  # RFC 5180
        ("2001::/23", "reserved for protocols"),  # RFC 2928
        ("2001:db8::/32", "documentation"),  # RFC 3849
        ("2002::/16", "6to4"),  # RFC 3056
        ("3fff::/20", "documentation"),  # RFC 9637
        ("fc00::/7", "private"),  # RFC 4193
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),  # RFC 3879
        ("ff00::/8", "multicast"),
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: DNS64 answers with these for hosts with IPv4 only
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})  # RFC 5214 section 6.1: first half of the interface's identifier


def parse(text: str) -> IPAddress:
    """Read an address as a resolver or socket writes it, without its zone (`%eth0`). Raises ValueError."""
    return ip_address(text.partition("%")[0])


def is_special(address: IPAddress) -> str | None:
    """Return the kind of a special address; None for an address of the public internet."""
    target = _target(address)
    if isinstance(target, IPv4Address):
        return _first(_V4, target)
    if reason := _first(_V6, target):
        return reason
    if int(target) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return "ISATAP"
    return None if target in _PUBLIC_V6 else "reserved"


def is_allowed(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    """Return whether one of the networks contains the address, or the IPv4 address that it embeds."""
    target = _target(address)
    return any(each in network for network in networks for each in (address, target) if each.version == network.version)


def embeds(address: IPAddress) -> bool:
    """Return whether the address embeds an IPv4 address; a harmless URL never contains one."""
    return _target(address) != address


def _target(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that a mapped or translated address stands for, or the address without its zone."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:  # RFC 4291 section 2.5.5.2
        return address.ipv4_mapped
    plain = IPv6Address(int(address))
    return IPv4Address(int(plain) & 0xFFFF_FFFF) if plain in _NAT64 else plain


def _first(table: Iterable[tuple[IPv4Network, str] | tuple[IPv6Network, str]], address: IPAddress) -> str | None:
    return next((reason for network, reason in table if address in network), None)
