"""Asks for the result of a task that has succeeded, where the task's state does not hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from notifier.core.errors import SourceError, Unavailable, Unreadable
from notifier.core.model import Observation
from notifier.runtime.http1 import Pool
from notifier.sources.apart import Apart
from notifier.sources.body import Turns
from notifier.sources.document import find, parse
from notifier.sources.http import Trail, brief, refusal, send
from notifier.sources.plan import Plan
from notifier.sources.request import Request
from notifier.sources.values import moment, urls
from notifier.sources.whole import read_whole


async def fetch_result(
    pool: Pool, plan: Plan, task_id: str, success: Observation, variables: Mapping[str, str], apart: Apart
) -> Observation:
    """Ask once; return the success with the URLs of the result. Raises SourceError, without credentials."""
    try:
        found, expire = await _urls(pool, plan, task_id, success, variables, apart)
    except SourceError as exc:
        plan.redacted(exc)
        raise
    return replace(success, urls=found, urls_expire=success.urls_expire if expire is None else expire)


async def _urls(
    pool: Pool, plan: Plan, task_id: str, success: Observation, variables: Mapping[str, str], apart: Apart
) -> tuple[tuple[str, ...], float | None]:
    """Return the URLs, and the seconds since the epoch at which they expire; None: the reply does not say."""
    wanted = plan.settings.preset.result_request
    assert wanted is not None, "the preset has a request for the result"
    assert plan.result is not None, "it was made with the plan"
    if wanted.result_id is not None:
        named = find(wanted.result_id)(success.task)
        if named is None:
            raise Unreadable("the last snapshot does not name the result")
        variables = {**variables, "result_id": str(named)}
    with Trail() as trail:
        body = await _ask(pool, plan, plan.result.fill(task_id, variables=variables), trail)
        told = await apart.read(len(body), lambda: parse(body))
        found = urls(find(wanted.result)(told))
        if not found:
            raise Unreadable("the reply holds no result where the preset says")
        return found, moment(find(wanted.expires)(told))


async def _ask(pool: Pool, plan: Plan, request: Request, trail: Trail) -> bytes:
    """Return the body of the reply. Raises SourceError."""
    settings = plan.settings
    try:
        async with asyncio.timeout(settings.connect_timeout):
            reply = await send(pool, request, plan.way, trail)
            body = await read_whole(reply, settings.max_event, Turns())
    except TimeoutError as exc:
        raise Unavailable(f"the upstream did not answer within {settings.connect_timeout:g} s") from exc
    if not 200 <= reply.status < 300:
        words = brief(body, plan.way.credentials)
        raise refusal(reply.status, reply.fields, words, settings.preset.poll.hint)
    return body
