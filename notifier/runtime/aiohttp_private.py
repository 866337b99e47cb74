"""The private parts of aiohttp that the program uses, all in this one module.

aiohttp has no public way to do what is done here. `tests/runtime/test_aiohttp_private.py` fails when a new version
changes one of these parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp.web import RequestHandler


def is_idle(handler: RequestHandler) -> bool:
    """Return whether an HTTP server's connection waits for the rest of a request's head."""
    if handler._request_count == 0:  # its task, which waits, may not have begun
        return True
    waiter = handler._waiter
    return waiter is not None and not waiter.done()
