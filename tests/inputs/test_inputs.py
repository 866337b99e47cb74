"""Running inputs, exchanging them, waiting, and what is said when something is missing or refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from broker_servers import broker_url
from input_rig import Start
from queue_places import AmqpPlace
from waits import until

from notifier.core.errors import NotifierError
from notifier.inputs import consumer
from notifier.inputs.broker import BrokerUnavailable, Message, close_in_time, describe
from notifier.inputs.consumer import QueueInput
from notifier.inputs.running import Inputs, MissingExtra, amqp_broker, nats_broker, redis_broker


class Idle(QueueInput[Any]):
    """An input that records its life."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.problem: str | None = None
        self.diary = diary

    async def run(self) -> None:
        """Wait for the end."""
        self.diary.append(f"+{self.name}")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.diary.append(f"-{self.name}")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_an_input_that_is_well_does_not_speak_for_another_of_its_name(order: tuple[int, ...]) -> None:
    """Two subjects of one stream, or the same stream of two servers: whatever is wrong is told, once."""
    made = [Idle(name, []) for name in ("nats:A", "nats:A", "nats:A", "redis:B")]
    inputs: Inputs[int] = Inputs()
    inputs.set({number: made[number] for number in order})
    assert inputs.problems() == {"nats:A": None, "redis:B": None}
    made[0].problem = "it takes a.>, and so nothing of b"
    assert inputs.problems() == {"nats:A": made[0].problem, "redis:B": None}
    made[1].problem = made[0].problem
    assert inputs.problems()["nats:A"] == made[0].problem
    made[2].problem = "refused"
    assert sorted((inputs.problems()["nats:A"] or "").split("; ")) == [made[0].problem, "refused"]


async def test_only_inputs_that_differ_are_exchanged() -> None:
    """The same object goes on; one under the same key is replaced; at the end all end."""
    diary: list[str] = []
    a, b, c = (Idle(name, diary) for name in "abc")
    inputs: Inputs[int] = Inputs()
    inputs.set({1: a, 2: b})
    task = asyncio.create_task(inputs.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert diary == ["+a", "+b"]
    assert 1 in inputs
    assert inputs[1] is a
    inputs.set({1: a, 2: c})
    for _ in range(3):
        await asyncio.sleep(0)
    assert sorted(diary[2:]) == ["+c", "-b"]
    inputs.set({})
    for _ in range(3):
        await asyncio.sleep(0)
    assert sorted(diary[4:]) == ["-a", "-c"]
    inputs.set({1: a})
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert diary[6:] == ["+a", "-a"]


def test_errors_are_told_without_credentials() -> None:
    """Whatever a library puts into its message, in whatever spelling."""
    url = "amqp://me:p%40ss%2Fw@host/v"
    text = describe(ValueError("me:p%40ss%2Fw@host refused p@ss/w\nagain"), url)
    assert text == "<secret>@host refused <secret> again"
    assert describe(ValueError("token abc"), "nats://abc@host") == "token <secret>"
    assert describe(TimeoutError(), "nats://host") == "TimeoutError"


MAKERS: dict[str, tuple[str, Callable[[], object]]] = {
    "redis": ("redis", lambda: redis_broker(url="redis://h", stream="s", group="g")),
    "nats": ("nats", lambda: nats_broker(url="nats://h", stream="s", subject="s", durable="d")),
    "amqp": ("aio_pika", lambda: amqp_broker(url="amqp://h", queue="q")),
}


@pytest.mark.parametrize("kind", list(MAKERS))
def test_a_missing_extra_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    library, make = MAKERS[kind]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=f"install notifier's extra '{kind}'"):
        make()


def test_libraries_load_only_with_a_queue_of_their_kind() -> None:
    """A daemon without queues pays for none of them."""
    code = (
        "import sys, notifier.inputs.consumer, notifier.inputs.running\n"
        "sys.exit(' '.join({'redis', 'nats', 'aio_pika'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_brokers_have_names_without_secrets() -> None:
    """Names go to logs and labels."""
    names = [
        redis_broker(url="redis://u:pass@h", stream="notifier:watches", group="g").name,
        nats_broker(url="nats://u:pass@h", stream="NOTIFIER", subject="s", durable="d").name,
        amqp_broker(url="amqp://u:pass@h", queue="notifier.watches").name,
    ]
    assert names == ["redis:notifier:watches", "nats:NOTIFIER", "amqp:notifier.watches"]


def test_a_url_that_cannot_be_used_is_refused_at_once() -> None:
    """Not at the first connection."""
    with pytest.raises(NotifierError, match="redis:s cannot be used"):
        redis_broker(url="redis://u:hidden@h?socket_timeout=soon", stream="s", group="g")


async def test_a_wrong_password_is_told_with_advice(start: Start, events: list[Any]) -> None:
    """RabbitMQ refuses; the log says what to check, and no password."""
    place = AmqpPlace(broker_url("amqp").replace("guest:guest", "guest:wr0ng"))
    start(place.broker())

    async def said() -> bool:
        return bool(events)

    await until(said, "the refusal is told")
    assert events[0]["event"] == "queue.unavailable"
    assert events[0]["hint"] == "check the user and password in the queue's url"
    assert "wr0ng" not in str(events)


class Failing:
    """A broker of which each session ends with the next of these faults, and then none."""

    name = "failing"

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.sessions = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """Fail, or have nothing to read."""
        self.sessions += 1
        if self.faults:
            raise self.faults.pop(0)
        yield self

    async def receive(self) -> Sequence[Message[Any]]:
        """Find nothing."""
        await asyncio.sleep(0)
        return []


async def test_each_kind_of_trouble_is_told_once(start: Start, events: list[Any], monkeypatch: Any) -> None:
    """A fault that is nobody's outage is told with its traceback, but not at each of a hundred tries; nor an outage."""
    monkeypatch.setattr(consumer, "BACKOFF_INITIAL", 0.0)
    away, wrong = BrokerUnavailable("away"), KeyError("wrong")
    start(Failing(away, wrong, away, wrong, wrong))

    async def recovered() -> bool:
        return bool(events) and events[-1]["event"] == "queue.recovered"

    await until(recovered, "it goes well")
    assert [event["event"] for event in events] == ["queue.unavailable", "queue.failed", "queue.recovered"]
    assert events[1]["exc_info"]


async def test_a_goodbye_that_fails_hides_nothing() -> None:
    """Whatever a library comes upon while it closes: what led to the closing is what is told."""

    async def goodbye() -> None:
        raise AttributeError("'NoneType' object has no attribute 'close'")

    await close_in_time(goodbye())
