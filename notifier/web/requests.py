"""What is asked over HTTP, as types: they tell the OpenAPI document, and which parameters there are.

Values are read by `query` and the configuration's own model of a watch, which say in our words what is wrong with them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from notifier.core.callback_policy import MAX_URL
from notifier.web.models import TaskId, Time, Type
from notifier.web.query import MAX_ID, MAX_LIMIT

PhaseFilter = Literal["queued", "running", "succeeded", "failed", "canceled", "new", "lost"]
StatusFilter = Literal["pending", "ready", "waiting", "delivered", "dead", "superseded"]
DeliveryId = Annotated[int, Field(ge=0, le=MAX_ID)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class NoQuery(_Asked):
    """No parameter."""


class Page(_Asked):
    """Which part of a list."""

    limit: int = Field(default=100, ge=1, le=MAX_LIMIT, description="items of a page")
    cursor: str | None = Field(default=None, description="`next` of the page before")


class WatchQuery(Page):
    """Which watches."""

    source: str | None = Field(default=None, description="of this source")
    phase: PhaseFilter | None = Field(
        default=None, description="`new`: nothing was observed yet; `lost`: given up, and so in no other phase"
    )
    state: str | None = Field(default=None, description="the provider's own word")
    label: list[str] | None = Field(default=None, description="KEY:VALUE; may be repeated, and all have to be there")
    q: str | None = Field(default=None, description="a part of the id, in upper or lower case")
    ended: bool | None = Field(default=None, description="whether nothing more will happen")


class EventQuery(Page):
    """Which events."""

    source: str | None = Field(default=None, description="of this source")
    id: str | None = Field(default=None, description="of the watches with this id")
    type: Type | None = Field(default=None, description="of this type")
    after: str | None = Field(default=None, description="an event's cursor: those after it, oldest first")


class StreamQuery(_Asked):
    """Which events, as they come."""

    source: str | None = Field(default=None, description="of this source")
    type: Type | None = Field(default=None, description="of this type")
    after: str | None = Field(default=None, description="an event's cursor, for clients that send no Last-Event-ID")


class DeliveryQuery(Page):
    """Which deliveries."""

    endpoint: str | None = Field(default=None, description="to this endpoint")
    status: StatusFilter | None = Field(default=None, description="`pending`: ready or waiting")
    since: Time | None = Field(default=None, description="created at or after this time")
    until: Time | None = Field(default=None, description="created before this time")


class RetryRequest(_Asked):
    """Which dead deliveries to send again; all that is left out means any."""

    endpoint: str | None = None
    since: Time | None = None
    until: Time | None = None


class WatchRequest(_Asked):
    """A task to follow."""

    id: TaskId | Annotated[int, Field(ge=0)] = Field(description="the provider's id of the task")
    source: str | None = Field(default=None, description="needed where there are several sources and no default")
    endpoints: list[str] | None = Field(default=None, description="whom to tell; null: all whose match accepts it")
    labels: dict[str, str] = Field(default={}, description="to match, filter and show by")
    metadata: Any = Field(default=None, description="sent along with every event")
    callback_url: str | None = Field(
        default=None, max_length=MAX_URL, description="told of its events beside the endpoints; never shown again"
    )
    callback_secret: str | None = Field(
        default=None, description="whsec_...; signs what is sent there; null: `callbacks.secret` does"
    )
