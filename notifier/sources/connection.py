"""One connection to an event stream, or to a reply that turns out to be a single JSON snapshot.

It connects once and reads to the end; when to connect again is not decided here. Events that arrived before the
connection broke are handed out before the error is raised.
"""

from __future__ import annotations

import asyncio

from notifier.core.errors import DecodeError, SourceError, Unavailable, Unreadable
from notifier.core.eventstream import MAX_EVENT, Decoder, Framing, StreamEvent
from notifier.runtime.http1 import Pool
from notifier.sources import content
from notifier.sources.apart import SHARED, SMALL, Memory
from notifier.sources.body import BodyReader, Turns
from notifier.sources.faults import FAULTS, translated
from notifier.sources.http import DIRECT, Reply, Trail, Way, fetch
from notifier.sources.request import Request


class Connection:
    """Reads one reply as events, by the chunk and undecoded."""

    __slots__ = (
        "_body",
        "_error",
        "_finished",
        "_first",
        "_held",
        "_max_event",
        "_memory",
        "_pool",
        "_reader",
        "_reply",
        "_request",
        "_turns",
        "_unsure",
        "_way",
        "decoder",
        "origin",
        "partial",
        "redirected",
        "single",
    )

    def __init__(
        self,
        request: Request,
        *,
        pool: Pool,
        framing: Framing,
        way: Way = DIRECT,
        max_event: int = MAX_EVENT,
        turns: Turns | None = None,
        memory: Memory = SHARED,
    ) -> None:
        self._request: Request | None = request
        self._pool = pool
        self._way = way
        self._max_event = max_event
        self._turns = turns or Turns()
        self._memory = memory
        self._held = 0  # bytes of memory that count against the limit
        self._reply: Reply | None = None
        self.decoder = Decoder(framing=framing, max_line=max_event, max_event=max_event)  # also tells IDs and `retry`
        self._reader: BodyReader | None = None  # None: nothing more will arrive
        self._first = b""  # of the stream, read to find out whether it is one
        self._body: bytes | None = None
        self._unsure = False  # its content type calls it a stream, and nothing has come yet
        self._finished = False  # the decoder knows that the stream is over
        self._error: SourceError | None = None  # raised once everything received has been handed out
        self.redirected = ""  # where to, for the end of a message
        self.origin = ""  # `scheme://host[:port]` that answered, behind all redirects
        self.single = False  # the reply is one JSON snapshot, not a stream
        self.partial = False  # the last event that `receive` returned was a line without its end

    async def connect(self, timeout: float | None = None) -> None:
        """Connect once, within so many seconds. Raises SourceError.

        Nothing stays open after an error or a cancellation.
        """
        assert self._request is not None, "a connection connects once"
        with Trail() as trail:
            try:
                async with asyncio.timeout(timeout):
                    reply = self._reply = await fetch(self._pool, self._request, self._way, trail)
                    assert trail.url is not None, "it has answered"
                    self.origin, self.redirected = str(trail.url.origin()), trail.note
                    await self._begin(reply, content.kind_of(reply.fields.values_of("content-type")))
            except TimeoutError as exc:
                self.close()  # the time may have run out just after it was made
                raise Unavailable(f"the upstream did not answer within {timeout:g} s") from exc
            except BaseException:
                self.close()
                raise
        self._request = None
        reply.forget_head()

    async def _begin(self, reply: Reply, kind: content.Kind) -> None:
        reader, first, words = reply.body(self._turns), b"", ""
        if kind is content.Kind.EITHER:
            first = await self._beginning(reader)
            kind = content.beginning(first) or content.Kind.STREAM
            words = "the upstream answers with a page, not with a stream or JSON"
        elif kind is content.Kind.PAGE:  # some servers name JSON so, or name no type
            first = await self._beginning(reader)
            kind = content.Kind.JSON if content.beginning(first) is content.Kind.JSON else kind
        match kind:
            case content.Kind.STREAM:
                self._reader, self._first = reader, first
                self._unsure = not first
            case content.Kind.JSON:
                self.single = True
                self._body = await self._snapshot(reader, first)
                self._finished = True
                self._drop()
            case content.Kind.PAGE:
                raise Unavailable(words or content.refusal(reply.fields), status=reply.status)
            case content.Kind.OTHER:
                raise Unreadable(content.refusal(reply.fields), status=reply.status)
            case content.Kind.EITHER:
                raise AssertionError("decided above")

    async def _beginning(self, reader: BodyReader) -> bytes:
        """Return the first bytes of a body, up to one that is no white space."""
        first = b""
        try:
            while not first.strip() and len(first) < self._max_event and (chunk := await reader.read()):
                first += chunk
        except FAULTS as exc:
            raise translated(exc) from exc
        return first

    async def _snapshot(self, reader: BodyReader, first: bytes) -> bytes:
        body = bytearray(first)
        try:
            while chunk := await reader.read():
                body += chunk
                if len(body) > self._max_event:
                    raise Unreadable(
                        f"the upstream answers with more than {self._max_event} bytes of JSON; max_event may allow more"
                    )
                self._hold(len(body))
        except FAULTS as exc:
            raise translated(exc) from exc
        match content.beginning(body):
            case None:
                raise Unreadable("the upstream answers with an empty body")
            case content.Kind.PAGE:
                words = "the upstream answers with a page where its content type promises JSON"
                raise Unavailable(words, status=None if self._reply is None else self._reply.status)
            case _:
                return bytes(body)

    async def receive(self) -> list[StreamEvent] | None:
        """Wait for bytes and return the events that they complete; None at the end of the stream.

        Raises SourceError when the connection or a limit was broken, after all events before that.
        """
        if self._body is not None:
            body, self._body = self._body, None
            return [StreamEvent(body, "message", "")]
        if self._reader is None:
            return self._end()
        try:
            chunk = self._first or await self._reader.read()
        except FAULTS as exc:
            return self._broken(exc)
        except Unreadable as exc:
            self._over_limit(exc)
            return self._end()
        self._first = b""
        if chunk:
            return await self._begun(self._reader, chunk) if self._unsure else self._decode(chunk)
        self._drop()
        return self._end()

    async def _begun(self, reader: BodyReader, chunk: bytes) -> list[StreamEvent] | None:
        """Take the first bytes of a stream, which may turn out to be none: some servers name every body so."""
        kind = content.beginning(chunk)
        self._unsure = kind is None
        if kind is content.Kind.PAGE:
            self._over_limit(Unavailable("the upstream answers with a page where its content type promises a stream"))
        elif kind is not content.Kind.JSON:
            return self._decode(chunk)
        else:
            try:
                body = await self._snapshot(reader, chunk)
            except SourceError as exc:
                self._over_limit(exc)
            else:
                self.single = self._finished = True
                self._drop()
                return [StreamEvent(body, "message", "")]
        return self._end()

    def close(self) -> None:
        """Close the connection at once, and forget events that were not handed out. May be repeated."""
        self._finished, self._error, self._body = True, None, None
        self._drop()

    def _drop(self) -> None:
        self._reader = None
        self._hold(0)
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.close()

    def _hold(self, size: int) -> None:
        """Count the bytes that are kept for later. Raises Unavailable when all streams together hold too many."""
        held = size if size > SMALL else 0
        if held != self._held:
            if not self._memory.change(self._held, held):
                raise Unavailable("large snapshots of all streams together take too much memory for now")
            self._held = held

    def _decode(self, chunk: bytes) -> list[StreamEvent]:
        try:
            events = self.decoder.feed(chunk)
        except DecodeError:
            events = []
        if self.decoder.error is not None:
            self._over_limit(_too_large(self.decoder.error))
            return events
        if self.decoder.idle and not self._held:  # as behind nearly every chunk
            return events
        try:
            self._hold(self.decoder.buffered)
        except Unavailable as exc:
            self._over_limit(exc)
        return events

    def _broken(self, exc: Exception) -> list[StreamEvent] | None:
        """Return the events that only the end completes, or none; the error comes after them."""
        if self._reply is not None:  # otherwise we closed it ourselves
            error = translated(exc)
            error.__cause__ = exc.with_traceback(None)  # its frames would keep this connection alive
            self._error = error.behind(self.redirected)
            self._drop()
        return self._end()

    def _end(self) -> list[StreamEvent] | None:
        """Return the last events; then return None or raise the error, as often as asked."""
        if not self._finished:
            self._finished = True
            try:
                events = self.decoder.finish()
            except DecodeError as exc:
                events = []
                self._over_limit(_too_large(exc))
            if events:
                self.partial = True
                return events
        if self._error is not None:
            raise self._error
        return None

    def _over_limit(self, error: SourceError) -> None:
        self._error = error.behind(self.redirected)
        self._drop()


def _too_large(reason: object) -> Unreadable:
    return Unreadable(f"{reason}; max_event may allow more")
