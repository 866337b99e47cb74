"""The source that asks for a task's state by one request after another, over connections that are kept.

It sends one request when it is told to, and reads the reply. Callers decide when to ask again and what an observation
means. Neither the log nor an error ever holds the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from notifier.core.errors import NoContent, SourceError, Unavailable, Unreadable
from notifier.core.model import NONE, Observation, Phase
from notifier.runtime.metrics import Metrics
from notifier.sources import content
from notifier.sources.body import BodyReader
from notifier.sources.faults import FAULTS, translated
from notifier.sources.http import Reply, brief, new_pool, refusal, send
from notifier.sources.plan import EXCERPT, Plan, SourceSettings
from notifier.sources.preset import ResultRequest
from notifier.sources.request import RequestTemplate
from notifier.sources.snapshot import find, parse
from notifier.sources.turns import Turns
from notifier.sources.values import urls

RESULT_PAUSE = 0.5  # seconds between two requests for a result, at first; it doubles
LONGEST_RESULT_PAUSE = 10.0


class PollSource:
    """Asks one upstream for the states of tasks. It is created inside the running loop, and closed in the end."""

    def __init__(
        self,
        *,
        name: str,
        settings: SourceSettings,
        user_agent: str,
        metrics: Metrics,
    ) -> None:
        """Create a source. Its `connect_timeout` counts to the end of a reply.

        Raises ValueError for a preset that lacks its `base_url`.
        """
        self.name = name
        self._observations = metrics.observations.labels(name)  # snapshots read, repeats included
        self._unreadable = metrics.unreadable.labels(name)
        self._user_agent = user_agent
        self._plan = Plan.create(name, settings, user_agent=user_agent)
        self._pool = new_pool()
        self._turns = Turns()

    @property
    def unknown_states(self) -> Collection[str]:
        """Return the states that were read and that the preset does not list; they count as running."""
        return self._plan.reader.unknown_states

    @property
    def settings(self) -> SourceSettings:
        """Return the settings of the next `look`."""
        return self._plan.settings

    def update(self, settings: SourceSettings) -> None:
        """Use these from the next `look` on."""
        self._plan = self._plan.with_settings(settings)

    async def look(self, task_id: str, *, variables: Mapping[str, str] = NONE) -> Observation:
        """Ask once, and return what the reply says of the task. Raises SourceError."""
        plan = self._plan
        timeout = plan.settings.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                reply, note = await send(self._pool, plan.template.fill(task_id, variables=variables), plan.way)
                body = await read_whole(reply, plan.settings.max_event, self._turns)
        except TimeoutError as exc:
            raise Unavailable(f"the upstream did not answer within {timeout:g} s") from exc
        observation = self._read(body, reply.status, task_id, plan)
        if observation is None:
            if reply.status == 204:
                raise NoContent(status=reply.status)
            raise refusal(reply.status, reply.fields, brief(body, plan.way.redact), note)
        self._observations.inc()
        wanted = plan.settings.preset.result_request
        if wanted is None or observation.phase is not Phase.SUCCEEDED:
            return observation
        return await self._with_result(task_id, observation, wanted, plan)

    async def _with_result(
        self, task_id: str, observation: Observation, wanted: ResultRequest, plan: Plan
    ) -> Observation:
        """Fetch the result, again and again for as long as the settings say; return the observation with it."""
        loop, pause = asyncio.get_running_loop(), RESULT_PAUSE
        end = loop.time() + plan.settings.result_timeout
        while True:
            try:
                return replace(observation, urls=await self._fetch_result(task_id, observation, wanted, plan))
            except SourceError as exc:
                error = plan.template.redact(str(exc))
            if loop.time() + pause >= end:
                return replace(observation, urls=(), result_error=error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_RESULT_PAUSE)

    async def _fetch_result(
        self, task_id: str, observation: Observation, wanted: ResultRequest, plan: Plan
    ) -> tuple[str, ...]:
        settings = plan.settings
        named = find(wanted.result_id)(observation.task)
        variables = settings.preset.variables | ({} if named is None else {"result_id": str(named)})
        if wanted.result_id is not None and named is None:
            raise Unreadable("the last snapshot does not name the result")
        preset = settings.preset.model_copy(update={"url": wanted.url, "variables": variables, "method": "GET"})
        template = RequestTemplate(preset=preset, token=settings.token, user_agent=self._user_agent)
        try:
            async with asyncio.timeout(settings.connect_timeout):
                reply, note = await send(self._pool, template.fill(task_id), plan.way)
                body = await read_whole(reply, settings.max_event, self._turns)
        except TimeoutError as exc:
            raise Unavailable(f"the upstream did not answer within {settings.connect_timeout:g} s") from exc
        if not 200 <= reply.status < 300:
            raise refusal(reply.status, reply.fields, brief(body, plan.way.redact), note)
        found = urls(find(wanted.result)(parse(body)))
        if not found:
            raise Unreadable("the reply holds no result where the preset says")
        return found

    async def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def _read(self, body: bytes, status: int, task_id: str, plan: Plan) -> Observation | None:
        try:
            return plan.reader.read_reply(body, status, task_id)
        except Unreadable as exc:
            if body.lstrip()[:1] == b"<":
                raise Unavailable("the upstream answers with a page, not with JSON") from exc
            self._unreadable.inc()
            message = plan.template.redact(str(exc))
            excerpt = plan.template.redact(body[: 1 << 16].decode("utf-8", "replace"))[:EXCERPT]
            raise Unreadable(message, status=status, excerpt=excerpt) from exc


async def read_whole(reply: Reply, limit: int, turns: Turns) -> bytes:
    """Return the body of a reply that is no stream. Raises SourceError, and then keeps no connection."""
    try:
        if content.kind_of(reply.fields.values_of("content-type")) is content.Kind.STREAM:
            raise Unreadable("the upstream answers with an event stream; the source's transport is poll")
        return await _body(reply.body(turns), limit)
    finally:
        reply.close()


async def _body(reader: BodyReader, limit: int) -> bytes:
    body = bytearray()
    try:
        while chunk := await reader.read():
            body += chunk
            if len(body) > limit:
                raise Unreadable(f"the upstream answers with more than {limit} bytes")
    except FAULTS as exc:
        raise translated(exc) from exc
    return bytes(body)
