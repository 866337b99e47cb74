"""Watches from queues, with the daemon as a process: kill -9, a restarted broker, a reload, a missing password."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import redis
from broker_ways import OwnServer, Proxy
from daemon_process import Daemon, Start, config, webhook
from nats.errors import Error as NatsError
from ports import free_port
from queue_places import AmqpPlace, NatsPlace, Place, RedisPlace, ids
from waits import until

MESSAGES = 5000
CHUNK = 100  # messages that are sent at once
LOST = (redis.RedisError, NatsError, aio_pika.exceptions.AMQPError, OSError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A queue on a broker that can be restarted."""

    place: Place  # as the producer sees it
    url: str  # for the daemon
    restart: Callable[[], Awaitable[None]]


@asynccontextmanager
async def own_redis(directory: Path) -> AsyncIterator[Site]:
    """A Redis that is killed, too."""
    port = free_port()
    server = OwnServer.redis(directory, port)

    async def restart() -> None:
        await server.stop(signal.SIGKILL)
        await server.start()

    await server.start()
    try:
        place = RedisPlace(f"redis://127.0.0.1:{port}")
        yield Site(place=place, url=place.url, restart=restart)
        await place.close()
    finally:
        await server.stop()


@asynccontextmanager
async def own_nats(directory: Path, number: signal.Signals = signal.SIGTERM) -> AsyncIterator[Site]:
    """A NATS server that is told to end."""
    port = free_port()
    server = OwnServer.nats(directory, port)

    async def restart() -> None:
        await server.stop(number)
        await server.start()

    await server.start()
    try:
        place = NatsPlace(f"nats://127.0.0.1:{port}")
        await place.open()
        yield Site(place=place, url=place.url, restart=restart)
        await place.close()
    finally:
        await server.stop()


@asynccontextmanager
async def way_to_rabbitmq(_directory: Path) -> AsyncIterator[Site]:
    """The shared RabbitMQ, over a way that is closed for a while."""
    place = AmqpPlace()
    proxy = Proxy(place.url)

    async def restart() -> None:
        await proxy.close()
        await asyncio.sleep(0.3)
        await proxy.open()

    await proxy.open()
    await place.open()
    try:
        yield Site(place=place, url=proxy.url, restart=restart)
    finally:
        await place.close()
        await proxy.close()


SITES: dict[str, Callable[[Path], AbstractAsyncContextManager[Site]]] = {
    "redis": own_redis,
    "nats": own_nats,
    "nats-killed": partial(own_nats, number=signal.SIGKILL),
    "amqp": way_to_rabbitmq,
}


def settings(*queues: dict[str, Any]) -> dict[str, Any]:
    """Follow nothing in earnest: there is no upstream, and few connections are tried."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    calm = {"max_streams": 2, "backoff": {"initial": "30s", "max": "60s"}}
    return config(upstream=nowhere, endpoints={"app": webhook(nowhere)}, queues=list(queues), vidu=calm)


async def publish(place: Place) -> None:
    """Send all messages; what the broker did not confirm is sent again, as a careful producer does."""
    for start in range(0, MESSAGES, CHUNK):
        while True:
            try:
                await place.publish(*ids(start, CHUNK))
                break
            except LOST:
                await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SITES))
async def test_no_message_is_lost(kind: str, daemons: Start, tmp_path: Path) -> None:
    """The daemon is killed again and again, and the broker restarted, while 5,000 messages come in."""
    data = tmp_path / "broker"
    data.mkdir()
    async with SITES[kind](data) as site:
        daemon = daemons(settings(site.place.settings() | {"url": site.url}))
        await daemon.start()
        publishing = asyncio.create_task(publish(site.place))
        for step in range(1, 6):
            await stored(daemon, MESSAGES * step // 8)
            if step == 3:
                await site.restart()
            else:
                await daemon.kill()
                await daemon.start()
        await publishing
        await stored(daemon, MESSAGES)
        assert sorted(daemon.rows("SELECT id FROM watches")) == sorted((each.decode(),) for each in ids(0, MESSAGES))

        async def acknowledged() -> bool:
            return await site.place.left() == 0

        await until(acknowledged, "every message is acknowledged")
        assert await daemon.stop() == 0
        assert "Traceback" not in "\n".join(daemon.log.lines)


async def stored(daemon: Daemon, least: int) -> None:
    """Wait until the store has so many watches."""
    await until(lambda: daemon.rows("SELECT count(*) FROM watches")[0][0] >= least, f"{least} messages are stored")


@pytest.fixture
async def places() -> AsyncIterator[tuple[RedisPlace, AmqpPlace]]:
    """Return two queues on shared servers."""
    one, other = RedisPlace(), AmqpPlace()
    await one.open()
    await other.open()
    yield one, other
    await one.close()
    await other.close()


async def test_a_reload_exchanges_queues(daemons: Start, places: tuple[RedisPlace, AmqpPlace]) -> None:
    """A queue that is added is read, one that is taken away no longer; each is counted by its own name."""
    one, other = places
    daemon = daemons(settings(one.settings()))
    await daemon.start()
    await one.publish(b"1", b"{")
    await stored(daemon, 1)
    refused = await daemon.log.wait("queue.message_refused")
    assert refused["message"] == "data={"
    assert refused["queue"] == f"redis:{one.stream}"
    name = f'notifier_queue_messages_total{{outcome="%s",queue="redis:{one.stream}"}}'
    assert await daemon.metric(name % "accepted") == 1
    assert await daemon.metric(name % "refused") == 1
    daemon.write(daemon.settings | {"queues": [other.settings()]})
    assert (await daemon.post("/v1/reload"))[0] == 200
    await one.publish(b"2")
    await other.publish(b"3", b'{"remove": "1"}')

    async def removed() -> bool:
        series = f'notifier_queue_messages_total{{outcome="removed",queue="amqp:{other.queue}"}}'
        return await daemon.metric(series) == 1

    await until(removed, "the other queue is read")
    assert daemon.rows("SELECT id, removed_at IS NULL FROM watches ORDER BY pk") == [("1", 0), ("3", 1)]
    assert await one.left() == 1
    assert await daemon.stop() == 0


async def test_a_broker_that_is_away_stops_nothing(daemons: Start) -> None:
    """The daemon starts, tells it once without the password, and stops at once."""
    port = free_port()
    daemon = daemons(
        settings({"url": f"redis://me:hidden@127.0.0.1:{port}"}, {"url": f"nats://hidden@127.0.0.1:{port}"})
    )
    await daemon.start()
    await daemon.log.wait("queue.unavailable", 2)
    with suppress(TimeoutError):
        async with asyncio.timeout(1.5):
            await daemon.log.wait("queue.unavailable", 3)
    assert (await daemon.get("/readyz"))[0] == 200
    assert await daemon.stop() == 0
    said = "\n".join(daemon.log.lines)
    assert said.count("queue.unavailable") == 2
    assert "hidden" not in said
    assert "Traceback" not in said


async def test_a_missing_client_library_is_named(daemons: Start, tmp_path: Path) -> None:
    """A start fails with what to install; a reload is refused with it, and the running configuration stays."""
    (tmp_path / "nats.py").write_text("raise ModuleNotFoundError('as if it were not installed')")
    env = {"PYTHONPATH": str(tmp_path)}
    queue = {"url": "nats://127.0.0.1:4222"}
    daemon = daemons(settings(queue), env=env)
    finished = await daemon.run("run", "-c", "config.yaml")
    assert finished.code != 0
    assert "install notifier's extra 'nats'" in finished.err
    assert "Traceback" not in finished.err
    daemon.write(daemon.settings | {"queues": []})
    await daemon.start()
    daemon.write(daemon.settings | {"queues": [queue]})
    status, told = await daemon.post("/v1/reload")
    assert status >= 400
    assert "install notifier's extra 'nats'" in str(told)
    assert await daemon.stop() == 0
