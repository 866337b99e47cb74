"""The handlers, one for each operation: each reads a `Call`, asks the `Api`, and builds the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

from notifier.core.model import Json
from notifier.core.trace import accepted
from notifier.store import DeliveryFilter
from notifier.web import answers
from notifier.web.api import Api
from notifier.web.connections import connection_of
from notifier.web.page.page import PARTS
from notifier.web.refusals import BadRequest, Conflict, Stopping
from notifier.web.reply import reply
from notifier.web.requests import (
    DeliveryPath,
    DeliveryQuery,
    EndpointPath,
    EventQuery,
    MutePath,
    Parameters,
    RetryRequest,
    ShortListQuery,
    WaitQuery,
    WatchPath,
    WatchQuery,
)
from notifier.web.values import EventCursor

MAX_WATCHES = 10_000  # of one request
P_co = TypeVar("P_co", bound=Parameters, covariant=True)
DOCUMENT: web.AppKey[Callable[[], Awaitable[bytes]]] = web.AppKey("document")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[P_co]):
    """One request to one operation."""

    api: Api
    request: web.Request
    parameters: P_co
    body: Json = None  # as the operation parses it; None: it takes none


# -- the daemon


async def healthz(_call: Call[Parameters]) -> web.Response:
    """Answer, which shows that the process works."""
    return web.Response(text="ok\n")


async def readyz(call: Call[Parameters]) -> web.Response:
    """Return whether the daemon has started and can write its store."""
    reason = call.api.status.not_ready()
    return web.Response(text="ok\n") if reason is None else web.Response(text=f"{reason}\n", status=503)


async def metrics(call: Call[Parameters]) -> web.Response:
    """Return the Prometheus text format, version 0.0.4."""
    body = await call.api.status.metrics()
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def page(call: Call[Parameters]) -> web.Response:
    """Send the status page."""
    return PARTS["index.html"].answer(call.request)


async def openapi(call: Call[Parameters]) -> web.Response:
    """Return the OpenAPI document."""
    return web.Response(body=await call.request.app[DOCUMENT](), content_type="application/json")


async def status(call: Call[Parameters]) -> web.Response:
    """Describe the daemon at a glance."""
    return reply(await call.api.status.status())


async def nodes(call: Call[ShortListQuery]) -> web.Response:
    """List the nodes that share the store."""
    items, following = call.parameters.page(call.api.status.nodes())
    body: answers.NodePage = {"items": items, "next": following}
    return reply(body)


async def reload(call: Call[Parameters]) -> web.Response:
    """Load the configuration again."""
    body = await call.api.reload()
    nodes = call.api.status.nodes()
    if len(nodes) > 1:
        body["node"] = next(node["name"] for node in nodes if node["this"])
        body["others"] = len(nodes) - 1
    return reply(body)


# -- watches


async def add_watches(call: Call[Parameters]) -> web.Response:
    """Follow one task, or a list of them; the answer comes after the commit."""
    listed = isinstance(call.body, list)
    if listed and len(call.body) > MAX_WATCHES:
        raise BadRequest(f"more than {MAX_WATCHES} watches; send several requests")
    trace = accepted(call.request.headers.get("traceparent"))
    entries = call.body if listed else [call.body]
    added, warnings = await call.api.add_watches(entries, listed=listed, traceparent=trace)
    created = sum(item["created"] for item in added)
    code = 201 if created else 200
    if not listed:
        # Somebody may have removed it since the commit: it was added all the same.
        item = await call.api.watch(added[0]["source"], added[0]["id"], removed=True)
        followed: answers.FollowedWatch = {**item, "warnings": warnings}
        return reply(followed, status=code)
    body: answers.AddedWatches = {
        "items": added,
        "created": created,
        "existing": len(added) - created,
        "warnings": warnings,
    }
    return reply(body, status=code)


async def list_watches(call: Call[WatchQuery]) -> web.Response:
    """List watches, newest first."""
    query = call.parameters
    items, next_cursor = await call.api.watches(query.filter(), limit=query.limit, before=query.cursor)
    body: answers.WatchPage = {"items": items, "next": None if next_cursor is None else str(next_cursor)}
    return reply(body)


async def show_watch(call: Call[WatchPath]) -> web.Response:
    """Show one watch with its events and their deliveries."""
    return reply(await call.api.watch_details(call.parameters.source, call.parameters.id))


async def wait_for_watch(call: Call[WaitQuery]) -> web.Response:
    """Answer once a watch has ended, or after the timeout."""
    wanted = call.parameters
    if call.request.method == "HEAD":
        return reply(await call.api.watch(wanted.source, wanted.id))
    deadline = asyncio.get_running_loop().time() + wanted.timeout
    connection = connection_of(call.request)
    async with call.api.hub.watch(wanted.source, wanted.id) as (signal, _):
        with connection.signal_loss(signal):
            watch = await call.api.watch(wanted.source, wanted.id)
            while not (watch["ended"] or connection.lost) and await _until(signal, deadline):
                if call.api.hub.closed:
                    raise Stopping
                watch = await call.api.watch(wanted.source, wanted.id)
    return reply(watch)


async def _until(signal: asyncio.Event, deadline: float) -> bool:
    """Wait for a signal, and clear it; return whether it came before the deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            await signal.wait()
    except TimeoutError:
        return False
    signal.clear()
    return True


async def remove_watch(call: Call[WatchPath]) -> web.Response:
    """Stop following a task; the events that were recorded are still delivered."""
    await call.api.remove_watch(call.parameters.source, call.parameters.id)
    return web.Response(status=204)


# -- events and deliveries


async def list_events(call: Call[EventQuery]) -> web.Response:
    """List events, newest first; with `after`, oldest first."""
    query = call.parameters
    before, after = query.place()
    items = await call.api.store.lists.events(query.filter(), limit=query.limit, before=before, after=after)
    next_cursor = None
    if len(items) == query.limit:
        next_cursor = str(EventCursor(position=int(items[-1]["cursor"]), forward=after is not None))
    body: answers.EventPage = {"items": items, "next": next_cursor}
    return reply(body)


async def list_deliveries(call: Call[DeliveryQuery]) -> web.Response:
    """List deliveries, newest first."""
    query = call.parameters
    items = await call.api.store.lists.deliveries(query.filter(), limit=query.limit, before=query.cursor)
    body: answers.DeliveryPage = {"items": items, "next": str(items[-1]["id"]) if len(items) == query.limit else None}
    return reply(body)


async def show_delivery(call: Call[DeliveryPath]) -> web.Response:
    """Show one delivery with its attempts and payload."""
    return reply(await call.api.delivery(call.parameters.id))


async def retry_delivery(call: Call[DeliveryPath]) -> web.Response:
    """Make one dead delivery ready again."""
    number = call.parameters.id
    delivery = await call.api.delivery(number)
    if delivery["status"] != "dead":
        raise Conflict(f"delivery {number} is {delivery['status']}, not dead")
    body: answers.Retried = {"retried": await call.api.retry(DeliveryFilter(id=number))}
    return reply(body)


async def retry_deliveries(call: Call[Parameters]) -> web.Response:
    """Make the dead deliveries of an endpoint or a time ready again."""
    request: RetryRequest = call.body
    body: answers.Retried = {"retried": await call.api.retry(request.filter())}
    return reply(body)


# -- endpoints


async def list_endpoints(call: Call[ShortListQuery]) -> web.Response:
    """List endpoints with their health."""
    items, following = call.parameters.page(await call.api.endpoints())
    body: answers.EndpointPage = {"items": items, "next": following}
    return reply(body)


async def test_endpoint(call: Call[EndpointPath]) -> web.Response:
    """Send a test event to an endpoint at once."""
    return reply(await call.api.test(call.parameters.name))


async def enable_endpoint(call: Call[EndpointPath]) -> web.Response:
    """Send to an endpoint again."""
    return await _enable(call, enabled=True)


async def disable_endpoint(call: Call[EndpointPath]) -> web.Response:
    """Send nothing to an endpoint; its deliveries are kept."""
    return await _enable(call, enabled=False)


async def _enable(call: Call[EndpointPath], *, enabled: bool) -> web.Response:
    name = call.parameters.name
    await call.api.enable(name, enabled=enabled)
    body: answers.Enabled = {"endpoint": name, "enabled": enabled}
    return reply(body)


# -- mutes


async def list_mutes(call: Call[ShortListQuery]) -> web.Response:
    """List the mutes that last."""
    items, following = call.parameters.page(call.api.mutes())
    body: answers.MutePage = {"items": items, "next": following}
    return reply(body)


async def add_mute(call: Call[Parameters]) -> web.Response:
    """Silence endpoints that people read, for a while."""
    return reply(await call.api.mute(call.body), status=201)


async def remove_mutes(call: Call[Parameters]) -> web.Response:
    """End every mute; the deliveries that they have muted are not sent."""
    await call.api.unmute_all()
    return web.Response(status=204)


async def remove_mute(call: Call[MutePath]) -> web.Response:
    """End a mute; the deliveries that it has muted are not sent."""
    await call.api.unmute(call.parameters.id)
    return web.Response(status=204)
