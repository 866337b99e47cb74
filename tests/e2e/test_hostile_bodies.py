"""Harmful requests cost little: each is refused, and a thousand streams go on undisturbed."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterable

import psutil
import pytest
from daemon_process import SECRET, Daemon, Start, config, webhook
from waits import PATIENCE

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

STREAMS = 1000
TURNS = 4  # each hostile request meets the changes of a fourth of them
GROWTH = 150 << 20  # bytes of memory that all of it may cost: one body's worth of values and what the allocator keeps
MANY = 100 << 20  # bytes of a body
PIECE = b" " * (64 << 10)
JSON = "content-type: application/json"


def whole(body: bytes, *headers: str) -> list[bytes]:
    """Make a request that tells its length."""
    return [_head(f"content-length: {len(body)}", *(headers or (JSON,))), body]


def _head(*lines: str) -> bytes:
    named = ["POST /v1/watches HTTP/1.1", "host: 127.0.0.1", *lines]
    return "\r\n".join(named).encode() + b"\r\n\r\n"


def _endless(*, chunked: bool) -> Iterable[bytes]:
    yield _head("transfer-encoding: chunked" if chunked else f"content-length: {MANY}", JSON)
    for _ in range(MANY // len(PIECE)):
        yield b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    yield b"0\r\n\r\n" if chunked else b""


HOSTILE: dict[str, tuple[Iterable[bytes], set[int]]] = {
    "deep lists": (whole(b"[" * 4_000_000), {400}),
    "deep mappings": (whole(b'{"a":' * 800_000), {400}),
    "deep and complete": (whole(b'{"id": "1", "metadata": ' + b"[" * 900 + b"]" * 900 + b"}"), {400, 422}),
    "100 MB": (_endless(chunked=False), {413}),
    "100 MB of unknown length": (_endless(chunked=True), {413}),
    "very many values": (whole(b"[" + b"[]," * 1_200_000 + b"[]]"), {413}),
    "very many wrong ones": (whole(b"[" + b"{}," * 900_000 + b"{}]"), {400}),
    "a number without end": (whole(b"[" + b"9" * 1_000_000 + b"]"), {400}),
    "not UTF-8": (whole(b'{"id": "\xff\xfe"}'), {400}),
    "half a surrogate": (whole(b'{"id": "\\ud800"}'), {422}),
    "a bomb": (whole(gzip.compress(b" " * (1 << 20)) * (MANY >> 20), JSON, "content-encoding: gzip"), {415}),
    "10,000 headers": (whole(b'"1"', JSON, *(f"x-{number}: {number}" for number in range(10_000))), {400, 431}),
    "a header without end": (whole(b'"1"', JSON, "x-long: " + "x" * 1_000_000), {400, 431}),
    "a length that is none": ([_head("content-length: -1", JSON)], {400}),
    "two lengths": ([_head("content-length: 3", "content-length: 4", JSON), b'"1"1'], {400}),
    "a length and chunks": ([_head("content-length: 3", "transfer-encoding: chunked", JSON), b"0\r\n\r\n"], {400}),
    "chunks that are none": ([_head("transfer-encoding: chunked", JSON), b"zz\r\n"], {400}),
    "no HTTP": ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"], {400}),
} | {
    f"a wrong type: {body.decode()[:30]}": (whole(body), {422})
    for body in (
        *(b"null", b"true", b"1.5", b"[[1]]", b"[null]", b'{"id": {}}', b'{"id": null}', b'{"id": ["1"]}'),
        *(b'{"id": "1", "labels": [1]}', b'{"id": "1", "labels": {"a": {}}}', b'{"id": "1", "endpoints": "app"}'),
        *(b'{"id": "1", "endpoints": [{}]}', b'{"id": "1", "source": 5}', b'{"id": "1", "unheard": 1}'),
    )
}


async def ask(daemon: Daemon, pieces: Iterable[bytes]) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it is; return status, headers and body of the answer, which may come before its end."""
    host, _, port = daemon.settings["http"]["listen"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def send() -> None:
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass  # it was refused before its end

    sending = asyncio.create_task(send(), name="hostile request")
    try:
        async with asyncio.timeout(60):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            return int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
    finally:
        sending.cancel()
        await asyncio.wait({sending})
        writer.close()


@pytest.fixture
async def flowing(daemons: Start) -> AsyncIterator[tuple[Daemon, Simulator, Listener]]:
    """Run a daemon with a thousand open streams, which are moved by hand."""
    async with Simulator(transcript=Transcript(snapshots=())) as sim, Listener(secrets=[SECRET], keep=100_000) as ears:
        ids = [str(number) for number in range(STREAMS)]
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=ids))
        await daemon.start()
        await sim.wait_open(STREAMS, timeout=PATIENCE)
        yield daemon, sim, ears


@pytest.mark.slow
async def test_hostile_requests_are_refused_while_a_thousand_streams_flow(
    flowing: tuple[Daemon, Simulator, Listener],
) -> None:
    """Each answer is a documented problem, streams tell their changes meanwhile, and memory stays bounded."""
    daemon, sim, ears = flowing
    told = 0

    async def move(turn: int, numbers: range) -> None:
        nonlocal told
        for number in numbers:
            sim.push(str(number), f"step-{turn}")
        told += len(numbers)
        await ears.wait(told, timeout=PATIENCE)

    await move(-1, range(STREAMS))  # everything that a daemon does was done once
    await ask(daemon, whole(b"null"))
    before = psutil.Process(daemon.pid).memory_info().rss
    _, document = await daemon.get("/v1/openapi.json")
    documented = {int(status) for status in json.loads(document)["paths"]["/v1/watches"]["post"]["responses"]}
    peak = before
    for turn, (name, (pieces, expected)) in enumerate(HOSTILE.items()):
        asking = asyncio.create_task(ask(daemon, pieces), name=name)
        await move(turn, range(turn % TURNS, STREAMS, TURNS))
        status, headers, body = await asking
        assert status in expected, name
        assert headers["content-type"].startswith("application/problem+json"), name
        assert json.loads(body)["status"] == status, name
        assert status in documented, name
        peak = max(peak, psutil.Process(daemon.pid).memory_info().rss)
    assert peak - before < GROWTH
    assert sim.open_streams == STREAMS
    assert {task.connections for task in sim.tasks.values()} == {1}
    assert len({callback.id for callback in ears.callbacks}) == told
    assert daemon.rows("SELECT count(*) FROM watches") == [(STREAMS,)]
    assert await daemon.stop() == 0
    assert "Traceback" not in "\n".join(daemon.log.lines)


@pytest.mark.slow
async def test_bodies_that_never_end_hold_nobody_up(flowing: tuple[Daemon, Simulator, Listener]) -> None:
    """Two hundred senders that drip cost a connection each, and nothing else."""
    daemon, sim, ears = flowing
    host, _, port = daemon.settings["http"]["listen"].rpartition(":")
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
    for turn in range(3):
        for _, writer in slow:
            writer.write(b" " if turn else _head("content-length: 1000", JSON))
        for number in range(STREAMS):
            sim.push(str(number), ("queueing", "processing")[turn % 2])
        await ears.wait(STREAMS * (turn + 1), timeout=PATIENCE)
        assert (await daemon.get("/v1/watches?limit=1"))[0] == 200
    for _, writer in slow:
        writer.close()
    assert await daemon.stop() == 0
