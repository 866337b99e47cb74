"""A library of which a part is used is loaded in part; a new version that prevents it fails here."""

from __future__ import annotations

import asyncio
import sys

import pytest
from waits import PATIENCE

from notifier.runtime.loading_private import load_in_part

pytestmark = pytest.mark.unmeasured  # a measurement loads modules as well

AIOHTTP = """
import ssl, sys
read = []
ssl.SSLContext.set_default_verify_paths = lambda context: read.append(context)
from notifier.runtime.loading_private import load_in_part
load_in_part("aiohttp")
from aiohttp import web
import aiohttp
print("aiohttp.client" in sys.modules, len(read), aiohttp.web is web)
print(hasattr(aiohttp, "nothing"), aiohttp.ClientSession.__module__, aiohttp.hdrs.HOST)
from aiohttp import ClientTimeout
"""
PROMETHEUS = """
import sys
from notifier.runtime.loading_private import load_in_part
load_in_part("prometheus_client")
from notifier.runtime.metrics import Metrics
metrics = Metrics()
print("http.server" in sys.modules)
print(b"notifier_ready 0.0" in metrics.render())
from prometheus_client import CollectorRegistry, generate_latest
print(isinstance(metrics.registry, CollectorRegistry), generate_latest(metrics.registry) == metrics.render())
"""

THREADS = """
import sys, threading
sys.setswitchinterval(1e-6)
from notifier.runtime.loading_private import load_in_part
load_in_part("aiohttp")
load_in_part("prometheus_client")
begin = threading.Barrier(4)

def ask():
    begin.wait()
    from aiohttp import ClientSession
    from prometheus_client import REGISTRY
    print(ClientSession.__name__ + " " + type(REGISTRY).__name__ + "\\n", end="")

threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
NAMES = """
from notifier.runtime.loading_private import load_in_part
load_in_part("aiohttp")
load_in_part("prometheus_client")
import aiohttp, prometheus_client
print(aiohttp.connector.TCPConnector.__name__, prometheus_client.registry.CollectorRegistry.__name__)
from prometheus_client import *
print(Counter is prometheus_client.metrics.Counter, "Counter" in prometheus_client.__all__)
"""


async def printed(program: str) -> list[str]:
    """Run a program in a process of its own; return the lines that it prints."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().splitlines()


async def test_aiohttp_is_loaded_without_its_client() -> None:
    """Nor are the authorities read. The client is there for whoever asks for it."""
    assert await printed(AIOHTTP) == ["False 0 True", "False aiohttp.client Host"]


async def test_prometheus_client_is_loaded_without_its_servers() -> None:
    """They come with the first text; the whole package is there for whoever asks for it."""
    assert await printed(PROMETHEUS) == ["False", "True", "True True"]


async def test_threads_may_ask_at_the_same_time() -> None:
    """Each waits until all is loaded, by one of them."""
    assert await printed(THREADS) == ["ClientSession CollectorRegistry"] * 4


async def test_a_package_has_the_names_that_it_has_when_it_is_loaded_whole() -> None:
    """Its modules need no import of their own."""
    assert await printed(NAMES) == ["TCPConnector CollectorRegistry", "True True"]


def test_a_package_that_is_loaded_stays_as_it_is() -> None:
    """It may be in use."""
    before = sys.modules["asyncio"]
    load_in_part("asyncio")
    assert sys.modules["asyncio"] is before
