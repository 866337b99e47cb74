"""The handlers for watches: following tasks, looking at them, and letting go of them."""

from __future__ import annotations

from aiohttp import web

from notifier.core.model import Json
from notifier.web import query
from notifier.web.body import MAX_WATCHES_BODY, read_json
from notifier.web.control import CONTROL
from notifier.web.operations import MAX_WATCHES
from notifier.web.query import BadRequest

_APART = ("events", "more", "connection")  # told of a single watch only


async def add(request: web.Request) -> web.Response:
    """Follow one task, or a list of them; answered after the commit."""
    given: Json = await read_json(request, limit=MAX_WATCHES_BODY)
    listed = isinstance(given, list)
    if listed and len(given) > MAX_WATCHES:
        raise BadRequest(f"more than {MAX_WATCHES} watches; send several requests")
    control = request.app[CONTROL]
    told = await control.follow(given if listed else [given], listed=listed)
    created = sum(item["created"] for item in told)
    status = 201 if created else 200
    if listed:
        body = {"items": told, "created": created, "existing": len(told) - created}
        return web.json_response(body, status=status)
    item = await control.watch(told[0]["source"], told[0]["id"])
    return web.json_response({key: value for key, value in item.items() if key not in _APART}, status=status)


async def watches(request: web.Request) -> web.Response:
    """List watches, newest first."""
    which, limit, before = query.watch_filter(request.query), query.limit(request.query), query.cursor(request.query)
    items, following = await request.app[CONTROL].watches(which, limit=limit, before=before)
    return web.json_response({"items": items, "next": None if following is None else str(following)})


async def watch(request: web.Request) -> web.Response:
    """Show one watch: what happened to it, and what became of each delivery."""
    return web.json_response(await request.app[CONTROL].watch(*_named(request)))


async def remove(request: web.Request) -> web.Response:
    """Follow a task no longer; what was recorded is still delivered."""
    await request.app[CONTROL].forget(*_named(request))
    return web.Response(status=204)


def _named(request: web.Request) -> tuple[str, str]:
    source, task_id = request.match_info["source"], request.match_info["id"]
    return query.text(source, "source"), query.text(task_id, "id")
