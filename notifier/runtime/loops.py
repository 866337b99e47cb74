"""Chooses the event loop, and makes the process fit for thousands of connections."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import gc
import resource
from collections.abc import Callable
from typing import Literal

from notifier.core.errors import NotifierError

Choice = Literal["auto", "uvloop", "asyncio"]

# asyncio allocates a read buffer of 256 KiB for every TLS connection. 16 KiB is the largest TLS record (RFC 8446
# section 5.1), and brings a stream that is mostly idle from 311 KiB to 70 KiB.
TLS_BUFFER = 16 * 1024


# Generations of the collector: allocations until the youngest is looked at, and how many such looks until the next is.
GC_ALLOCATIONS, GC_YOUNG, GC_OLD = 20_000, 20, 50


class LoopUnavailable(NotifierError):
    """The configuration says `loop: uvloop`, but uvloop is not installed: install it, or say `loop: auto`."""


def runner(choice: Choice = "auto") -> asyncio.Runner:
    """Return a runner of uvloop, where it is wanted and can be had, or else of asyncio. Raises LoopUnavailable."""
    if choice != "asyncio":
        factory = _uvloop()
        if factory is not None:
            return asyncio.Runner(loop_factory=factory)
        if choice == "uvloop":
            raise LoopUnavailable
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER
    return asyncio.Runner(loop_factory=asyncio.new_event_loop)


def raise_file_limit() -> int:
    """Allow as many open files as the hard limit does; return how many that is, -1 for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # forbidden by a sandbox, or over the kernel's own maximum
            return soft
    return hard


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # an optional speed-up: absent on platforms that it does not support
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def settle_memory() -> None:
    """Have the garbage collector leave alone what start-up made, and look at everything less often.

    A full collection with thousands of open streams stops the loop for more than a tenth of a second, and finds next to
    nothing: what the loops make and drop is freed by its count of references.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, GC_YOUNG, GC_OLD)
