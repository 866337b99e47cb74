"""Ports for servers that cannot use port 0: their port has to be known before they start, or to outlive them."""

from __future__ import annotations

import random
import socket

# Below those that the kernel gives to clients (ip(7)), which are taken at any moment.
LOWEST, HIGHEST = 12_000, 31_999
# Not the shared generator, which a test may seed: tests in several processes have to draw different ports.
_dice = random.SystemRandom()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    while True:
        port = _dice.randint(LOWEST, HIGHEST)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
