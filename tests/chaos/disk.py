"""A small disk that can be filled, where the run may mount one (as root)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

SIZE = 24  # MiB


class Disk:
    """A disk for the files of one node."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._filler = place / "filler"

    async def mount(self) -> bool:
        """Mount it; return whether this may be done here."""
        self.place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "none", str(self.place)]
        done = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        return await done.wait() == 0

    async def unmount(self) -> None:
        """Take it away, with all that is on it."""
        done = await asyncio.create_subprocess_exec("umount", str(self.place))
        assert await done.wait() == 0

    def fill(self) -> None:
        """Leave no room on it."""
        with self._filler.open("ab", buffering=0) as filler:
            size = 1 << 20
            while size >= 512:
                try:
                    filler.write(bytes(size))
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def save(self, to: Path) -> Path:
        """Copy the database of its node, with its log, to where it outlives the disk."""
        for file in self.place.glob("notifier.db*"):
            shutil.copy(file, to / file.name)
        return to / "notifier.db"
