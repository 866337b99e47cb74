"""Requests begin one after another, so that a flood of them keeps neither probes nor the work of the daemon waiting."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path

import pytest
from site_running import Site, running
from structlog.testing import capture_logs
from waits import PATIENCE, until

from notifier.web.server import Turns
from notifier.web.status import StatusReport

CLIENTS = 40
LEAVING = 200  # clients with one request each
EACH = 50  # requests of a client, all sent at once


async def test_one_turn_in_each_round_in_the_order_asked_for() -> None:
    turns, begun = Turns(), list[int]()

    async def take(number: int) -> None:
        await turns.wait()
        begun.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(take(number))
        before = 0
        while len(begun) < 10:
            await asyncio.sleep(0)
            assert len(begun) <= before + 1
            before = len(begun)
    assert begun == list(range(10))


async def test_a_turn_that_nobody_waits_for_is_at_once() -> None:
    """Also after others were given, and when the one who waited for it has gone."""
    turns = Turns()
    await turns.wait()
    gone = asyncio.create_task(turns.wait())
    after = asyncio.create_task(turns.wait())
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(PATIENCE):
        await after
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    alone = turns.wait()
    with pytest.raises(StopIteration):
        alone.send(None)


async def connect(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = (site.app.address or "").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_pipelined_requests_of_many_clients_begin_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own round of the loop, though each client has sent all its requests."""
    made: list[int] = []  # the rounds in which an answer was made
    current = 0

    async def noted(_: StatusReport) -> bytes:
        made.append(current)
        return b""

    async def count() -> None:
        nonlocal current
        while True:
            await asyncio.sleep(0)
            current += 1

    monkeypatch.setattr(StatusReport, "metrics", noted)
    async with running(tmp_path) as site:
        clients = [await connect(site) for _ in range(CLIENTS)]
        counting = asyncio.create_task(count())
        for _, writer in clients:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * EACH)
        await until(lambda: len(made) > CLIENTS * 3)
        most = max(Counter(made).values())
        for _, writer in clients:
            writer.close()
        counting.cancel()
        await asyncio.wait({counting})
    assert most <= 2  # one before the count of a round, one behind it


@pytest.mark.parametrize("path", ["/metrics", "/v1/watches", "/v1/watches/vidu/1/wait?timeout=60"])
async def test_a_client_that_leaves_before_its_turn_is_no_error_of_ours(
    tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It sends one request, and closes its connection in order."""
    async with running(tmp_path) as site:
        host, _, port = str(site.app.address).rpartition(":")
        with capture_logs() as logs:
            for _ in range(CLIENTS):  # all of them before the daemon's next step
                with socket.create_connection((host, int(port))) as client:
                    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert (await site.get("/metrics")).status == 200  # it waits behind all of them
        assert not [each for each in logs if each["log_level"] != "debug"]
        assert not caplog.records


async def test_what_a_client_asked_for_is_not_made_once_it_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request waited for its turn; nothing is logged about it."""
    made, begun = 0, asyncio.Event()

    async def counted(_: StatusReport) -> bytes:
        nonlocal made
        made += 1
        begun.set()
        return b""

    monkeypatch.setattr(StatusReport, "metrics", counted)
    async with running(tmp_path) as site:
        with capture_logs() as logs:
            clients = [await connect(site) for _ in range(LEAVING)]
            for _, writer in clients:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await begun.wait()
            for _, writer in clients:
                writer.transport.abort()
            assert (await site.get("/v1/endpoints")).status == 200  # it waits behind all of them
        assert made <= LEAVING / 10, "those that had their turn before the loop saw that they have gone"
        assert not [each for each in logs if each["log_level"] != "debug"]
