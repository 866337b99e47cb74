"""An upstream that notes every snapshot that it sends: streams as the documented API has them, and a path to poll.

Every snapshot has a serial number of its own. Some tasks repeat their last snapshots at the beginning of each stream.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from judge import Said

from chaos.scribe import Scribe

PHASES = {
    "queueing": "queued",
    "scheduling": "queued",
    "preparation": "queued",
    "processing": "running",
    "warming": "running",  # which no preset lists: any state that is not known counts as running
    "success": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
}
MOVING = ("queueing", "scheduling", "processing", "preparation")
ENDS = ("success", "failed", "canceled")
REPEATED = 3  # snapshots that a forgetful stream begins with, the present one included
BEAT = 0.5  # seconds between comments
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LINGER = struct.pack("ii", 1, 0)  # close() sends RST


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    writer.transport.abort()


@dataclass(slots=True)
class Task:
    """A task, its latest snapshots, and its open streams by their numbers."""

    id: str
    source: str
    repeats: bool = False  # at the beginning of each stream
    latest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REPEATED))
    ended: bool = False
    streams: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)  # streams that hang
    trap: str | None = None  # the state that it takes as soon as its first stream is open, which then hangs
    away_until: float = 0.0  # until that time of the record, who asks for it gets 503
    back: str | None = None  # the state that it takes once it is asked for after that
    polled: int = 0  # serial number of the snapshot that was polled last


class Upstream:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self, scribe: Scribe) -> None:
        self.tasks: dict[str, Task] = {}
        self.port = 0
        self._scribe = scribe
        self._serial = 0
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self._beating = asyncio.create_task(self._beat(), name="upstream's comments")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop everything."""
        assert self._server is not None
        assert self._beating is not None
        self._beating.cancel()
        await asyncio.wait({self._beating})
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def open_streams(self) -> int:
        """Count the streams that are open."""
        return sum(len(task.streams) for task in self.tasks.values())

    def task(self, id_: str, *, source: str = "vidu", repeats: bool = False) -> Task:
        """Make a task, which says nothing yet."""
        made = self.tasks[id_] = Task(id_, source, repeats=repeats)
        return made

    def move(self, id_: str, state: str, *, fault: str | None = None) -> None:
        """Let a task change, and tell those who listen. A task with a fault has failed, whatever its state."""
        task = self.tasks[id_]
        self._serial += 1
        snapshot: dict[str, Any] = {"state": state, "serial": self._serial}
        if state == "failed":
            snapshot["err_code"] = "simulated"
        if fault is not None:
            snapshot["fault"] = fault
        task.latest.append(snapshot)
        task.ended = state in ENDS or fault is not None
        for number in tuple(task.streams):
            self._say(task, number, snapshot)
            if task.ended:
                self._finish(task, number)
        if not task.streams and task.source == "vidu":
            self._note(task, 0, snapshot, complete=False)  # nobody listened

    def cut(self, id_: str, how: str) -> int:
        """Cut a task's streams: `reset`, `close`, or `hang`, which says nothing more; return how many."""
        task = self.tasks[id_]
        for number, writer in tuple(task.streams.items()):
            detail: dict[str, Any] = {
                "where": "upstream",
                "how": how,
                "source": task.source,
                "task": id_,
                "connection": number,
            }
            self._scribe.did("cut", **detail)
            if how == "hang":
                task.silent.add(number)
                continue
            del task.streams[number]
            if how == "reset":
                reset(writer)
            else:
                writer.close()
        return len(task.streams)

    async def _beat(self) -> None:
        """Write a comment to all streams but those that hang, again and again."""
        while True:
            await asyncio.sleep(BEAT)
            for task in self.tasks.values():
                for number, writer in task.streams.items():
                    if number not in task.silent and not writer.transport.is_closing():
                        writer.write(b"3\r\n:-\n\r\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                url = urlsplit(head.split(b" ", 2)[1].decode())
                id_ = parse_qs(url.query).get("id", [url.path.rpartition("/")[2]])[0]
                task = self.tasks.get(id_)
                if task is None:
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                elif self._scribe.now() < task.away_until:
                    writer.write(b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n")
                elif url.path.startswith("/jobs/"):
                    self._answer(task, writer)
                else:
                    await self._stream(task, reader, writer)
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _stream(self, task: Task, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task.back is not None:
            state, task.back = task.back, None
            self.move(task.id, state)
        self._connections += 1
        number = self._connections
        writer.write(HEAD)
        task.streams[number] = writer
        present = len(task.latest) - 1
        for place, snapshot in enumerate(task.latest):
            if task.repeats or place == present:
                self._say(task, number, snapshot, history=place < present)
        if task.trap is not None:
            state, task.trap = task.trap, None
            self.cut(task.id, "hang")
            self.move(task.id, state)
        if task.ended:
            self._finish(task, number)
        try:
            await reader.read()  # to the end of the connection
        finally:
            task.streams.pop(number, None)
            task.silent.discard(number)

    def _say(self, task: Task, number: int, snapshot: dict[str, Any], *, history: bool = False) -> None:
        writer = task.streams[number]
        if number in task.silent:
            self._note(task, number, snapshot, complete=False)
            return
        data = b"data: " + json.dumps(snapshot, separators=(",", ":")).encode() + b"\n"
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        handed = not writer.transport.is_closing() and writer.transport.get_write_buffer_size() == 0
        self._note(task, number, snapshot, complete=handed, history=history)

    def _finish(self, task: Task, number: int) -> None:
        if number not in task.silent:
            writer = task.streams.pop(number)
            writer.write(b"0\r\n\r\n")
            writer.close()

    def _answer(self, task: Task, writer: asyncio.StreamWriter) -> None:
        snapshot = task.latest[-1] if task.latest else {}
        body = json.dumps(snapshot).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        if snapshot and snapshot["serial"] != task.polled:  # the same answer again says nothing more
            task.polled = snapshot["serial"]
            self._connections += 1
            self._note(task, self._connections, snapshot, complete=not writer.transport.is_closing())

    def _note(
        self, task: Task, number: int, snapshot: dict[str, Any], *, complete: bool, history: bool = False
    ) -> None:
        state = snapshot["state"]
        self._scribe.note(
            Said(
                at=self._scribe.now(), source=task.source, task=task.id, connection=number, state=state,
                phase="failed" if "fault" in snapshot else PHASES[state], body=dict(snapshot), complete=complete,
                history=history,
            )
        )  # fmt: skip
