"""Serves changed copies of the program: this process has imported all that they import, but nothing of the program.

It is given one socket. Each message is the folder of a copy, with a socket on which a process that has imported that
copy then serves forks (fork_server.py). It ends when the other side closes the socket, as those do when theirs close.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "rig"))
import fork_server

MAX_PATH = 4096  # bytes


def main() -> None:
    """Serve; in a new process, import a copy and serve its forks."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for name in fork_server.IMPORTS:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "notifier"]:
        del sys.modules[name]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the servers
    while True:
        folder, descriptors, _, _ = socket.recv_fds(requests, MAX_PATH, 1)
        if not folder:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sys.path.insert(0, folder.decode())
            fork_server.main(socket.socket(fileno=descriptors[0]))
            return
        os.close(descriptors[0])


if __name__ == "__main__":
    main()
