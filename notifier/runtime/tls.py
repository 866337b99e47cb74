"""What TLS is to trust and to show, out of PEM files."""

from __future__ import annotations

import ssl
from pathlib import Path


class EncryptedKey(ssl.SSLError):
    """The private key is encrypted."""


def tls_context(
    *, ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext | bool:
    """Return what aiohttp takes as `ssl`: True, the shared default, where there is nothing of one's own.

    `ca_file` replaces the system's authorities; `cert_file` is shown to servers that ask who we are, and holds its key
    if `key_file` does not. Raises OSError, of which ssl.SSLError is a kind.
    """
    if ca_file is None and cert_file is None:
        return True
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    return context


def _no_password() -> str:
    """Refuse, where OpenSSL would ask on the terminal and wait for ever."""
    raise EncryptedKey("the private key is encrypted")
