"""TLS between a test's server and its client, by an authority of the test's own."""

from __future__ import annotations

import ssl

import trustme


def serving_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return the context of a server that goes by these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of a client that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
