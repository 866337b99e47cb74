"""Reads the whole body of a reply that is no stream."""

from __future__ import annotations

from notifier.core.errors import Unreadable
from notifier.sources import content
from notifier.sources.body import BodyReader, Turns
from notifier.sources.faults import FAULTS, translated
from notifier.sources.http import Reply


async def read_whole(reply: Reply, limit: int, turns: Turns) -> bytes:
    """Return the body of a reply that is no stream. Raises SourceError, and then keeps no connection."""
    try:
        if content.kind_of(reply.fields.values_of("content-type")) is content.Kind.STREAM:
            raise Unreadable("the upstream answers with an event stream, where one reply in JSON was asked for")
        return await _body(reply.body(turns), limit)
    finally:
        reply.close()


async def _body(reader: BodyReader, limit: int) -> bytes:
    body = bytearray()
    try:
        while chunk := await reader.read():
            body += chunk
            if len(body) > limit:
                raise Unreadable(f"the upstream answers with more than {limit} bytes; max_event may allow more")
    except FAULTS as exc:
        raise translated(exc) from exc
    return bytes(body)
