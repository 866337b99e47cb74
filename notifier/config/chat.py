"""Endpoints that people read: chat services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from notifier.config.endpoint_keys import EndpointKeys
from notifier.config.problems import got, invalid
from notifier.config.section import Impossible
from notifier.config.template import TextTemplate
from notifier.config.types import Boolean, Rate, Whole, printable
from notifier.senders.mention import slack_mention
from notifier.senders.notice import MAX_METADATA, Additions
from notifier.senders.services import ServiceName

MAX_MENTIONS = 10


def _mention(value: object) -> str:
    name = printable(value)
    if slack_mention(name) is None:
        raise invalid(f"expected here, channel, a user's id (U...) or a group's (S...), got {got(value)}")
    return name


def _listed(value: Any) -> Any:
    """Return a list; a single value may stand without it."""
    return value if isinstance(value, list | tuple) else [value]


_Key = Annotated[str, BeforeValidator(printable), WithJsonSchema({"type": "string", "minLength": 1})]
_Mention = Annotated[
    str, BeforeValidator(_mention), WithJsonSchema({"type": "string", "examples": ["here", "U012AB3CD"]})
]


class SlackEndpoint(EndpointKeys):
    """An incoming webhook of Slack or a similar service."""

    elsewhere: ClassVar[dict[str, str]] = dict.fromkeys(
        ("secrets", "signature"), "Slack endpoints are not signed; remove it"
    )

    type: Literal["slack"] = Field(description="messages for people, by an incoming webhook of Slack")
    service: ServiceName = Field(default="slack", description="slack, mattermost, discord or feishu (Lark)")
    template: TextTemplate | None = Field(
        default=None, description="Jinja2 template of the message, in the service's markup; null: built in"
    )
    max_in_flight: Whole = Field(default=1, description="attempts at a time")
    rate_limit: Rate | None = Field(default=1.0, description="messages per time; Slack's limit is 1/s")
    ordering: Literal["strict", "latest"] = Field(
        default="latest", description="latest: a newer state replaces an unsent one; strict: every event, in order"
    )
    retry_on_timeout: Boolean = Field(
        default=True, description="false: do not retry after a timeout; a message may be lost, but never shown twice"
    )
    metadata: Annotated[tuple[_Key, ...], BeforeValidator(_listed, json_schema_input_type=_Key | tuple[_Key, ...])] = (
        Field(default=(), max_length=MAX_METADATA, description="keys of a watch's metadata that messages show")
    )
    mention: Annotated[
        tuple[_Mention, ...], BeforeValidator(_listed, json_schema_input_type=_Mention | tuple[_Mention, ...])
    ] = Field(default=(), max_length=MAX_MENTIONS, description="who is called when something fails; Slack only")

    def impossible(self) -> Iterator[Impossible]:
        """Refuse additions to a message that they would not get into."""
        yield from super().impossible()
        if self.mention and self.service != "slack":
            message = f"only Slack's messages mention somebody; remove it, or `service: {self.service}`"
            yield Impossible(key="mention", keys=frozenset({"mention", "service"}), message=message)
        if self.template is not None:
            for key in ("mention", "metadata"):
                if getattr(self, key):
                    message = f"a template makes the whole message; remove it, or `{key}`"
                    yield Impossible(key=key, keys=frozenset({key, "template"}), message=message)

    def additions(self, public_url: str | None) -> Additions:
        """Return what messages show beside the event; `public_url` is the status page's."""
        mentions = tuple(filter(None, map(slack_mention, self.mention)))
        return Additions(metadata=self.metadata, mentions=mentions, public_url=public_url)
