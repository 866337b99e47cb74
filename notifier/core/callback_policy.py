"""Where callback URLs that strangers hand in may lead. Pure: what a URL says by itself, and what its addresses are.

A URL is read by a rule so narrow that no two parsers disagree on its host: no user, no escapes, no spelling of an
address but the usual one. The judgement of names comes with their addresses (`forbids`), on each connection anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from notifier.core.addresses import IPAddress, IPNetwork, embeds, is_allowed, is_special

MAX_URL = 2048  # characters; every server takes as many
_URL = re.compile(r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?P<fragment>#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")  # RFC 1123 section 2.1, and `_`
# The WHATWG's URL standard, "ends in a number checker": whoever calls inet_aton takes such a host for an IPv4 address.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPolicy:
    """What the operator allows."""

    allow_hosts: tuple[str, ...] = ("*",)  # globs over host names, in lower case; addresses of IPv6 without brackets
    allow_networks: Sequence[IPNetwork] = ()  # special addresses that may be reached all the same
    allow_http: bool = False

    def refusal(self, url: str) -> str | None:
        """Say why a URL may not be a callback's; None if nothing in it speaks against it. Quotes no part of it."""
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
        found = _AUTHORITY.fullmatch(parts["authority"])
        if found is None or not 1 <= int(found["port"] or 443) <= 65535:
            return "host and port cannot be read"
        return self._host_refusal(found["host"].lower())

    def forbids(self, address: IPAddress) -> str | None:
        """Say what an address is that must not be connected to; None if it may be."""
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
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3: loopback, whoever resolves it
            loopback = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
            reason = None if any(self.forbids(each) is None for each in loopback) else "loopback"
        else:
            reason = None if address is None else self.forbids(address)
        return f"its address is special ({reason}), and callbacks.allow_networks does not list it" if reason else None
