"""The API as one table: each operation with its handler, its parameters, its body, and every answer it may give.

The routes, the parsing of requests, and the OpenAPI document are all made from it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from notifier.config import WatchRequest
from notifier.core.model import Json
from notifier.store import DeliveryDetail, TaskId
from notifier.web import answers, handlers, requests, stream
from notifier.web.api import API
from notifier.web.body import MAX_BODY, MAX_WATCHES_BODY, read_json
from notifier.web.handlers import MAX_WATCHES, Call
from notifier.web.requests import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBody:
    """A body that is not JSON."""

    media: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The JSON body of a request."""

    schema: Any  # a type, for the document
    parse: Callable[[Json], Any] = field(default=lambda value: value)  # raises BadRequest
    limit: int = MAX_BODY  # bytes
    empty: Json = ...  # the value of an empty body; ...: an empty body is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path."""

    method: str
    path: str
    name: str
    summary: str
    handler: Callable[[Call[Any]], Awaitable[web.StreamResponse]]
    replies: Mapping[int, Any]  # by status: a type, a TextBody, or None for no body
    parameters: type[Parameters] = Parameters
    body: Body | None = None  # None: a body is not read
    refusals: frozenset[int] = frozenset()  # statuses of problems, besides those of every operation

    @property
    def open(self) -> bool:
        """Return whether the operation needs no token and accepts any parameters, as probes and browsers send them."""
        return not self.path.startswith("/v1/")

    @property
    def in_path(self) -> list[str]:
        """Return the names of the parameters in the path."""
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def in_query(self) -> list[str]:
        """Return the names of the parameters in the query."""
        elsewhere = {*self.in_path, *self.parameters.in_header}
        return [name for name in self.parameters.names() if name not in elsewhere]

    def route(self) -> web.RouteDef:
        """Return the route; a parameter in the path holds any characters but a slash, and no word of another path."""

        def pattern(found: re.Match[str]) -> str:
            before = re.escape(self.path[: found.start()])
            words = {word for each in OPERATIONS for word in re.findall(rf"^{before}([a-z]+)", each.path)}
            others = f"(?!({'|'.join(sorted(words))})(/|$))" if words else ""
            return f"{{{found[1]}:{others}[^/]+}}"

        return web.route(self.method.upper(), re.sub(r"\{(\w+)\}", pattern, self.path), self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Parse a request and answer it. Raises Refusal."""
        parameters, body = self.parameters.model_construct(), None
        if not self.open:
            parameters = self.parameters.read(path=request.match_info, query=request.query, headers=request.headers)
        if self.body is not None:
            body = self.body.parse(await read_json(request, limit=self.body.limit, empty=self.body.empty))
        return await self.handler(Call(api=request.app[API], request=request, parameters=parameters, body=body))


_WatchEntry = WatchRequest | TaskId | Annotated[int, Field(ge=0)]
_WatchBody = Body(
    schema=_WatchEntry | Annotated[list[_WatchEntry], Field(max_length=MAX_WATCHES)], limit=MAX_WATCHES_BODY
)
_RetryBody = Body(schema=requests.RetryRequest, parse=requests.RetryRequest.read, empty={})
_OF_BODY = frozenset({408, 413, 415})
_PLAIN = TextBody(media="text/plain")

OPERATIONS = (
    Operation(
        method="get",
        path="/healthz",
        name="healthz",
        summary="Check that the process answers",
        handler=handlers.healthz,
        replies={200: _PLAIN},
    ),
    Operation(
        method="get",
        path="/readyz",
        name="readyz",
        summary="Check that the daemon has started and can write its store",
        handler=handlers.readyz,
        replies={200: _PLAIN, 503: _PLAIN},
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        summary="Return metrics for Prometheus",
        handler=handlers.metrics,
        replies={200: TextBody(media="text/plain", description="text format, version 0.0.4")},
    ),
    Operation(
        method="get",
        path="/",
        name="page",
        summary="Show the status page",
        handler=handlers.page,
        replies={200: TextBody(media="text/html")},
    ),
    Operation(
        method="get",
        path="/v1/openapi.json",
        name="openapi",
        summary="Return this document",
        handler=handlers.openapi,
        replies={200: Any},
    ),
    Operation(
        method="get",
        path="/v1/status",
        name="status",
        summary="Describe the daemon at a glance",
        handler=handlers.status,
        replies={200: answers.DaemonStatus},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/nodes",
        name="listNodes",
        summary="List the nodes that share the store",
        handler=handlers.nodes,
        parameters=requests.ShortListQuery,
        replies={200: answers.NodePage},
    ),
    Operation(
        method="post",
        path="/v1/reload",
        name="reload",
        summary="Load the configuration of this node again; ask each of several nodes",
        handler=handlers.reload,
        replies={200: answers.Reloaded},
        refusals=frozenset({422, 503}),
    ),
    Operation(
        method="post",
        path="/v1/watches",
        name="addWatches",
        summary="Follow one task, or a list of them; the answer comes after the commit",
        handler=handlers.add_watches,
        body=_WatchBody,
        replies=dict.fromkeys((200, 201), answers.FollowedWatch | answers.AddedWatches),
        refusals=_OF_BODY | {404, 422, 503},
    ),
    Operation(
        method="get",
        path="/v1/watches",
        name="listWatches",
        summary="List watches, newest first",
        handler=handlers.list_watches,
        parameters=requests.WatchQuery,
        replies={200: answers.WatchPage},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/watches/{source}/{id}",
        name="showWatch",
        summary="Show a watch with its latest events and their deliveries",
        handler=handlers.show_watch,
        parameters=requests.WatchPath,
        replies={200: answers.WatchDetail},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="get",
        path="/v1/watches/{source}/{id}/wait",
        name="waitForWatch",
        summary="Wait until a watch has ended, or until the timeout; `ended` of the answer says which",
        handler=handlers.wait_for_watch,
        parameters=requests.WaitQuery,
        replies={200: answers.WatchItem},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="delete",
        path="/v1/watches/{source}/{id}",
        name="removeWatch",
        summary="Stop following a task; its recorded events are still delivered",
        handler=handlers.remove_watch,
        parameters=requests.WatchPath,
        replies={204: None},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="get",
        path="/v1/events",
        name="listEvents",
        summary="List events, newest first; with `after`, oldest first",
        handler=handlers.list_events,
        parameters=requests.EventQuery,
        replies={200: answers.EventPage},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/stream",
        name="stream",
        summary="Follow events as they are committed",
        handler=stream.stream,
        parameters=requests.StreamQuery,
        replies={
            200: TextBody(
                media="text/event-stream",
                description="`id` is an event's cursor, `event` its type, `data` the event as in `GET /v1/events`. "
                "A request with a cursor as `Last-Event-ID` continues after that event. About every two seconds "
                "comes an `event: status` without an id, and every 15 seconds a comment.",
            )
        },
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/deliveries",
        name="listDeliveries",
        summary="List deliveries, newest first",
        handler=handlers.list_deliveries,
        parameters=requests.DeliveryQuery,
        replies={200: answers.DeliveryPage},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/deliveries/{id}",
        name="showDelivery",
        summary="Show a delivery with its attempts and payload",
        handler=handlers.show_delivery,
        parameters=requests.DeliveryPath,
        replies={200: DeliveryDetail},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="post",
        path="/v1/deliveries/{id}/retry",
        name="retryDelivery",
        summary="Make a dead delivery ready again, under the same id",
        handler=handlers.retry_delivery,
        parameters=requests.DeliveryPath,
        replies={200: answers.Retried},
        refusals=frozenset({404, 409, 503}),
    ),
    Operation(
        method="post",
        path="/v1/deliveries/retry",
        name="retryDeliveries",
        summary="Make the dead deliveries of an endpoint or a time ready again",
        handler=handlers.retry_deliveries,
        body=_RetryBody,
        replies={200: answers.Retried},
        refusals=_OF_BODY | {404, 503},
    ),
    Operation(
        method="get",
        path="/v1/endpoints",
        name="listEndpoints",
        summary="List endpoints with their health",
        handler=handlers.list_endpoints,
        parameters=requests.ShortListQuery,
        replies={200: answers.EndpointPage},
        refusals=frozenset({503}),
    ),
    Operation(
        method="post",
        path="/v1/endpoints/{name}/test",
        name="testEndpoint",
        summary="Send a test event to an endpoint at once, past the outbox",
        handler=handlers.test_endpoint,
        parameters=requests.EndpointPath,
        replies={200: answers.TestResult},
        refusals=frozenset({404}),
    ),
    Operation(
        method="post",
        path="/v1/endpoints/{name}/enable",
        name="enableEndpoint",
        summary="Enable an endpoint",
        handler=handlers.enable_endpoint,
        parameters=requests.EndpointPath,
        replies={200: answers.Enabled},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="post",
        path="/v1/endpoints/{name}/disable",
        name="disableEndpoint",
        summary="Disable an endpoint; its deliveries are kept",
        handler=handlers.disable_endpoint,
        parameters=requests.EndpointPath,
        replies={200: answers.Enabled},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="get",
        path="/v1/mutes",
        name="listMutes",
        summary="List the mutes that last",
        handler=handlers.list_mutes,
        parameters=requests.ShortListQuery,
        replies={200: answers.MutePage},
    ),
    Operation(
        method="post",
        path="/v1/mutes",
        name="addMute",
        summary="Silence endpoints that people read, for a while; what happens meanwhile is never sent to them",
        handler=handlers.add_mute,
        body=Body(schema=requests.MuteRequest, parse=requests.MuteRequest.read),
        replies={201: answers.MuteItem},
        refusals=_OF_BODY | {404, 409, 503},
    ),
    Operation(
        method="delete",
        path="/v1/mutes",
        name="removeMutes",
        summary="End every mute",
        handler=handlers.remove_mutes,
        replies={204: None},
        refusals=frozenset({503}),
    ),
    Operation(
        method="delete",
        path="/v1/mutes/{id}",
        name="removeMute",
        summary="End a mute",
        handler=handlers.remove_mute,
        parameters=requests.MutePath,
        replies={204: None},
        refusals=frozenset({404, 503}),
    ),
)
