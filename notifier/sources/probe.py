"""One look at an upstream, for people: each message as it was received, beside the observation that it makes.

It follows nothing, waits for no turn and tries nothing again. Its results hold no credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from notifier.core.errors import NoContent, SourceError, Unavailable, Unreadable
from notifier.core.eventstream import StreamEvent
from notifier.core.http_head import Fields
from notifier.core.model import NONE, Observation, Phase
from notifier.sources.apart import Apart
from notifier.sources.body import Turns
from notifier.sources.connection import Connection
from notifier.sources.content import is_page
from notifier.sources.http import Trail, brief, new_pool, refusal, send
from notifier.sources.plan import Plan
from notifier.sources.request import Request
from notifier.sources.result import fetch_result
from notifier.sources.snapshot import Aside
from notifier.sources.whole import read_whole

MAX_MESSAGES = 1000  # of one look; a stream may send without end


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the upstream, and what it is read as."""

    text: str  # as received
    event: str = ""  # the name of a stream's event; empty: it has none
    observation: Observation | None = None  # None: it carries no state
    error: SourceError | None = None  # why it could not be read
    progress: float | None = None  # that it tells without a state


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The result of one look."""

    method: str
    url: str
    seconds: float
    status: int | None = None  # of the reply; None: there was none
    messages: tuple[Message, ...] = ()
    ended: bool = False  # the upstream ended its stream
    error: SourceError | None = None  # why there is no message, or no more

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Return what was observed."""
        return tuple(message.observation for message in self.messages if message.observation is not None)


async def look(
    plan: Plan, task_id: str, *, listen: float | None, longest: float, variables: Mapping[str, str] = NONE
) -> Look:
    """Ask once for a task by a poll, or read its stream; ask for the result of one that has succeeded.

    A stream is read for `listen` seconds; None: until its first snapshot, at most for `longest` seconds. Never raises
    SourceError: that is part of what is returned.
    """
    began = perf_counter()
    try:
        request = plan.template.fill(task_id, variables=variables)
    except SourceError as exc:
        return Look(method=plan.settings.preset.method, url="", seconds=0.0, error=exc)
    if plan.settings.preset.transport == "poll":
        status, messages, error = await _poll(plan, request, task_id)
        ended = False
    else:
        status, messages, ended, error = await _listen(plan, request, task_id, listen, longest)
    at = next((at for at, message in reversed([*enumerate(messages)]) if message.observation is not None), None)
    if at is not None and plan.result is not None:  # an event that ends the stream may come after it
        messages[at] = await _with_result(plan, task_id, messages[at], variables)
    return Look(
        method=request.method,
        url=plan.template.redact(str(request.url.with_user(None))),
        seconds=perf_counter() - began,
        status=status,
        messages=tuple(messages),
        ended=ended,
        error=error,
    )


async def _with_result(plan: Plan, task_id: str, message: Message, variables: Mapping[str, str]) -> Message:
    """Return a message with the result that takes a request of its own, if the task has succeeded."""
    seen = message.observation
    if seen is None or seen.phase is not Phase.SUCCEEDED:
        return message
    pool = new_pool()
    try:
        return replace(message, observation=await fetch_result(pool, plan, task_id, seen, variables, Apart()))
    except SourceError as exc:
        return replace(message, observation=replace(seen, urls=(), result_error=str(exc)))
    finally:
        pool.close()


async def _poll(plan: Plan, request: Request, task_id: str) -> tuple[int | None, list[Message], SourceError | None]:
    pool, status, body, fields = new_pool(), None, b"", Fields(b"")
    timeout, trail = plan.settings.connect_timeout, Trail()
    try:
        async with asyncio.timeout(timeout):
            reply = await send(pool, request, plan.way, trail)
            status, fields = reply.status, reply.fields
            body = await read_whole(reply, plan.settings.max_event, Turns())
        told = status
        observation = await Apart().read(len(body), lambda: plan.reader.read_reply(body, told, task_id))
        if observation is None:
            raise (
                NoContent(status=status)
                if status == 204
                else refusal(status, reply.fields, brief(body, plan.way.credentials))
            )
    except TimeoutError:
        return status, [], Unavailable(f"the upstream did not answer within {timeout:g} s").behind(trail.note)
    except SourceError as exc:
        plan.redacted(exc.behind(trail.note))
        page = isinstance(exc, Unreadable) and is_page(fields, body)
        error = Unavailable("the upstream answers with a page, not with JSON", status=status) if page else exc
        error = error.behind(trail.note) if page else error
        return status, [_message(plan, body, error=error)] if body.strip() else [], error
    finally:
        pool.close()
    return status, [_message(plan, body, observation=observation)], None


async def _listen(
    plan: Plan, request: Request, task_id: str, listen: float | None, longest: float
) -> tuple[int | None, list[Message], bool, SourceError | None]:
    settings, pool = plan.settings, new_pool()
    connection = Connection(
        request,
        pool=pool,
        framing=settings.preset.framing,
        way=plan.way,
        max_event=settings.max_event,
    )
    messages: list[Message] = []
    status: int | None = None
    try:
        async with asyncio.timeout(settings.connect_timeout):
            await connection.connect()
        status = 200
        async with asyncio.timeout(longest if listen is None else listen):
            ended = await _read(plan, connection, task_id, messages, first=listen is None)
        return status, messages, ended, None
    except TimeoutError:
        if status is None:
            return None, [], False, Unavailable(f"the upstream did not answer within {settings.connect_timeout:g} s")
        return status, messages, False, None
    except SourceError as exc:
        return status or exc.status, messages, False, exc
    finally:
        connection.close()
        pool.close()


async def _read(plan: Plan, connection: Connection, task_id: str, messages: list[Message], *, first: bool) -> bool:
    """Append the messages of a stream; return True at its end, False at the first snapshot if that is enough."""
    while (events := await connection.receive()) is not None:
        for event in events:
            if not event.data and not plan.reader.counts_without_data(event):
                continue
            message = _of_event(plan, event, task_id)
            messages.append(message)
            if event.type == plan.reader.end_event:
                return True
            if (first and message.observation is not None) or len(messages) >= MAX_MESSAGES:
                return False
    return True


def _of_event(plan: Plan, event: StreamEvent, task_id: str) -> Message:
    name = "" if event.type == "message" else event.type
    try:
        told = plan.reader.read_event(event, task_id)
    except Unreadable as exc:
        return _message(plan, event.data, event=name, error=exc)
    if isinstance(told, Aside):
        return replace(_message(plan, event.data, event=name), progress=told.progress)
    return _message(plan, event.data, event=name, observation=told)


def _message(
    plan: Plan,
    data: bytes,
    *,
    event: str = "",
    observation: Observation | None = None,
    error: SourceError | None = None,
) -> Message:
    text = plan.template.redact(data.decode("utf-8", "replace"))
    return Message(text=text, event=event, observation=observation, error=error)
