"""Endpoints that people read: chat services."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from notifier.config.endpoint_keys import EndpointKeys, HttpEndpointKeys
from notifier.config.problems import got, invalid
from notifier.config.secret import HttpUrl, Secret, SecretUrl
from notifier.config.section import Impossible
from notifier.config.template import TextTemplate
from notifier.config.types import Boolean, PositiveDuration, Printable, Rate, Whole, printable
from notifier.senders.mention import slack_mention
from notifier.senders.notice import MAX_METADATA, Additions
from notifier.senders.services import ServiceName

MAX_MENTIONS = 10
_SLACK = "https://slack.com/api"
SLACK_API = SecretUrl(_SLACK)


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


def _url_or_bot(schema: dict[str, Any]) -> None:
    """Require a URL, or a bot's token and channel, in the JSON Schema."""
    schema["anyOf"] = [{"required": ["url"]}, {"required": ["token", "channel"]}]


def _token(token: Secret) -> Secret:
    """Refuse a token that no header can carry."""
    text = token.reveal()
    if "://" in text or not text.isascii() or any(map(str.isspace, text)):
        raise invalid("expected a bot's token, such as xoxb-...")
    return token


class MessageKeys(EndpointKeys):
    """The keys of endpoints that people read."""

    ordering: Literal["strict", "latest"] = Field(
        default="latest", description="latest: a newer state replaces an unsent one; strict: every event, in order"
    )
    retry_on_timeout: Boolean = Field(
        default=True, description="false: do not retry after a timeout; a message may be lost, but never shown twice"
    )
    digest: PositiveDuration | None = Field(
        default=None, description="gather events for so long, and send one message; null: each at once"
    )
    metadata: Annotated[tuple[_Key, ...], BeforeValidator(_listed, json_schema_input_type=_Key | tuple[_Key, ...])] = (
        Field(default=(), max_length=MAX_METADATA, description="keys of a watch's metadata that messages show")
    )


class SlackEndpoint(MessageKeys, HttpEndpointKeys):
    """A channel of Slack, by an incoming webhook or a bot's token, or one of a similar service."""

    model_config = ConfigDict(json_schema_extra=_url_or_bot)

    elsewhere: ClassVar[dict[str, str]] = dict.fromkeys(
        ("secrets", "signature"), "Slack endpoints are not signed; remove it"
    )

    type: Literal["slack"] = Field(description="messages for people in Slack, by an incoming webhook or a bot")
    url: HttpUrl | None = Field(
        default=None, description="of an incoming webhook; may be {file: PATH} or {credential: NAME}"
    )
    token: Annotated[Secret, AfterValidator(_token)] | None = Field(
        default=None, description="of a bot (xoxb-...) in place of `url`: one message per task, edited as it moves"
    )
    channel: Printable | None = Field(default=None, description="where the bot posts: an id (C...), or a name")
    thread: Boolean = Field(default=False, description="the bot tells failures in the thread of the task's message too")
    api_url: HttpUrl = Field(
        default=SLACK_API,
        description="of Slack's Web API; the names of its methods are put behind it",
        json_schema_extra={"default": _SLACK},  # of a secret URL the schema would show the host alone
    )
    service: ServiceName = Field(default="slack", description="slack, mattermost, discord or feishu (Lark)")
    template: TextTemplate | None = Field(
        default=None, description="Jinja2 template of the message, in the service's markup; null: built in"
    )
    max_in_flight: Whole = Field(default=1, description="attempts at a time")
    rate_limit: Rate | None = Field(default=1.0, description="messages per time; Slack's limit is 1/s")
    mention: Annotated[
        tuple[_Mention, ...], BeforeValidator(_listed, json_schema_input_type=_Mention | tuple[_Mention, ...])
    ] = Field(default=(), max_length=MAX_MENTIONS, description="who is called when something fails; Slack only")

    def impossible(self) -> Iterator[Impossible]:
        """Refuse additions to a message that they would not get into."""
        yield from super().impossible()
        yield from self._impossible_bot()
        yield from _impossible_digest(self)
        if self.mention and self.service != "slack":
            message = f"only Slack's messages mention somebody; remove it, or `service: {self.service}`"
            yield Impossible(key="mention", keys=frozenset({"mention", "service"}), message=message)
        if self.template is not None:
            for key in ("mention", "metadata"):
                if getattr(self, key):
                    message = f"a template makes the whole message; remove it, or `{key}`"
                    yield Impossible(key=key, keys=frozenset({key, "template"}), message=message)

    def _impossible_bot(self) -> Iterator[Impossible]:
        """Refuse an endpoint that is neither a webhook nor a bot, or both."""
        both = frozenset({"url", "token", "channel"})
        if self.token is None and self.url is None:
            message = "required, but missing: an incoming webhook's URL, or a bot's `token` and `channel`"
            yield Impossible(key="url", keys=both, message=message)
        if self.token is not None and self.url is not None:
            yield Impossible(key="token", keys=both, message="a bot posts without an incoming webhook; remove `url`")
        if self.token is not None and self.channel is None:
            yield Impossible(key="channel", keys=both, message="required with `token`, but missing")
        if self.token is not None and self.service != "slack":
            message = f"only Slack has bots here; remove it, or `service: {self.service}`"
            yield Impossible(key="token", keys=both | {"service"}, message=message)
        if self.token is None:
            for key in ("channel", "thread"):
                if getattr(self, key):
                    message = (
                        "an incoming webhook has a channel of its own and edits nothing; set `token`, or remove it"
                    )
                    yield Impossible(key=key, keys=both | {"thread"}, message=message)
        elif self.mention and not self.thread and self.digest is None:
            message = "an edited message calls nobody; set `thread: true`, whose replies do, or remove it"
            yield Impossible(key="mention", keys=both | {"mention", "thread"}, message=message)

    @property
    def target(self) -> SecretUrl:
        """Return the URL of the webhook, or of the API."""
        return self.api_url if self.url is None else self.url

    @property
    def identity(self) -> str:
        """Return the URL of the webhook; or the API, token and channel of the bot."""
        if self.token is None:
            return self.target.reveal()
        return f"{self.api_url.reveal()}\n{self.token.reveal()}\n{self.channel}"

    def additions(self, public_url: str | None) -> Additions:
        """Return what messages show beside the event; `public_url` is the status page's."""
        mentions = tuple(filter(None, map(slack_mention, self.mention)))
        return Additions(metadata=self.metadata, mentions=mentions, public_url=public_url)


class AppriseUrl(SecretUrl):
    """A URL of Apprise, of which every part but the scheme may be secret."""

    __slots__ = ()

    @property
    def origin(self) -> str:
        """Return the scheme alone: a token may stand where other URLs have a host."""
        return f"{self.scheme}://"

    @classmethod
    def _sound(cls, content: str) -> bool:
        return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", content) is not None


def _known(url: AppriseUrl) -> AppriseUrl:
    """Refuse a URL that Apprise does not know. If it is not installed, `check` says that instead."""
    if find_spec("apprise") is None:
        return url
    from notifier.senders.apprise_service import service  # lazily: Apprise takes 300 ms to load

    try:
        service(url.reveal())
    except ValueError as exc:
        raise invalid(f"{exc}; see Apprise's documentation of {url.origin}") from exc
    return url


_NO_HTTP = "Apprise sends in its own way; set what its URL allows, or remove it"


class AppriseEndpoint(MessageKeys):
    """A service that Apprise knows, by its URL."""

    elsewhere: ClassVar[dict[str, str]] = dict.fromkeys(
        ("headers", "proxy", "ca_file", "cert_file", "key_file", "secrets", "signature"), _NO_HTTP
    )

    type: Literal["apprise"] = Field(description="messages for people, by any service that Apprise knows (an extra)")
    url: Annotated[AppriseUrl, AfterValidator(_known)] = Field(
        description="Apprise's URL of the service, which is secret; may be {file: PATH} or {credential: NAME}"
    )
    template: TextTemplate | None = Field(default=None, description="Jinja2 template of the message; null: built in")
    max_in_flight: Whole = Field(default=1, description="attempts at a time; each has a thread")
    rate_limit: Rate | None = Field(default=1.0, description="messages per time")

    def impossible(self) -> Iterator[Impossible]:
        """Refuse additions to a message that they would not get into."""
        yield from _impossible_digest(self)
        if self.template is not None and self.metadata:
            message = "a template makes the whole message; remove it, or `metadata`"
            yield Impossible(key="metadata", keys=frozenset({"metadata", "template"}), message=message)

    @property
    def origin(self) -> str:
        """Return the scheme."""
        return self.url.origin

    @property
    def identity(self) -> str:
        """Return the URL."""
        return self.url.reveal()

    def additions(self, public_url: str | None) -> Additions:
        """Return what messages show beside the event; `public_url` is the status page's."""
        return Additions(metadata=self.metadata, public_url=public_url)


def _impossible_digest(endpoint: SlackEndpoint | AppriseEndpoint) -> Iterator[Impossible]:
    """Refuse a digest with what single messages have."""
    if endpoint.digest is None:
        return
    if endpoint.ordering == "strict":
        message = "a digest has the newest state of each task; remove `ordering: strict`, or `digest`"
        yield Impossible(key="digest", keys=frozenset({"digest", "ordering"}), message=message)
    if endpoint.template is not None:
        message = "a template is for single events; remove it, or `digest`"
        yield Impossible(key="digest", keys=frozenset({"digest", "template"}), message=message)
    if isinstance(endpoint, SlackEndpoint) and endpoint.thread:
        message = "a digest is a message of many tasks and has no thread of one; remove `thread`, or `digest`"
        yield Impossible(key="digest", keys=frozenset({"digest", "thread"}), message=message)
    if endpoint.rate_limit is None:
        message = "one node sends a digest, which a rate_limit makes sure of; set one, such as 1/s"
        yield Impossible(key="digest", keys=frozenset({"digest", "rate_limit"}), message=message)
