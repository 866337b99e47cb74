"""TLS contexts from PEM files: the authorities to trust, and the certificate to present."""

from __future__ import annotations

import ssl
from pathlib import Path


class EncryptedKey(ssl.SSLError):
    """The private key is encrypted."""


def tls_context(
    *, ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext | bool:
    """Return the argument `ssl` of aiohttp; without any file that is True, the shared default.

    `ca_file` replaces the system's authorities. `cert_file` is presented to servers that ask for a certificate; it also
    holds the private key if there is no `key_file`. Raises OSError, which includes ssl.SSLError.
    """
    if ca_file is None and cert_file is None:
        return True
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    return context


def _no_password() -> str:
    """Raise, where OpenSSL would ask on the terminal and wait for ever."""
    raise EncryptedKey("the private key is encrypted")
