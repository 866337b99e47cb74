"""A system that refuses every thread, as at the limit of a cgroup."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_thread() -> Iterator[None]:
    """Have the system refuse threads: no address space has room for such a stack."""
    before = threading.stack_size(1 << 47)
    try:
        yield
    finally:
        threading.stack_size(before)
