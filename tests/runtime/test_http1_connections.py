"""Connections are kept, counted, and closed by whatever speaks against using them again."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from waits import PATIENCE, until

from notifier.core.callback import CallbackPolicy
from notifier.runtime.http1 import (
    ConnectFault,
    Connection,
    CutShort,
    ForbiddenAddress,
    HttpFault,
    Lost,
    NameFault,
    Pool,
    Route,
)
from notifier.runtime.http1.connection import READ_AHEAD
from notifier.runtime.http1.names import Names

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Route]:
    """Answer each request of a connection, with its number; yield the way to it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for number in range(1000):
                await reader.readuntil(b"\r\n\r\n")
                await answer(number, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer), name="server"))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield Route(host="127.0.0.1", port=server.sockets[0].getsockname()[1], tls=None)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def says_ok(_number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


@asynccontextmanager
async def pool(*, limit: int = 0, keep: float = 60.0, max_idle_routes: int = 0) -> AsyncIterator[Pool]:
    """Make a pool; closed in the end."""
    made = Pool(limit=limit, keep=keep, max_idle_routes=max_idle_routes)
    try:
        yield made
    finally:
        made.close()


async def ask(pool: Pool, route: Route) -> Connection:
    """Make one exchange; return the connection, which is given back."""
    connection = pool.idle(route) or await pool.dial(route)
    try:
        connection.ask(ASK)
        async with asyncio.timeout(PATIENCE):
            await connection.wait(100)
        assert connection.reply.take() == b"ok"
    finally:
        pool.give_back(route, connection)
    return connection


async def test_a_connection_is_used_again() -> None:
    """As long as its replies say nothing else."""
    async with serving(says_ok) as route, pool() as lent:
        first = await ask(lent, route)
        assert (first.used, lent.idle_routes) == (True, 1)
        assert await ask(lent, route) is first
    await until(lambda: first.closed)


async def test_closing_refuses_all_that_wait_for_a_connection() -> None:
    """At once: what is lent may be given back much later."""
    async with serving(says_ok) as route, pool(limit=1) as lent:
        connection = await lent.dial(route)
        waiting = [asyncio.create_task(lent.dial(route), name="dial") for _ in range(3)]
        await until(lambda: len(lent._waiting) == 3)
        lent.close()
        for fault in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(fault, ConnectFault)
        assert connection.closed


async def test_an_idle_connection_that_hears_something_is_closed() -> None:
    """Nobody asked for it, so the next reply could not be trusted."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(OK)

    async with serving(answer) as route, pool() as lent:
        first = await ask(lent, route)
        writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
        await until(lambda: first.closed)
        assert await ask(lent, route) is not first


async def test_idle_connections_are_closed_after_a_while() -> None:
    """Each by its own age, and the pool is empty then."""
    async with serving(says_ok) as one, serving(says_ok) as two, pool(keep=0.05) as lent:
        connections = [await ask(lent, one), await ask(lent, two)]
        await until(lambda: all(each.closed for each in connections))
        await until(lambda: lent.idle_routes == 0)
        assert not (await ask(lent, one)).closed


async def test_idle_connections_are_kept_to_a_bounded_number_of_places() -> None:
    """The connection to one place more is closed after its reply."""
    async with serving(says_ok) as one, serving(says_ok) as two, pool(max_idle_routes=1) as lent:
        kept, closed = await ask(lent, one), await ask(lent, two)
        assert (kept.closed, closed.closed, lent.idle_routes) == (False, True, 1)
        assert await ask(lent, one) is kept


async def test_no_more_connections_are_lent_than_the_limit_says() -> None:
    """Who waits gets its turn when one is given back, and who is cancelled meanwhile takes nobody's."""
    async with serving(says_ok) as route, pool(limit=1) as lent:
        first = await lent.dial(route)
        assert lent.idle(route) is None
        waiting = [asyncio.create_task(lent.dial(route), name="dial") for _ in range(3)]
        await asyncio.sleep(0)
        lent.give_back(route, first)  # calls the first that waits
        waiting[0].cancel()
        done, _ = await asyncio.wait({waiting[1]}, timeout=PATIENCE)
        assert waiting[1] in done
        assert waiting[1].result() is first
        assert not waiting[2].done()
        waiting[2].cancel()
        await asyncio.wait(waiting)


async def test_a_connection_that_could_not_be_made_lets_another_try() -> None:
    """The limit counts those that exist."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        nobody = Route(host="127.0.0.1", port=unheard.getsockname()[1], tls=None)
        async with pool(limit=1) as lent:
            ends = await asyncio.gather(*(lent.dial(nobody) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(end, ConnectFault) and not end.proxy for end in ends)


async def test_closing_the_pool_closes_what_is_lent() -> None:
    """Its user sees that the connection is lost; none is made any more."""

    async def silent(_number: int, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as route, pool() as lent:
        connection = await lent.dial(route)
        connection.ask(ASK)
        waiting = asyncio.create_task(connection.wait(0), name="wait")
        await asyncio.sleep(0)
        lent.close()
        with pytest.raises(Lost):
            await waiting
        lent.give_back(route, connection)
        with pytest.raises(ConnectFault):
            await lent.dial(route)


async def test_a_deadline_ends_the_waiting() -> None:
    """And a cancellation, too; the connection is not given to others then."""

    async def silent(_number: int, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as route, pool() as lent:
        connection = await lent.dial(route)
        connection.ask(ASK)
        with pytest.raises(TimeoutError):
            await connection.wait(0, asyncio.get_running_loop().time() + 0.01)
        lent.give_back(route, connection)
        assert connection.closed
        assert lent.idle(route) is None


async def test_a_body_nobody_takes_is_not_read_on() -> None:
    """The other end is held up; all of it comes once it is taken."""
    size, sent = 8 << 20, asyncio.Event()

    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            writer.write(b"x" * (1 << 16))
            await writer.drain()
        sent.set()

    async with serving(answer) as route, pool() as lent:
        connection = await lent.dial(route)
        connection.ask(ASK)
        await connection.wait(0)
        await until(lambda: connection.reply.size > READ_AHEAD)
        await asyncio.sleep(0.05)  # nothing tells that no more will come
        assert connection.reply.size < size // 8
        assert not sent.is_set()
        taken = 0
        while not connection.reply.over or connection.reply.size:
            await connection.wait(1)
            taken += len(connection.reply.take())
        assert taken == size
        lent.give_back(route, connection)
        assert not connection.closed


async def test_a_connection_whose_request_is_not_written_is_not_used_again() -> None:
    """A server may answer before it has read all; the rest of the request would come before the next one."""

    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        await asyncio.Event().wait()  # reads no more

    async with serving(answer) as route, pool() as lent:
        connection = await lent.dial(route)
        connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 << 20) + b"x" * (64 << 20))
        await connection.wait(100)
        assert connection.reply.take() == b"ok"
        lent.give_back(route, connection)
        assert connection.closed


async def test_a_body_that_breaks_leaves_what_came() -> None:
    """Its reader may need it."""

    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with serving(answer) as route, pool() as lent:
        connection = await lent.dial(route)
        connection.ask(ASK)
        with pytest.raises(CutShort):
            await connection.wait(9)
        assert connection.reply.take() == b"half"


class NameServer:
    """Answers in place of the system's resolver, which cannot be pointed at a name server without rights."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = threading.Event()
        self.fault: OSError | None = None

    def getaddrinfo(self, _host: str, port: int, *_: int) -> list[tuple[object, ...]]:
        self.asked += 1
        self.go_on.wait(PATIENCE)
        if self.fault is not None:
            raise self.fault
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", port)) for last in (1, 2)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    return server


async def test_a_name_is_asked_for_once_at_a_time_and_its_answer_kept(names: NameServer) -> None:
    """One that waits may leave; the addresses are used in turns."""
    asked = Names()
    first, second = (asyncio.create_task(asked.addresses("a.example", 80), name="lookup") for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    names.go_on.set()
    assert [info[4][0] for info in await second] == ["127.0.0.1", "127.0.0.2"]
    assert asked.knows("a.example", 80)
    assert not asked.knows("a.example", 81)
    assert [info[4][0] for info in await asked.addresses("a.example", 80)] == ["127.0.0.2", "127.0.0.1"]
    assert names.asked == 1


async def test_kept_answers_are_bounded(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes."""
    monkeypatch.setattr("notifier.runtime.http1.names.MAX_KEPT", 1)
    names.go_on.set()
    asked = Names()
    await asked.addresses("a.example", 80)
    await asked.addresses("b.example", 80)
    assert (asked.knows("a.example", 80), asked.knows("b.example", 80)) == (False, True)


async def test_a_name_that_was_not_found_is_asked_for_again(names: NameServer) -> None:
    """An error is not kept, and leaves no exception that nobody looks at."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    names.fault = socket.gaierror(socket.EAI_AGAIN, "x")
    names.go_on.set()
    async with pool() as lent:
        for _ in range(2):
            with pytest.raises(NameFault):
                await lent.dial(Route(host="a.example", port=1, tls=None))
    gc.collect()
    assert names.asked == 2
    assert not complaints


async def test_the_address_that_was_vetted_is_the_one_that_is_connected_to(names: NameServer) -> None:
    """Of several addresses those that pass; if none does, the reason."""
    names.go_on.set()
    passing = Names(CallbackPolicy(allow_networks=[ip_network("127.0.0.2")]))
    assert [info[4][0] for info in await passing.addresses("a.example", 80)] == ["127.0.0.2"]
    for host in ("a.example", "127.0.0.1", "::1"):
        with pytest.raises(ForbiddenAddress, match="loopback"):
            await Names(CallbackPolicy()).addresses(host, 80)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, "TimeoutError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "CutShort"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n", "BrokenFraming"),
        (b"no reply\r\n\r\n", "BadHead"),
        (b"", "Lost"),
    ],
)
async def test_a_fault_leaves_nothing_for_a_garbage_collection(answer: bytes | None, fault: str) -> None:
    """Collections are rare: the requests of attempts that failed would fill the memory until then."""

    async def give(_number: int, writer: asyncio.StreamWriter) -> None:
        if answer is None:
            await asyncio.Event().wait()
            return
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def fail(lent: Pool, route: Route) -> str:
        connection = await lent.dial(route)
        try:
            connection.ask(ASK)
            loop = asyncio.get_running_loop()
            await connection.wait(100, loop.time() + (PATIENCE if answer is not None else 0.05))
        except (HttpFault, TimeoutError) as exc:
            return type(exc).__name__
        finally:
            lent.give_back(route, connection)
        return "complete"

    gc.collect()
    gc.disable()
    try:
        async with serving(give) as route, pool() as lent:
            assert await fail(lent, route) == fault
            for _ in range(10):  # rounds of the loop, which tells the connection in one of the next that it is closed
                await asyncio.sleep(0)
            assert not any(isinstance(each, Connection) for each in gc.get_objects())
    finally:
        gc.enable()
