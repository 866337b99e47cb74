"""The handlers, one a path."""

from __future__ import annotations

from aiohttp import web

from notifier.store.values import DeliveryFilter
from notifier.web import events, nodes, openapi, query, stream, watches
from notifier.web.body import read_json
from notifier.web.control import CONTROL
from notifier.web.page import page
from notifier.web.problem import problem


async def healthz(_request: web.Request) -> web.Response:
    """Say that the process answers."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """Say whether the daemon has started and can write its store."""
    missing = request.app[CONTROL].ready()
    return web.Response(text="ok\n") if missing is None else web.Response(text=f"{missing}\n", status=503)


async def metrics(request: web.Request) -> web.Response:
    """Return the Prometheus text format, version 0.0.4."""
    body = await request.app[CONTROL].metrics()
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def reload(request: web.Request) -> web.Response:
    """Load the configuration again."""
    problems = await request.app[CONTROL].reload()
    if problems:
        return problem(422, "the configuration was refused; nothing was changed", problems=list(problems))
    told = await request.app[CONTROL].nodes()
    if len(told) == 1:
        return web.json_response({"reloaded": True})
    this = next(node["name"] for node in told if node["this"])
    return web.json_response({"reloaded": True, "node": this, "others": len(told) - 1})


async def status(request: web.Request) -> web.Response:
    """Describe the daemon at a glance."""
    return web.json_response(await request.app[CONTROL].status())


async def deliveries(request: web.Request) -> web.Response:
    """List deliveries, newest first."""
    which, limit = query.delivery_filter(request.query), query.limit(request.query)
    items = await request.app[CONTROL].deliveries(which, limit=limit, before=query.cursor(request.query))
    return web.json_response({"items": items, "next": str(items[-1]["id"]) if len(items) == limit else None})


async def delivery(request: web.Request) -> web.Response:
    """Show one delivery with its attempts and payload."""
    return web.json_response(await request.app[CONTROL].delivery(query.number(request.match_info["id"])))


async def retry_one(request: web.Request) -> web.Response:
    """Make one dead delivery ready again."""
    control = request.app[CONTROL]
    number = query.number(request.match_info["id"])
    found = await control.delivery(number)
    if found["status"] != "dead":
        return problem(409, f"delivery {number} is {found['status']}, not dead")
    return web.json_response({"retried": await control.retry(DeliveryFilter(id=number))})


async def retry_many(request: web.Request) -> web.Response:
    """Make dead deliveries of an endpoint or a time ready again."""
    which = query.retry_filter(await read_json(request, empty={}))
    return web.json_response({"retried": await request.app[CONTROL].retry(which)})


async def endpoints(request: web.Request) -> web.Response:
    """List endpoints with their health."""
    return web.json_response({"items": await request.app[CONTROL].endpoints(), "next": None})


async def test(request: web.Request) -> web.Response:
    """Send a test event to an endpoint at once."""
    return web.json_response(await request.app[CONTROL].test(request.match_info["name"]))


async def enable(request: web.Request) -> web.Response:
    """Send to an endpoint again."""
    return await _enable(request, enabled=True)


async def disable(request: web.Request) -> web.Response:
    """Send no more to an endpoint; what is for it is kept."""
    return await _enable(request, enabled=False)


async def _enable(request: web.Request, *, enabled: bool) -> web.Response:
    name = request.match_info["name"]
    await request.app[CONTROL].enable(name, enabled=enabled)
    return web.json_response({"endpoint": name, "enabled": enabled})


ROUTES = [
    web.get("/", page.index),
    web.get("/static/{name}", page.static),
    web.get("/healthz", healthz),
    web.get("/readyz", readyz),
    web.get("/metrics", metrics),
    web.get("/v1/openapi.json", openapi.openapi),
    web.post("/v1/reload", reload),
    web.get("/v1/status", status),
    web.get("/v1/nodes", nodes.nodes),
    web.post("/v1/watches", watches.add),
    web.get("/v1/watches", watches.watches),
    web.get("/v1/watches/{source}/{id:[^/]+}", watches.watch),
    web.delete("/v1/watches/{source}/{id:[^/]+}", watches.remove),
    web.get("/v1/events", events.events),
    web.get("/v1/stream", stream.stream),
    web.get("/v1/deliveries", deliveries),
    web.post("/v1/deliveries/retry", retry_many),
    web.get("/v1/deliveries/{id}", delivery),
    web.post("/v1/deliveries/{id}/retry", retry_one),
    web.get("/v1/endpoints", endpoints),
    web.post("/v1/endpoints/{name}/test", test),
    web.post("/v1/endpoints/{name}/enable", enable),
    web.post("/v1/endpoints/{name}/disable", disable),
]
