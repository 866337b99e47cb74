"""The loop in virtual time, and the wires."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from simulation.loop import BOOTED, Agenda, Crash, Stuck, VirtualLoop
from simulation.wires import Line, Network, Plug


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop(Agenda(), Random(1), lambda _: None)


def test_time_jumps_to_what_is_due_next(loop: VirtualLoop) -> None:
    """A day of sleep takes no time, and the world's entries are due in between."""
    seen: list[float] = []
    loop.agenda.after(3600.0, lambda: seen.append(loop.time()))
    loop.run_until_complete(asyncio.sleep(86400.0))
    loop.close()
    assert seen == [pytest.approx(BOOTED + 3600.0, abs=1e-3)]
    assert loop.time() == pytest.approx(BOOTED + 86400.0, abs=1e-3)


def test_calls_keep_their_order(loop: VirtualLoop) -> None:
    """What is called soon is called in the order of asking, as on every loop."""
    seen: list[int] = []
    for number in range(50):
        loop.call_soon(seen.append, number)
    loop.run_until_complete(asyncio.sleep(1.0))
    loop.close()
    assert seen == list(range(50))


def test_a_thread_makes_its_calls_one_after_another(loop: VirtualLoop) -> None:
    """The calls of one thread keep their order, and others run between a call and the news of it."""
    seen: list[str] = []

    async def run() -> None:
        calls = [loop.call_in_thread("writer", lambda number=number: seen.append(f"call {number}")) for number in "123"]  # type: ignore[misc]
        calls[0].add_done_callback(lambda _: seen.append("told"))
        await asyncio.wait(calls)

    loop.run_until_complete(run())
    loop.close()
    assert [each for each in seen if each != "told"] == ["call 1", "call 2", "call 3"]
    assert seen.index("told") > seen.index("call 1")


def test_a_crash_comes_before_the_step_that_it_names(loop: VirtualLoop) -> None:
    """No handler sees it, and nothing runs after it."""
    seen: list[str] = []

    async def run() -> None:
        try:
            while True:
                await asyncio.sleep(1.0)
                seen.append("step")
        finally:
            seen.append("cleaned")

    task = loop.create_task(run())
    loop.crash_at = 20
    with pytest.raises(Crash):
        loop.run_forever()
    steps = list(seen)
    assert loop.steps == 20
    assert set(steps) == {"step"}
    loop.crash_at = None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def test_a_loop_that_waits_for_nothing_says_so(loop: VirtualLoop) -> None:
    """It would hang for ever."""
    waiting = loop.create_future()
    with pytest.raises(Stuck):
        loop.run_until_complete(waiting)
    loop.close()


class _Echo:
    """A place that sends back what it hears, byte by byte."""

    def opened(self, line: Line) -> None:
        def read() -> None:
            heard, line.heard = line.heard, b""
            for byte in heard:
                line.send(bytes([byte]))

        line.on_bytes = read
        read()


def test_bytes_keep_their_order_on_a_wire(loop: VirtualLoop) -> None:
    """However they are delayed and cut into pieces."""
    network = Network(loop.agenda, Random(2))
    network.add("echo.example", "10.0.0.1", _Echo())
    loop.dial = network.plug_in(loop)
    sent = bytes(range(200))

    async def run() -> bytes:
        got, done = bytearray(), loop.create_future()

        class _Protocol(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                got.extend(data)
                if len(got) == len(sent):
                    done.set_result(None)

        transport, _ = await loop.create_connection(_Protocol, sock=Plug("10.0.0.1", 80))
        for start in range(0, len(sent), 7):
            transport.write(sent[start : start + 7])
        await done
        transport.abort()
        await asyncio.sleep(0)
        return bytes(got)

    assert loop.run_until_complete(run()) == sent
    loop.close()
