"""The keys that endpoints of every type have: where events are sent, which events, how fast and how often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from notifier.config.identity import CaFile, PemFile, impossible_certificate
from notifier.config.problems import carry, detail, got, invalid, refusal, suggest
from notifier.config.reading import digest
from notifier.config.secret import Secret, SecretUrl, check_http, server
from notifier.config.section import Context, Impossible, Section
from notifier.config.types import Duration, PositiveDuration, Rate, Text, Whole, delivery_header, printable
from notifier.core.model import EventType
from notifier.core.retry import SCHEDULE

_MINUTE = 60.0
_DAY = 86400.0


def _event_glob(value: object) -> str:
    glob = printable(value)
    if not any(fnmatchcase(kind, glob) for kind in EventType):
        kinds = [str(kind) for kind in EventType]
        message = f"{got(value)} matches no type of event; there are {', '.join(kinds)}"
        raise invalid(message, suggestion=suggest(glob, [*kinds, "task.*", "watch.*", "endpoint.*"]))
    return glob


def known_source(value: object, info: ValidationInfo) -> str:
    """Return the name of a configured source. Raises PydanticCustomError for any other."""
    return _known(value, "source", Context.of(info).sources)


def known_endpoint(value: object, info: ValidationInfo) -> str:
    """Return the name of a configured endpoint. Raises PydanticCustomError for any other."""
    return _known(value, "endpoint", Context.of(info).endpoints)


def _known(value: object, kind: str, names: tuple[str, ...] | None) -> str:
    text = printable(value)
    if names is not None and text not in names:
        there = f"there are {', '.join(names)}" if names else "there is none"
        raise invalid(f"unknown {kind} {got(value)}; {there}", suggestion=suggest(text, names))
    return text


def _distinct(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Refuse headers that differ in case only."""
    lowered = [str(name).lower() for name in value] if isinstance(value, Mapping) else []
    faults = [
        detail((name, "[key]"), invalid("given twice; headers that differ in case only are the same"))
        for index, name in enumerate(value if lowered else ())
        if lowered.index(lowered[index]) < index
    ]
    try:
        headers = handler(value)
    except ValidationError as exc:
        raise refusal(carry(exc) + faults) from exc
    if faults:
        raise refusal(faults)
    return headers


def _proxy(url: SecretUrl) -> SecretUrl:
    """Refuse a URL that does not name an HTTP proxy."""
    if url.scheme != "http":
        raise invalid("expected the URL of an HTTP proxy, such as http://proxy.example.com:3128")
    parts = urlsplit(server(check_http(url)).reveal())
    if parts.path not in ("", "/") or parts.query:
        raise invalid("a proxy has no path and no query; expected a URL such as http://proxy.example.com:3128")
    return url


SourceName = Annotated[str, BeforeValidator(known_source), WithJsonSchema({"type": "string", "minLength": 1})]
EndpointName = Annotated[str, BeforeValidator(known_endpoint), WithJsonSchema({"type": "string", "minLength": 1})]
EventGlob = Annotated[
    str, BeforeValidator(_event_glob), WithJsonSchema({"type": "string", "examples": ["task.*", *map(str, EventType)]})
]
ProxyUrl = Annotated[SecretUrl, AfterValidator(_proxy)]
HeaderName = Annotated[str, AfterValidator(delivery_header)]


class MatchConfig(Section):
    """The watches whose events an endpoint receives, if a watch does not name its endpoints."""

    source: SourceName | None = Field(default=None, description="only watches of this source")
    labels: dict[Text, Text] = Field(default={}, description="only watches with all of these labels")


class EndpointKeys(Section):
    """The keys that endpoints of every type have."""

    events: tuple[EventGlob, ...] = Field(
        default=("task.*", "watch.lost"), min_length=1, description="types of event to send, as globs"
    )
    match: MatchConfig | None = Field(default=None, description="which watches; null: all")
    timeout: PositiveDuration = Field(
        default=15.0, description="for one attempt, from the name lookup to the end of the response"
    )
    retry_schedule: tuple[Duration, ...] = Field(
        default=SCHEDULE, min_length=1, description="waits before the attempts; after the last one the delivery is dead"
    )
    max_in_flight: Whole = Field(default=32, description="attempts at a time")
    rate_limit: Rate | None = Field(default=None, description="attempts per time, such as 10/s, 100/m or 5/h")
    ordering: Literal["strict", "latest"] = Field(
        default="strict", description="strict: every event, in order; latest: a newer state replaces an unsent one"
    )
    failing_after: PositiveDuration = Field(
        default=5 * _MINUTE, description="after so long without a success, operators get endpoint.failing"
    )
    disable_after: PositiveDuration = Field(
        default=5 * _DAY, description="after so long with failures only, it is disabled"
    )

    @property
    def origin(self) -> str:
        """Return the part of the receiver's address that may be shown."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """Return the text that tells the receiver from others; it holds secrets."""
        raise NotImplementedError


class HttpEndpointKeys(EndpointKeys):
    """The keys of endpoints that are sent HTTP requests."""

    headers: Annotated[dict[HeaderName, Secret], WrapValidator(_distinct)] = Field(
        default={}, description="additional headers; the values are secret"
    )
    proxy: ProxyUrl | None = Field(default=None, description="http://[USER:PASSWORD@]HOST:PORT; null: none")
    ca_file: CaFile | None = Field(
        default=None, description="PEM file of authorities to trust in place of the system's"
    )
    cert_file: PemFile | None = Field(default=None, description="PEM file of the client certificate (mutual TLS)")
    key_file: PemFile | None = Field(
        default=None, description="PEM file of its private key; null: cert_file holds it too"
    )
    _files: tuple[str | None, ...] = PrivateAttr(default=())  # digests: a certificate is renewed under its old name

    def model_post_init(self, _context: Any) -> None:
        """Store a digest of each file, so that an endpoint whose files changed compares unequal to the earlier one."""
        self._files = tuple(digest(path) for path in (self.ca_file, self.cert_file, self.key_file) if path)

    @property
    def target(self) -> SecretUrl:
        """Return the URL that requests go to, or begin with."""
        raise NotImplementedError

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return self.target.origin

    @property
    def identity(self) -> str:
        """Return the whole URL."""
        return self.target.reveal()

    def impossible(self) -> Iterator[Impossible]:
        """Refuse a certificate that cannot be presented."""
        yield from impossible_certificate(self.cert_file, self.key_file, secure=self.target.scheme == "https")
