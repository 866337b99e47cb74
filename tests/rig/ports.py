"""Ports for servers that cannot use port 0: their port has to be known before they start, or to outlive them."""

from __future__ import annotations

import os
import random
import socket

# Below those that the kernel gives to clients (ip(7)), which are taken at any moment.
LOWEST, HIGHEST = 12_000, 31_999
# Not the shared generator, which a test may seed: tests in several processes have to draw different ports.
_dice = random.SystemRandom()


_given: set[int] = set()  # what was given may not listen yet


def free_port() -> int:
    """Return a port that is free now on every address, and that is given to nobody else of a parallel run."""
    number, processes = (os.environ.get(f"PYTEST_XDIST_WORKER{part}", "") for part in ("", "_COUNT"))
    first, step = int(number.removeprefix("gw") or 0), int(processes or 1)
    if len(_given) * step > (HIGHEST - LOWEST) // 2:
        _given.clear()  # the first of them have long been taken, or given up
    while True:
        port = _dice.randrange(LOWEST + first, HIGHEST + 1, step)
        if port in _given:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("", port))
            except OSError:
                continue
        _given.add(port)
        return port
