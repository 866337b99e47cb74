"""Copies of the program with a bug in them, and processes that run one."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fork_servers import fork_server

import notifier
from judge.bugs import Bug

ROOT = Path(notifier.__file__).parent
SERVER = Path(__file__).with_name("warm.py")


def plant(bug: Bug | None, folder: Path) -> None:
    """Copy the program into a folder, with a bug."""
    copy = folder / ROOT.name
    shutil.copytree(ROOT, copy)
    for change in () if bug is None else bug.changes:
        file = copy / change.file
        text = file.read_text(encoding="utf-8")
        assert text.count(change.old) == 1, f"{bug.name if bug else ''}: {change.file} has other words by now"
        file.write_text(text.replace(change.old, change.new), encoding="utf-8")


@contextmanager
def serving_forks(folder: Path) -> Iterator[socket.socket]:
    """Yield the socket of a process that has imported the copy in a folder, and starts it by fork."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            socket.send_fds(fork_server(SERVER), [os.fsencode(folder)], [theirs.fileno()])
        yield ours
