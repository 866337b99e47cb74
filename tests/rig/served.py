"""A small server of a test: an application of aiohttp at a port of its own, until its block ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


@asynccontextmanager
async def served(app: web.Application, *, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """Serve; yield the base URL. `options` are those of `web.AppRunner`."""
    runner = web.AppRunner(app, **{"access_log": None, "shutdown_timeout": 0.1} | options)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
