"""docs/receiving.md: each program on the page is run as it stands there, and told right callbacks from wrong ones.

The programs have the real clock, as those of Go have none that libfaketime reaches.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from clocks import real_time
from helper_programs import real_clock, require
from ports import free_port

from notifier.core.signing import decode_secret, sign

PAGE = Path(__file__).parent.parent / "docs" / "receiving.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PROGRAMS = {code.split("\n")[0].lstrip("/# "): code for language, code in BLOCKS if language in ("python", "js", "go")}

# An arbitrary secret, and the one of the first test vector of Standard Webhooks' libraries.
SECRET, OTHER = "whsec_" + "bm90aWZpZXItcmVjZWl2aW5nLXRlc3Rz", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"task.succeeded","data":{"sequence":1,"state":"完成","progress":0.10}}'.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A request, right unless told otherwise."""

    id: str = "msg_1"
    age: int = 0  # seconds
    claimed: int | None = None  # the age that is sent in place of the one that was signed
    secrets: tuple[str, ...] = (SECRET,)
    body: bytes = BODY
    sent: bytes | None = None  # in place of the body that was signed
    headers: Mapping[str, str | None] = field(default_factory=dict)  # in place of those that fit; None leaves one out

    def request(self) -> tuple[dict[str, str], bytes]:
        now = int(real_time())
        timestamp, claimed = now - self.age, now - (self.age if self.claimed is None else self.claimed)
        signature = sign([decode_secret(secret) for secret in self.secrets], self.id, timestamp, self.body)
        headers = {"webhook-id": self.id, "webhook-timestamp": str(claimed), "webhook-signature": signature}
        kept = {name: value for name, value in {**headers, **self.headers}.items() if value is not None}
        return kept, self.body if self.sent is None else self.sent


ACCEPTED = {
    "good": Callback(),
    "the same again": Callback(),
    "four minutes old": Callback(id="msg_2", age=240),
    "the second signature fits": Callback(id="msg_3", secrets=(OTHER, SECRET)),
    "the first signature fits": Callback(id="msg_4", secrets=(SECRET, OTHER)),
}
REFUSED = {
    "forged": Callback(secrets=(OTHER,)),
    "old": Callback(age=400),
    "from the future": Callback(age=-400),
    "a byte changed": Callback(sent=BODY.replace(b"0.10", b"0.11")),
    "a byte left out": Callback(sent=BODY.replace(b"0.10", b"0.1")),
    "empty": Callback(sent=b""),
    "under another id": Callback(headers={"webhook-id": "msg_9"}),
    "at another time": Callback(age=60, claimed=0),
    "no id": Callback(headers={"webhook-id": None}),
    "no timestamp": Callback(headers={"webhook-timestamp": None}),
    "no signature": Callback(headers={"webhook-signature": None}),
    "a timestamp that is no number": Callback(headers={"webhook-timestamp": "soon"}),
    "a timestamp beyond all numbers": Callback(headers={"webhook-timestamp": "9" * 5000}),
    "a signature that is none": Callback(headers={"webhook-signature": "v1"}),
    "a signature cut short": Callback(headers={"webhook-signature": "v1,K5oZ"}),
    "of an unknown version": Callback(headers={"webhook-signature": "v7,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="}),
}


def test_the_page_has_every_program_that_is_tested() -> None:
    assert list(PROGRAMS) == ["receive.py", "receive_standardwebhooks.py", "receive.mjs", "receive.go"]


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_of_the_page_tells_right_callbacks_from_wrong(name: str, tmp_path: Path) -> None:
    """Right ones are answered 204 and taken once, wrong ones 401 and never taken."""
    command = await prepare(name, tmp_path)
    async with serving(command, tmp_path) as (url, taken), aiohttp.ClientSession() as client:
        answers = {}
        for case, callback in {**ACCEPTED, **REFUSED}.items():
            headers, body = callback.request()
            async with client.post(url, data=body, headers=headers) as response:
                answers[case] = response.status
    assert answers == dict.fromkeys(ACCEPTED, 204) | dict.fromkeys(REFUSED, 401)
    assert taken == [f"received msg_{number} task.succeeded" for number in (1, 2, 3, 4)]


async def prepare(name: str, folder: Path) -> list[str]:
    """Write the program down, compile it if need be, and return the command that runs it."""
    (folder / name).write_text(PROGRAMS[name], encoding="utf-8")
    if name.endswith(".py"):
        return [sys.executable, name]
    tool = "node" if name.endswith(".mjs") else "go"
    path = require(tool)
    if tool == "node":
        return [path, name]
    # Compiled apart from `go run`, which would stand between us and the process to end.
    compiler = await asyncio.create_subprocess_exec(path, "build", "-o", "receive", name, cwd=folder)
    assert await compiler.wait() == 0
    return ["./receive"]


@asynccontextmanager
async def serving(command: list[str], folder: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """Run a receiver; yield its URL, and a list that has what it took in once it has ended."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**real_clock(), "PORT": str(port), "WEBHOOK_SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
    )
    taken: list[str] = []
    try:
        await listening(process, port)
        yield f"http://127.0.0.1:{port}/hooks/tasks", taken
    finally:
        if process.returncode is None:
            process.terminate()
        output, _ = await process.communicate()
        taken += [line for line in output.decode().splitlines() if line.startswith("received")]


async def listening(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until the program takes connections: it has no other way of telling."""
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, "the program ended at once"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


def test_the_statements_of_the_page_drop_repeats_and_keep_order() -> None:
    (script,) = (code for language, code in BLOCKS if language == "sql")
    remember, apply = (statement.strip() for statement in script.split(";")[:2])
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE callbacks (webhook_id TEXT PRIMARY KEY)")
    database.execute(
        "CREATE TABLE tasks (source TEXT, id TEXT, phase TEXT, sequence INTEGER, PRIMARY KEY (source, id))"
    )
    new = []
    for webhook_id, phase, sequence in [
        ("a", "queued", 1),
        ("c", "succeeded", 3),
        ("b", "running", 2),
        ("c", "failed", 4),
    ]:
        if database.execute(remember, {"webhook_id": webhook_id}).rowcount:
            new.append(webhook_id)
            database.execute(apply, {"source": "vidu", "id": "7", "phase": phase, "sequence": sequence})
    assert new == ["a", "c", "b"]
    assert database.execute("SELECT * FROM tasks").fetchall() == [("vidu", "7", "succeeded", 3)]
    database.close()
