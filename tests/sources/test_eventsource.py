"""The connection as the EventSource that it is: aiohttp-sse-client's public interface goes on working."""

from __future__ import annotations

import pytest
from aiohttp_sse_client.client import (
    READY_STATE_CLOSED,
    READY_STATE_CONNECTING,
    READY_STATE_OPEN,
    EventSource,
    MessageEvent,
)
from multidict import CIMultiDict
from raw_upstream import UNTIL_CLOSED_HEAD, answer, reply, serve, stay
from yarl import URL

from notifier.core.errors import TaskNotFound
from notifier.sources.eventsource import EventConnection
from notifier.sources.http import new_pool
from notifier.sources.request import Request


def request(url: str) -> Request:
    return Request(method="GET", url=URL(url), headers=CIMultiDict())


async def test_messages() -> None:
    """`async with` and `async for` yield MessageEvents to the end of the stream, and do not connect again."""
    body = b"id: 7\nevent: state\ndata: a\ndata: \xff\n\ndata: b\n\n:\n\ndata: c\n\n"
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream:
        connection = EventConnection(request(upstream.url), pool=new_pool(), framing="event")
        assert isinstance(connection, EventSource)
        assert connection.ready_state == READY_STATE_CONNECTING
        async with connection as source:
            assert source.ready_state == READY_STATE_OPEN
            messages = [message async for message in source]
        assert connection.ready_state == READY_STATE_CLOSED
        assert len(upstream.peers) == 1
    assert messages == [
        MessageEvent(type="state", message="state", data="a\n\ufffd", origin=upstream.url, last_event_id="7"),
        MessageEvent(type="message", message="message", data="b", origin=upstream.url, last_event_id="7"),
        MessageEvent(type="message", message="message", data="c", origin=upstream.url, last_event_id="7"),
    ]


async def test_a_failed_connection_is_closed() -> None:
    """An error while connecting leaves the connection closed, and reading it ends at once."""
    async with serve(reply(answer("404 Not Found"))) as upstream:
        connection = EventConnection(request(upstream.url), pool=new_pool(), framing="event")
        with pytest.raises(TaskNotFound):
            await connection.connect()
        assert connection.ready_state == READY_STATE_CLOSED
        assert [message async for message in connection] == []


async def test_close() -> None:
    """`close` ends the connection; reading on is the end of the stream."""
    async with serve(stay(UNTIL_CLOSED_HEAD)) as upstream:
        connection = EventConnection(request(upstream.url), pool=new_pool(), framing="event")
        await connection.connect()
        await connection.close()
        await connection.close()
        assert await connection.connection.receive() is None
        assert [message async for message in connection] == []
