"""The API as a table: each operation with its parameters, its body, and every answer that it may give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field

from notifier.web import models, nodes, requests

MAX_WATCHES = 10_000  # of one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A body that is no JSON."""

    media: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path."""

    method: str
    path: str
    name: str
    summary: str
    replies: Mapping[int, Any]  # by status: a model, a Text, or None for no body
    query: type[BaseModel] = requests.NoQuery
    body: Any = None  # a type; None: whatever is sent is not read
    body_required: bool = True
    refusals: frozenset[int] = field(default_factory=frozenset)  # problems, besides those of every operation

    @property
    def open(self) -> bool:
        """Say whether it is answered without a token, and whatever the parameters."""
        return not self.path.startswith("/v1/")


_Entry = requests.WatchRequest | models.TaskId | Annotated[int, Field(ge=0)]
_Watches = _Entry | Annotated[list[_Entry], Field(max_length=MAX_WATCHES)]
_BODY = frozenset({413, 415})
_PLAIN = Text(media="text/plain")

OPERATIONS = (
    Operation(
        method="get", path="/healthz", name="healthz", summary="Say that the process answers", replies={200: _PLAIN}
    ),
    Operation(
        method="get",
        path="/readyz",
        name="readyz",
        summary="Say whether the daemon has started and can write its store",
        replies={200: _PLAIN, 503: _PLAIN},
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        summary="Return metrics for Prometheus",
        replies={200: Text(media="text/plain", description="text format, version 0.0.4")},
    ),
    Operation(
        method="get", path="/", name="page", summary="Show the status page", replies={200: Text(media="text/html")}
    ),
    Operation(
        method="get",
        path="/v1/openapi.json",
        name="openapi",
        summary="Return this document",
        replies={200: Any},
    ),
    Operation(
        method="get",
        path="/v1/status",
        name="status",
        summary="Describe the daemon at a glance",
        replies={200: models.DaemonStatus},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/nodes",
        name="listNodes",
        summary="List the nodes that share the store",
        replies={200: nodes.Nodes},
    ),
    Operation(
        method="post",
        path="/v1/reload",
        name="reload",
        summary="Have this node load its configuration again; of several, each has to be asked",
        replies={200: models.Reloaded},
        refusals=frozenset({422, 503}),
    ),
    Operation(
        method="post",
        path="/v1/watches",
        name="addWatches",
        summary="Follow one task, or a list of them; answered after the commit",
        body=_Watches,
        replies={200: models.Watch | models.AddedWatches, 201: models.Watch | models.AddedWatches},
        refusals=_BODY | {404, 422, 503},
    ),
    Operation(
        method="get",
        path="/v1/watches",
        name="listWatches",
        summary="List watches, newest first",
        query=requests.WatchQuery,
        replies={200: models.Watches},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/watches/{source}/{id}",
        name="showWatch",
        summary="Show a watch with its latest events and their deliveries",
        replies={200: models.WatchTold},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="delete",
        path="/v1/watches/{source}/{id}",
        name="removeWatch",
        summary="Follow a task no longer; what was recorded is still delivered",
        replies={204: None},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="get",
        path="/v1/events",
        name="listEvents",
        summary="List events, newest first; with `after`, oldest first",
        query=requests.EventQuery,
        replies={200: models.Events},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/stream",
        name="stream",
        summary="Follow events as they are committed",
        query=requests.StreamQuery,
        replies={
            200: Text(
                media="text/event-stream",
                description="`id` is an event's cursor, `event` its type, `data` the event as in `GET /v1/events`. "
                "Sent as `Last-Event-ID`, a cursor has a later request go on after it. Besides, about every two "
                "seconds, `event: status` without an id, and every 15 seconds a comment.",
            )
        },
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/deliveries",
        name="listDeliveries",
        summary="List deliveries, newest first",
        query=requests.DeliveryQuery,
        replies={200: models.Deliveries},
        refusals=frozenset({503}),
    ),
    Operation(
        method="get",
        path="/v1/deliveries/{id}",
        name="showDelivery",
        summary="Show a delivery with its attempts and payload",
        replies={200: models.DeliveryTold},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="post",
        path="/v1/deliveries/{id}/retry",
        name="retryDelivery",
        summary="Make a dead delivery ready again, under the same id",
        replies={200: models.Retried},
        refusals=frozenset({404, 409, 503}),
    ),
    Operation(
        method="post",
        path="/v1/deliveries/retry",
        name="retryDeliveries",
        summary="Make dead deliveries of an endpoint or a time ready again",
        body=requests.RetryRequest,
        body_required=False,
        replies={200: models.Retried},
        refusals=_BODY | {404, 503},
    ),
    Operation(
        method="get",
        path="/v1/endpoints",
        name="listEndpoints",
        summary="List endpoints with their health",
        replies={200: models.Endpoints},
        refusals=frozenset({503}),
    ),
    Operation(
        method="post",
        path="/v1/endpoints/{name}/test",
        name="testEndpoint",
        summary="Send a test event to an endpoint at once, past the outbox",
        replies={200: models.Tested},
        refusals=frozenset({404}),
    ),
    Operation(
        method="post",
        path="/v1/endpoints/{name}/enable",
        name="enableEndpoint",
        summary="Send to an endpoint again",
        replies={200: models.Enabled},
        refusals=frozenset({404, 503}),
    ),
    Operation(
        method="post",
        path="/v1/endpoints/{name}/disable",
        name="disableEndpoint",
        summary="Send no more to an endpoint; what is for it is kept",
        replies={200: models.Enabled},
        refusals=frozenset({404, 503}),
    ),
)

# What each may be asked for; of these, that which may be repeated.
PARAMETERS: Mapping[tuple[str, str], tuple[str, ...]] = {
    (each.method, each.path): tuple(each.query.model_fields) for each in OPERATIONS if not each.open
}
REPEATABLE = frozenset({"label"})
