"""The source that asks for a task's state by one request after another, over connections that are kept.

It sends one request when it is told to, and reads the reply. Callers decide when to ask again and what an observation
means. Neither the log nor an error ever holds the token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from notifier.core.errors import NoContent, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.model import NONE, Observation
from notifier.runtime.metrics import Metrics
from notifier.sources import content
from notifier.sources.apart import Apart
from notifier.sources.body import Turns
from notifier.sources.http import Reply, Trail, asked_pause, brief, new_pool, refusal, send
from notifier.sources.plan import EXCERPT, Answer, Answers, Plan, SourceSettings
from notifier.sources.request import Request
from notifier.sources.result import fetch_result
from notifier.sources.whole import read_whole

MAX_ETAG = 256  # characters; each watch keeps one
MAX_BATCH = 16 << 20  # bytes of the answer about several tasks: 500 of 32 KiB
ALONE = 600.0  # seconds for which tasks are asked for singly, before the request for several of them is tried again
NO_BATCH = frozenset({404, 405, 501})  # statuses of an upstream that does not know the request for several tasks

log = structlog.get_logger(__name__)


class PollSource:
    """Asks one upstream for the states of tasks. It is created inside the running loop, and closed in the end."""

    def __init__(
        self,
        *,
        name: str,
        settings: SourceSettings,
        user_agent: str,
        metrics: Metrics,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a source. Its `connect_timeout` counts to the end of a reply; `now` is a clock that nobody sets.

        Raises ValueError for a preset that lacks its `base_url`.
        """
        self.name = name
        self._observations = metrics.observations.labels(name)  # snapshots read, repeats included
        self._unreadable = metrics.unreadable.labels(name)
        self._now = now
        self._alone_until: float | None = None  # the upstream does not know the request for several tasks
        self._told = False  # that it does not
        self._plan = Plan.create(name, settings, user_agent=user_agent)
        self._pool = new_pool()
        self._turns = Turns()
        self._apart = Apart()

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
        self._alone_until, self._told = None, False  # this may be another upstream

    @property
    def batch(self) -> int:
        """Return how many tasks one request asks for."""
        batch = self._plan.settings.preset.batch
        if self._alone_until is not None and self._now() >= self._alone_until:
            self._alone_until = None
        return 1 if batch is None or self._alone_until is not None else batch.most

    async def look(self, task_id: str, *, variables: Mapping[str, str] = NONE, etag: str = "") -> Answer:
        """Ask once, and return what the reply says of the task. Raises SourceError.

        `etag` is that of the last answer, for an upstream that answers 304 while nothing has changed.
        """
        plan, observation = self._plan, None
        with Trail() as trail:
            request = plan.template.fill(task_id, variables=variables, etag=etag)
            reply, body = await self._ask(request, plan, plan.settings.max_event, trail)
            unchanged = reply.status == 304 and etag
            if not unchanged:
                observation = await self._read(body, reply, task_id, plan)
                if observation is None and reply.status == 204:
                    raise NoContent(status=reply.status)
                if observation is None:
                    raise self._refusal(reply, body, plan)
        self._observations.value += 1
        hint = asked_pause(reply.fields, plan.settings.preset.poll.hint)
        if unchanged:
            return Answer(observation=None, etag=etag, hint=hint)
        # A weak one as well: it stands for the same meaning. A date does not, which many changes may have in common.
        etag = reply.fields.get("etag", "")
        etag = etag if len(etag) <= MAX_ETAG else ""
        return Answer(observation=observation, etag=etag, hint=hint)

    async def look_at(self, task_ids: Sequence[str], *, variables: Mapping[str, str] = NONE) -> Answers:
        """Ask once for several tasks; return what the reply says of each that it names. Raises SourceError."""
        plan = self._plan
        with Trail() as trail:
            return await self._look_at(plan, task_ids, plan.template.fill_all(task_ids, variables), trail)

    async def _look_at(self, plan: Plan, task_ids: Sequence[str], request: Request, trail: Trail) -> Answers:
        limit = max(plan.settings.max_event, min(MAX_BATCH, len(task_ids) * plan.settings.max_event))
        reply, body = await self._ask(request, plan, limit, trail)
        if not 200 <= reply.status < 300:
            if reply.status in NO_BATCH:
                self._ask_singly(reply.status)
            raise _later(self._refusal(reply, body, plan))
        try:
            found = await self._apart.read(len(body), lambda: plan.reader.read_batch(body, frozenset(task_ids)))
        except Unreadable as exc:
            raise self._refused_body(exc, body, reply, plan) from exc
        for each in found.values():
            if isinstance(each, Observation):
                self._observations.value += 1
            else:
                plan.redacted(each)
                self._unreadable.value += 1
        return Answers(found=found, hint=asked_pause(reply.fields, plan.settings.preset.poll.hint))

    async def result(self, task_id: str, success: Observation, *, variables: Mapping[str, str] = NONE) -> Observation:
        """Ask once for the result of a task; return its success with the result. Raises SourceError."""
        return await fetch_result(self._pool, self._plan, task_id, success, variables, self._apart)

    def _ask_singly(self, status: int) -> None:
        self._alone_until = self._now() + ALONE
        if not self._told:
            self._told = True
            log.warning("source.no_batch", source=self.name, status=status, hint="tasks are asked for singly")

    def _refusal(self, reply: Reply, body: bytes, plan: Plan) -> SourceError:
        words = brief(body, plan.way.credentials)
        return refusal(reply.status, reply.fields, words, plan.settings.preset.poll.hint)

    async def _ask(self, request: Request, plan: Plan, limit: int, trail: Trail) -> tuple[Reply, bytes]:
        timeout = plan.settings.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                reply = await send(self._pool, request, plan.way, trail)
                return reply, await read_whole(reply, limit, self._turns)
        except TimeoutError as exc:
            raise Unavailable(f"the upstream did not answer within {timeout:g} s") from exc

    async def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    async def _read(self, body: bytes, reply: Reply, task_id: str, plan: Plan) -> Observation | None:
        try:
            return await self._apart.read(len(body), lambda: plan.reader.read_reply(body, reply.status, task_id))
        except TaskNotFound as exc:
            plan.redacted(exc)
            raise
        except Unreadable as exc:
            raise self._refused_body(exc, body, reply, plan) from exc

    def _refused_body(self, exc: Unreadable, body: bytes, reply: Reply, plan: Plan) -> SourceError:
        if content.is_page(reply.fields, body):
            return Unavailable("the upstream answers with a page, not with JSON")
        self._unreadable.value += 1
        message = plan.template.redact(str(exc))
        excerpt = plan.template.redact(body[: 1 << 16].decode("utf-8", "replace"))[:EXCERPT]
        return Unreadable(message, status=reply.status, excerpt=excerpt)


def _later(error: SourceError) -> SourceError:
    """Return the error for all tasks of a request: a route that is not found says nothing of any of them."""
    if isinstance(error, TaskNotFound):
        return Unavailable(str(error), status=error.status)
    return error
