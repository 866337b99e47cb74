"""The private parts of aiohttp that the program uses, all in this one module.

aiohttp has no public way to do what is done here. `tests/runtime/test_aiohttp_private.py` fails when a new version
changes one of these parts.

While it is loaded, aiohttp reads the system's authorities twice, for connections that it may never make: 40 ms and
3 MiB. A process that imports this module before aiohttp reads them for the first of those connections.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.web import RequestHandler


def _postpone(context: ssl.SSLContext) -> None:
    """Have a context read the authorities when its first connection needs them, not now."""

    def wrap_bio(*args: Any, **options: Any) -> ssl.SSLObject:
        del context.wrap_bio  # this one, for the class's
        context.set_default_verify_paths()
        return context.wrap_bio(*args, **options)

    context.wrap_bio = wrap_bio  # type: ignore[method-assign]  # hides the class's, until it is called


ssl.SSLContext.set_default_verify_paths = _postpone  # type: ignore[assignment, method-assign]  # hides its base
try:
    import aiohttp  # noqa: F401  # loaded for its own sake
finally:
    del ssl.SSLContext.set_default_verify_paths


def is_idle(handler: RequestHandler) -> bool:
    """Return whether an HTTP server's connection waits for the rest of a request's head."""
    if handler._request_count == 0:  # its task, which waits, may not have begun
        return True
    waiter = handler._waiter
    return waiter is not None and not waiter.done()
