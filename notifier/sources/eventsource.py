"""One connection of an event stream: aiohttp-sse-client's EventSource, with its connecting and reading replaced.

It connects once and reads to the end; when to connect again is not decided here. What was received before a connection
broke is handed out before the error is raised.
"""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
from aiohttp_sse_client.client import READY_STATE_CLOSED, EventSource, MessageEvent

from notifier.core.errors import DecodeError, SourceError, Unreadable
from notifier.core.eventstream import Decoder, Framing, StreamEvent
from notifier.runtime.aiohttp_private import abort, connection_closed, read_buffered
from notifier.sources.http import FAULTS, fetch, translated
from notifier.sources.request import Request

MAX_BODY = 1 << 20  # bytes of a reply that is one snapshot; as much as an event of a stream may hold


class EventConnection(EventSource):  # type: ignore[misc]  # the library is untyped
    """One connection to an event stream, or to what turns out to be a single JSON snapshot.

    `async for` yields MessageEvents, as its base does. `receive` gives the same events by the chunk, undecoded.
    """

    _response: aiohttp.ClientResponse | None
    _kwargs: dict[str, object]

    def __init__(
        self, request: Request, *, session: aiohttp.ClientSession, framing: Framing, tls: ssl.SSLContext | bool = True
    ) -> None:
        super().__init__(request.url, option={"method": request.method}, session=session, headers=request.headers)
        self._request: Request | None = request
        self._tls = tls
        self._decoder = Decoder(framing=framing)
        self._content: aiohttp.StreamReader | None = None  # None: nothing more will arrive
        self._body: bytes | None = None
        self._finished = False  # the decoder was told of the end
        self._error: SourceError | None = None  # raised once all that was received has been handed out
        self._messages: list[MessageEvent] = []  # in reverse
        self.single = False  # the reply is one JSON snapshot, not a stream
        self.partial = False  # what `receive` returned last was a line without its end

    @property
    def last_event_id(self) -> str:
        """Return the ID of the last event that had one."""
        return self._decoder.last_event_id

    @property
    def retry(self) -> float | None:
        """Return the seconds that the stream asked us to wait before connecting again."""
        return None if self._decoder.retry is None else self._decoder.retry / 1000

    async def connect(self, retry: int = 0) -> None:  # noqa: ARG002  # the base's signature; nothing is retried here
        """Connect once. Raises SourceError; then, and when cancelled, nothing stays open."""
        assert self._request is not None, "a connection connects once"
        try:
            response = self._response = await fetch(self._session, self._request, tls=self._tls)
            self._origin = str(response.url.origin())
            content_type = response.content_type
            if content_type == "text/event-stream":
                self._watch(response)
            elif content_type == "application/json" or content_type.endswith("+json"):
                self.single = True
                self._body = await _body(response)
                self._finished = True
                self._drop()
            else:
                said = response.headers.get("Content-Type", "none")[:100]
                raise Unreadable(f"the upstream answers with content type {said!r}, not an event stream")
        except BaseException:
            await self._fail_connect()  # the base's: waits for nothing
            self.release()
            raise
        await self._connected()
        self._request, self._kwargs = None, {}

    async def receive(self) -> list[StreamEvent] | None:
        """Wait for bytes and return the events that they complete; None at the end of the stream.

        Raises SourceError when the connection or a limit was broken, after all events before that.
        """
        if self._body is not None:
            body, self._body = self._body, None
            return [StreamEvent(body, "message", "")]
        if self._content is None:
            return self._end()
        try:
            chunk = await self._content.readany()
        except FAULTS as exc:
            return self._broken(exc)
        if chunk:
            return self._decode(chunk)
        self._drop()
        return self._end()

    async def __anext__(self) -> MessageEvent:
        """Return the next event; ends and raises like `receive`."""
        while not self._messages:
            events = await self.receive()
            if events is None:
                raise StopAsyncIteration
            self._messages = [
                MessageEvent(event.type, event.type, event.text, self._origin, event.last_event_id)
                for event in reversed(events)
            ]
        return self._messages.pop()

    async def close(self) -> None:
        """Let go of the connection."""
        self.release()

    def release(self) -> None:
        """Let go of the connection at once, and forget what was not yet handed out. May be repeated."""
        self._ready_state = READY_STATE_CLOSED
        self._finished, self._error, self._body = True, None, None
        self._drop()

    def _drop(self) -> None:
        """Close the connection without waiting for the peer, as TLS would for its goodbye."""
        self._content = None
        response, self._response = self._response, None
        if response is not None:
            abort(response)

    def _watch(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        if (closed := connection_closed(response)) is not None:
            closed.add_done_callback(self._lost)

    def _lost(self, closed: asyncio.Future[None]) -> None:
        """Wake the reader: where a reply breaks the framing of HTTP itself, aiohttp lets it wait for ever."""
        _ = closed.cancelled() or closed.exception()  # seen: the reader is told in its own way
        content = self._content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError())

    def _decode(self, chunk: bytes) -> list[StreamEvent]:
        try:
            events = self._decoder.feed(chunk)
        except DecodeError:
            events = []
        if self._decoder.error is not None:
            self._over_limit(self._decoder.error)
        return events

    def _broken(self, exc: Exception) -> list[StreamEvent] | None:
        """Take what arrived before the connection broke: aiohttp raises the error first and keeps the bytes."""
        content = self._content
        if content is None:  # it was we who let go
            return self._end()
        self._error = translated(exc)
        self._error.__cause__ = exc.with_traceback(None)  # whose frames would keep this connection alive
        events: list[StreamEvent] = []
        while self._decoder.error is None and (rest := read_buffered(content)):
            events += self._decode(rest)
        self._drop()
        return events

    def _end(self) -> list[StreamEvent] | None:
        """Return the rest of what was received, then raise or tell the end, as often as asked."""
        if not self._finished:
            self._finished = True
            try:
                events = self._decoder.finish()
            except DecodeError as exc:
                events = []
                self._over_limit(exc)
            if events:
                self.partial = True
                return events
        if self._error is not None:
            raise self._error
        return None

    def _over_limit(self, exc: DecodeError) -> None:
        self._error = Unreadable(str(exc))
        self._drop()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    try:
        while chunk := await response.content.readany():
            body += chunk
            if len(body) > MAX_BODY:
                raise Unreadable(f"the upstream answers with more than {MAX_BODY} bytes of JSON")
    except FAULTS as exc:
        raise translated(exc) from exc
    return bytes(body)
