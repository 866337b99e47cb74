"""Creates inputs and runs those of the configuration. A reload replaces only those that differ.

The client library of a broker is imported only when a queue of its kind is configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from notifier.core.errors import NotifierError
from notifier.inputs.broker import Broker
from notifier.inputs.consumer import QueueInput

K = TypeVar("K", bound=Hashable)


class Inputs(Generic[K]):
    """Owns the tasks of the inputs. The caller chooses their keys, for example their configuration."""

    def __init__(self) -> None:
        self._inputs: dict[K, QueueInput[Any]] = {}
        self._running: dict[K, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def __contains__(self, key: object) -> bool:
        return key in self._inputs

    def __getitem__(self, key: K) -> QueueInput[Any]:
        return self._inputs[key]

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self.set(self._inputs)
            await asyncio.get_running_loop().create_future()

    def set(self, inputs: Mapping[K, QueueInput[Any]]) -> None:
        """Run these inputs and no others. An input that stays the same object goes on undisturbed."""
        before, self._inputs = self._inputs, dict(inputs)
        if self._tasks is None:
            return
        for key in [key for key in self._running if inputs.get(key) is not before.get(key)]:
            self._running.pop(key).cancel()
        for key, each in inputs.items():
            if key not in self._running:
                self._running[key] = self._tasks.create_task(each.run(), name=f"input {each.name}")

    def problems(self) -> dict[str, str | None]:
        """Return by name the reason why an input brings nothing at the moment; None if nothing is known to be wrong.

        Inputs may have the same name, as two subjects of a NATS stream do: one that is well does not speak for another.
        """
        found: dict[str, str | None] = {}
        for each in self._inputs.values():
            known = found.get(each.name)
            both = known is not None and each.problem is not None and each.problem not in known
            found[each.name] = f"{known}; {each.problem}" if both else known or each.problem
        return found

    async def stop(self) -> None:
        """Stop all inputs; return once they have ended."""
        ending = list(self._running.values())
        self.set({})
        if ending:
            await asyncio.wait(ending)


class MissingExtra(NotifierError):
    """A client library is not installed."""


def redis_broker(*, url: str, stream: str, group: str) -> Broker[Any]:
    """Return a Redis stream. Raises MissingExtra, or NotifierError for a URL that cannot be used."""
    broker: Broker[Any] = _load("redis", "redis").RedisBroker(url=url, stream=stream, group=group)
    return broker


def nats_broker(*, url: str, stream: str, subject: str, durable: str) -> Broker[Any]:
    """Return a NATS JetStream stream. Raises MissingExtra."""
    broker: Broker[Any] = _load("nats", "nats").NatsBroker(url=url, stream=stream, subject=subject, durable=durable)
    return broker


def amqp_broker(*, url: str, queue: str) -> Broker[Any]:
    """Return an AMQP queue. Raises MissingExtra, or NotifierError for a URL that cannot be used."""
    broker: Broker[Any] = _load("amqp", "aio_pika").AmqpBroker(url=url, queue=queue)
    return broker


def _load(kind: str, library: str) -> Any:
    try:
        import_module(library)
    except ModuleNotFoundError as exc:
        raise MissingExtra(
            f"a queue of the kind {kind} needs its client library: install notifier's extra '{kind}'"
        ) from exc
    return import_module(f"notifier.inputs.{kind}")
