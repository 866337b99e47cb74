"""The private part of asyncio that the program uses, in this one module.

asyncio has no public way to do what is done here. `tests/runtime/test_asyncio_private.py` fails when a new version of
Python changes it.
"""

from __future__ import annotations

import asyncio.sslproto


def set_tls_buffer(size: int) -> None:
    """Set the bytes of the read buffer that asyncio allocates for each new TLS connection."""
    asyncio.sslproto.SSLProtocol.max_size = size
