"""The tools as commands: they say where they are, serve until a signal, and return what they did."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from raw_client import get
from waits import PATIENCE

SIMULATOR = """
import asyncio
from notifier.tools.simulator import Simulator, serve
print(asyncio.run(serve(Simulator(token="t"))))
"""
LISTENER = """
import asyncio, sys
from rich.console import Console
from notifier.tools.listener import Listener, serve
async def main(as_json):
    summary = await serve(Listener(), console=Console(), secret="whsec_shown", as_json=as_json)
    print(summary, file=sys.stderr)
asyncio.run(main(sys.argv[1] == "json"))
"""


SIMULATE = "import sys; from notifier.cli import main; sys.argv = ['notifier', 'simulate', *sys.argv[1:]]; main()"


@asynccontextmanager
async def running(program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, which must end by itself once it was told to."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def address(output: asyncio.StreamReader | None) -> str:
    assert output is not None
    match = re.search(r"http://127\.0\.0\.1:\d+", (await output.readline()).decode())
    assert match is not None
    return match[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_simulator_serves_until_a_signal(number: signal.Signals) -> None:
    async with running(SIMULATOR) as process:
        url = await address(process.stdout)
        assert (await get(url, "/tasks/1/events")).complete
        process.send_signal(number)
        output, errors = await process.communicate()
    assert f"curl -N -H 'Authorization: Bearer t' '{url}/vidu/v1/tasks/state?id=1'" in output.decode()
    assert output.decode().endswith("1 tasks, 1 streams (at most 1 at once); stream 1\n")
    assert errors == b""


async def test_the_command_says_where_it_is_through_a_pipe() -> None:
    """At once, not when it ends: a script waits for it."""
    async with running(SIMULATE, "--port", "0", "--every", "0") as process:
        url = await address(process.stdout)
        assert (await get(url, "/tasks/1/events")).complete
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def test_the_command_prints_json_for_programs() -> None:
    """The URL in one line, the counts in another; what people copy goes to standard error."""
    async with running(SIMULATE, "--port", "0", "--every", "0", "--json") as process:
        assert process.stdout is not None
        url = json.loads(await process.stdout.readline())["url"]
        assert (await get(url, "/tasks/1/events")).complete
        process.send_signal(signal.SIGTERM)
        output, errors = await process.communicate()
    told = json.loads(output)
    assert (told["tasks"], told["connects"], told["outcomes"]) == (1, 1, {"stream": 1})
    assert f"simulating the upstream on {url}" in errors.decode()


async def test_listener_prints_each_callback_for_people() -> None:
    async with running(LISTENER, "text") as process, aiohttp.ClientSession() as session:
        url = await address(process.stdout)
        async with session.post(f"{url}/slack", json={"text": "done [bold]✓[/bold] :smile:"}) as reply:
            assert await reply.text() == "ok"
        process.send_signal(signal.SIGTERM)
        output, errors = await process.communicate()
    assert 'secrets: ["whsec_shown"]' in output.decode()
    assert " · slack done [bold]✓[/bold] :smile:\n" in output.decode()
    assert "\x1b" not in output.decode(), "colours are for terminals"
    assert errors.decode().startswith("1 callbacks (slack 1)")


async def test_listener_prints_json_and_nothing_else() -> None:
    """Its standard output is for programs; what people need to know is on standard error."""
    async with running(LISTENER, "json") as process, aiohttp.ClientSession() as session:
        url = await address(process.stderr)
        async with session.post(url, json={"type": "x" * 300}) as reply:
            assert reply.status == 200
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert json.loads(output)["type"] == "x" * 300
