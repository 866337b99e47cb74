"""A whole daemon in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from waits import until

from notifier import config as configuration
from notifier.daemon.app import Application


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Application]:
    """Run the daemon of a configuration until the end of the block, which begins once it is ready."""
    app = Application(path, configuration.load(path))
    task = asyncio.create_task(app.run(), name=f"daemon of {path.name}")
    try:
        await until(lambda: task.done() or (app.address is not None and app.ready() is None), "the daemon is ready")
        if task.done():
            task.result()
        yield app
    finally:
        app.stop()
        await asyncio.wait({task})
    task.result()
