"""Chooses the event loop, and prepares the process for thousands of connections."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import resource
from collections.abc import Callable
from typing import Literal

from notifier.core.errors import NotifierError
from notifier.runtime import asyncio_private

Choice = Literal["auto", "uvloop", "asyncio"]

# asyncio allocates a read buffer of 256 KiB for every TLS connection. 16 KiB is the largest TLS record (RFC 8446
# section 5.1); with it, an idle stream takes 70 KiB in place of 311 KiB.
TLS_BUFFER = 16 * 1024

# Thresholds of the garbage collector (gc.set_threshold): allocations before a collection of the youngest objects, and
# the number of collections of one generation before one of the next.
GC_ALLOCATIONS, GC_YOUNG, GC_OLD = 20_000, 20, 50

# glibc gives blocks above this size back to the system when they are freed, but raises the size to that of the largest
# block that was freed. After one large file has been read, that is too much to ever give back the memory of the next.
LARGE_BLOCK = 128 * 1024
# Each thread has an arena of its own, which keeps what is freed in it. One for all is enough where most allocations are
# Python's, since a thread makes those while it has the interpreter's lock.
ARENAS = 1
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of mallopt(3)


class LoopUnavailable(NotifierError):
    """The configuration says `loop: uvloop`, but uvloop is not installed: install it, or say `loop: auto`."""


def runner(choice: Choice = "auto") -> asyncio.Runner:
    """Return a runner of uvloop if it is chosen and installed, otherwise of asyncio. Raises LoopUnavailable."""
    if choice != "asyncio":
        factory = _uvloop()
        if factory is not None:
            return asyncio.Runner(loop_factory=factory)
        if choice == "uvloop":
            raise LoopUnavailable
    asyncio_private.set_tls_buffer(TLS_BUFFER)
    return asyncio.Runner(loop_factory=asyncio.new_event_loop)


def raise_file_limit() -> int:
    """Raise the limit on open files to the hard limit; return the limit, -1 for none."""
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
    except ImportError:  # optional: it does not support every platform
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def settle_memory() -> None:
    """Exclude the objects of the start from garbage collection, collect less often, and have less memory kept.

    A full collection with thousands of open streams stops the loop for more than a tenth of a second and finds almost
    nothing: reference counting frees nearly all objects. One before the start takes as long, an eighth of the whole
    start, to find 300 KiB.
    """
    with contextlib.suppress(AttributeError):  # a C library other than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(M_ARENA_MAX, ARENAS)
    gc.freeze()
    gc.enable()
    gc.set_threshold(GC_ALLOCATIONS, GC_YOUNG, GC_OLD)
