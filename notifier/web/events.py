"""The handler for what happened."""

from __future__ import annotations

from aiohttp import web

from notifier.web import query
from notifier.web.control import CONTROL


async def events(request: web.Request) -> web.Response:
    """List events, newest first; with `after`, oldest first."""
    which, limit = query.event_filter(request.query), query.limit(request.query)
    before, after = query.event_place(request.query)
    items = await request.app[CONTROL].events(which, limit=limit, before=before, after=after)
    following = query.event_cursor(items[-1]["cursor"], forward=after is not None) if len(items) == limit else None
    return web.json_response({"items": items, "next": following})
