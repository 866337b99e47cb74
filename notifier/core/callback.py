"""Callbacks: destinations that come with a watch, and the rules for their URLs. Pure.

A destination's name is a digest of its URL and secret, so that equal ones are one destination wherever they come from.
Deliveries carry that name in the place of an endpoint's. Neither URL nor secret is ever printed.

Strangers hand in these URLs. A URL is read by a rule so narrow that no two parsers disagree on its host: no user, no
escapes, no spelling of an address except the usual one. `forbids` judges the addresses of its host on each connection.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from notifier.core.addresses import IPAddress, IPNetwork, embeds, is_allowed, is_special

LABEL = "callback"  # the common name of all destinations in metrics and filters
PREFIX = f"{LABEL}:"  # of a destination's name; no endpoint's name may begin with it
_NAME_BYTES = 15  # of the digest: 120 bits without a practical collision, and without padding in base 32
_AFTER_AUTHORITY = re.compile(r"[/?#]")
MAX_URL = 2048  # characters; every server takes as many
_URL = re.compile(r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?P<fragment>#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")  # RFC 1123 section 2.1, and `_`
# The WHATWG's URL standard, "ends in a number checker": inet_aton takes such a host for an IPv4 address.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A destination."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)  # whsec_...; None: the configured secret signs
    kept_as: str | None = field(default=None, compare=False)  # its name in the store, which its deliveries carry

    @property
    def name(self) -> str:
        """Return the name in the store, even if the row was edited by hand since, or else the name by its content."""
        if self.kept_as is not None:
            return self.kept_as
        digest = sha256(f"{self.url}\n{self.secret or ''}".encode()).digest()
        return PREFIX + b32encode(digest[:_NAME_BYTES]).decode().lower()

    @property
    def origin(self) -> str:
        """Return the part of the URL that may be shown."""
        return origin(self.url)


def is_callback(endpoint: str) -> bool:
    """Return whether a delivery's endpoint is a destination that came with a watch."""
    return endpoint.startswith(PREFIX)


def origin(url: str) -> str:
    """Return scheme, host and port of a URL that a `CallbackPolicy` accepted, so that it has no user name."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{_AFTER_AUTHORITY.split(rest, 1)[0]}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPolicy:
    """The callback URLs that the operator allows."""

    allow_hosts: tuple[str, ...] = ("*",)  # globs over host names in lower case, and over addresses without brackets
    allow_networks: Sequence[IPNetwork] = ()  # special addresses that may be reached nevertheless
    allow_http: bool = False

    def refusal(self, url: str) -> str | None:
        """Return why a URL is refused, without quoting it; None if it is accepted."""
        if len(url) > MAX_URL:
            return f"longer than {MAX_URL} characters"
        if _NOT_IN_URLS.search(url):
            return "holds a blank, a backslash or a control character"
        if not (parts := _URL.fullmatch(url)) or not (scheme := parts["scheme"].lower()):
            return "expected a URL such as https://example.com/path"
        if scheme not in ("https", "http"):
            return "expected a URL that begins with https://"
        if scheme == "http" and not self.allow_http:
            return "must begin with https:// (callbacks.allow_http is false)"
        if parts["fragment"] is not None:
            return "a fragment (#...) is never sent; remove it"
        if "@" in parts["authority"]:
            return "holds a user name or password; callbacks are signed instead"
        authority = _AUTHORITY.fullmatch(parts["authority"])
        if authority is None or not 1 <= int(authority["port"] or 443) <= 65535:
            return "host and port cannot be read"
        return self._host_refusal(authority["host"].lower())

    def forbids(self, address: IPAddress) -> str | None:
        """Return the kind of an address that may not be reached; None if it may be."""
        reason = is_special(address)
        return None if reason is None or is_allowed(address, self.allow_networks) else reason

    def _host_refusal(self, host: str) -> str | None:
        if not host:
            return "names no host"
        if not host.isascii():
            return "write an international host name in ASCII (xn--...)"
        address: IPAddress | None = None
        try:
            if host.startswith("["):
                host = host[1:-1]
                if "%" in host:
                    return "an address with a zone (%...) is of this machine's networks only"
                address = IPv6Address(host)
            elif _NUMERIC.fullmatch(host):
                address = IPv4Address(host)
        except AddressValueError:
            return "an IP address must be written as 192.0.2.1 or [2001:db8::1]"
        if address is None and not (len(host) <= 253 and _NAME.fullmatch(host)):
            return "not the name of a host, or not written in the usual way"
        if not any(fnmatchcase(host if address is None else str(address), glob) for glob in self.allow_hosts):
            return "callbacks.allow_hosts does not list its host"
        return self._address_refusal(host, address)

    def _address_refusal(self, host: str, address: IPAddress | None) -> str | None:
        if address is not None and embeds(address) and not is_allowed(address, self.allow_networks):
            return "write an IPv4 address as such"
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3: loopback for every resolver
            loopback = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
            reason = None if any(self.forbids(each) is None for each in loopback) else "loopback"
        else:
            reason = None if address is None else self.forbids(address)
        return f"its address is special ({reason}), and callbacks.allow_networks does not list it" if reason else None
