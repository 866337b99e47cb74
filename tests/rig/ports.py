"""Ports for servers that cannot be started on port 0: what they listen on has to be known, or to stay, beforehand."""

from __future__ import annotations

import random
import socket

# Below those that the kernel gives to clients (ip(7)), which are taken at any moment.
LOWEST, HIGHEST = 12_000, 31_999
# Not the shared generator, which others may seed: tests that run at the same time, each in a process of its own, are to
# draw different ports.
_dice = random.SystemRandom()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    while True:
        port = _dice.randint(LOWEST, HIGHEST)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
