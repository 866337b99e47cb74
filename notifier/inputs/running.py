"""Runs the inputs that are wanted now; a reload exchanges those that differ and leaves the others alone."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from notifier.inputs.input import Input

K = TypeVar("K", bound=Hashable)


class Inputs(Generic[K]):
    """Owns the inputs' tasks. What an input is known by is the caller's: its configuration, say."""

    def __init__(self) -> None:
        self._wanted: dict[K, Input] = {}
        self._running: dict[K, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def __contains__(self, key: object) -> bool:
        return key in self._wanted

    def __getitem__(self, key: K) -> Input:
        return self._wanted[key]

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self.set(self._wanted)
            await asyncio.get_running_loop().create_future()

    def set(self, inputs: Mapping[K, Input]) -> None:
        """Run these and no others. One that stays the same object goes on untouched."""
        before, self._wanted = self._wanted, dict(inputs)
        if self._tasks is None:
            return
        for key in [key for key in self._running if inputs.get(key) is not before.get(key)]:
            self._running.pop(key).cancel()
        for key, each in inputs.items():
            if key not in self._running:
                self._running[key] = self._tasks.create_task(each.run(), name=f"input {each.name}")

    async def stop(self) -> None:
        """Run none any more; return once all have ended."""
        ending = list(self._running.values())
        self.set({})
        if ending:
            await asyncio.wait(ending)
