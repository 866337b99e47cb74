"""Nodes, as they are told over HTTP."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from notifier.web.control import CONTROL
from notifier.web.models import Count, Time


async def nodes(request: web.Request) -> web.Response:
    """List the nodes that share the store."""
    return web.json_response({"items": await request.app[CONTROL].nodes(), "next": None})


class Node(BaseModel):
    """A daemon, as it was about a second ago; null where it told nothing."""

    model_config = ConfigDict(defer_build=True)

    number: Count = Field(description="never used again")
    name: str
    version: str
    started_at: Time
    seen_at: Time = Field(description="its last sign of life")
    timeout_seconds: float = Field(description="without a sign of life, after which the others take over")
    alive: bool | None = Field(description="null: this node has no contact to the store, and cannot know")
    leaving: bool = Field(description="it has let go of its watches, and stops")
    this: bool = Field(description="it is the one that answers")
    watches: Count = Field(description="that it follows")
    host: str | None
    pid: int | None
    http: str | None = Field(description="where it listens")
    ready: bool | None
    reason: str | None = Field(description="why it is not ready")
    streams: Count | None = Field(description="open")
    deliveries: Count | None = Field(description="under way")
    events_per_second: float | None
    deliveries_per_second: float | None


class Nodes(BaseModel):
    """All nodes."""

    model_config = ConfigDict(defer_build=True)

    items: list[Node]
    next: None
