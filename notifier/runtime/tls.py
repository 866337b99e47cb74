"""TLS contexts from PEM files: the authorities to trust, and the certificate to present."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

Trust = ssl.SSLContext | bool  # True: the system's authorities


class EncryptedKey(ssl.SSLError):
    """The private key is encrypted."""


def tls_context(*, ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None) -> Trust:
    """Return what connections trust; without any file that is True, the shared default.

    `ca_file` replaces the system's authorities. `cert_file` is presented to servers that ask for a certificate; it also
    holds the private key if there is no `key_file`. Raises OSError, which includes ssl.SSLError.
    """
    if ca_file is None and cert_file is None:
        return True
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    return context


def context_of(trust: Trust) -> ssl.SSLContext:
    """Return the context for connections."""
    return trust if isinstance(trust, ssl.SSLContext) else _default()


@cache
def _default() -> ssl.SSLContext:
    """Return the context of the system's authorities, which takes a hundredth of a second to load, once."""
    return ssl.create_default_context()


def _no_password() -> str:
    """Raise, where OpenSSL would ask on the terminal and wait for ever."""
    raise EncryptedKey("the private key is encrypted")
