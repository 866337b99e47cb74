"""The daemon, which writes the number of its tasks into a file every second: `python -m bench.counted FILE run ...`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import ClassVar

from notifier.cli import main
from notifier.daemon import app
from notifier.daemon.app import Application

EVERY = 1.0  # seconds


class CountedApplication(Application):
    """The daemon, with one task more."""

    file: ClassVar[Path]

    async def run(self) -> None:
        """Run, and count until the end."""
        counting = asyncio.create_task(self._count(), name="count tasks")
        try:
            await super().run()
        finally:
            counting.cancel()
            await asyncio.wait({counting})

    async def _count(self) -> None:
        while True:
            new = self.file.with_suffix(".new")
            new.write_text(str(len(asyncio.all_tasks())), encoding="ascii")
            new.replace(self.file)
            await asyncio.sleep(EVERY)


if __name__ == "__main__":
    CountedApplication.file = Path(sys.argv.pop(1))
    app.Application = CountedApplication  # type: ignore[misc]  # `notifier run` takes the name from there
    main()
