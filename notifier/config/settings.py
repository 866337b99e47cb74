"""The small sections: store, HTTP listener, callbacks, log, node."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from notifier.config.database import DatabaseUrl, StoreUrl
from notifier.config.problems import got, invalid
from notifier.config.scalars import Interpolated
from notifier.config.secret import HttpUrl, Secret, SigningSecret, is_loopback
from notifier.config.section import Impossible, Section
from notifier.config.types import Boolean, PositiveDuration, Printable, printable
from notifier.core.callback import CallbackPolicy

MAX_UNIX_PATH = 107  # bytes; sun_path of unix(7) holds 108 with its NUL

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """An address on a network to listen on."""

    host: str  # an IPv6 address has no brackets
    port: int  # 0: any free one


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixAddress:
    """A Unix socket to listen on."""

    path: Path


Address = TcpAddress | UnixAddress


def _address(text: str, shown: str) -> Address:
    wanted = 'expected an address such as "127.0.0.1:8780", "[::1]:8780" or unix:/run/notifier.sock'
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or len(path.encode()) > MAX_UNIX_PATH:
            raise invalid(f"expected unix: and a path of 1 to {MAX_UNIX_PATH} bytes")
        return UnixAddress(path=Path(path))
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})", text)
    if match is None:
        raise invalid(f"{wanted}, got {shown}")
    if match["v6"]:
        try:
            ipaddress.IPv6Address(match["v6"])
        except ValueError as exc:
            raise invalid(f"{wanted}; there is no IPv6 address between the brackets") from exc
    if int(match["port"]) > 65535:
        raise invalid(f"{wanted}; a port is at most 65535")
    return TcpAddress(host=match["v6"] or match["host"], port=int(match["port"]))


def _listen(value: object) -> str:
    text = printable(value)
    _address(text, got(value))
    return text


def _public_url(value: object) -> str:
    text = printable(value)
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, brackets that do not match
        sound = False
    if not sound or " " in text:
        raise invalid(f"expected a URL such as https://notifier.example.com, got {got(value)}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise invalid("holds a user name, a query or a fragment; write only the scheme, the host and a path")
    return text.rstrip("/")


PublicUrl = Annotated[str, BeforeValidator(_public_url), WithJsonSchema({"type": "string", "minLength": 1})]


class StoreConfig(Section):
    """The database."""

    url: DatabaseUrl = Field(
        default=StoreUrl("sqlite:///./notifier.db"),
        description="sqlite:///PATH, or postgresql://..., which several nodes can share",
    )
    retention: PositiveDuration = Field(default=7 * 86400.0, description="how long finished watches are kept")


class HttpConfig(Section):
    """The HTTP API, status page and metrics."""

    listen: Annotated[str, BeforeValidator(_listen), WithJsonSchema({"type": "string", "minLength": 1})] | None = Field(
        default="127.0.0.1:8780", description="HOST:PORT, [IPV6]:PORT or unix:PATH; null: no listener"
    )
    token: Secret | None = Field(
        default=None, description="bearer token of clients; required on an address that others can reach"
    )
    public_url: PublicUrl | None = Field(
        default=None, description="the URL by which browsers reach the status page; messages link to it"
    )

    @property
    def address(self) -> Address | None:
        """Return the address to listen on; None: do not listen."""
        return None if self.listen is None else _address(self.listen, "this")

    def impossible(self) -> Iterator[Impossible]:
        """Refuse to open the API to others without a token."""
        match self.address:
            case TcpAddress(host=host) if self.token is None and not is_loopback(host):
                message = "others can reach this address: set http.token, or listen on 127.0.0.1"
                yield Impossible(key="listen", keys=frozenset({"listen", "token"}), message=message)


class HeartbeatConfig(Section):
    """A GET now and then to a monitor, which raises an alarm when it gets none."""

    url: HttpUrl | None = Field(
        default=None, description="where to send it, for example https://hc-ping.com/UUID; null: nowhere"
    )
    every: PositiveDuration = Field(default=60.0, description="time between heartbeats; none is sent while not ready")


def network(value: object) -> IPNetwork:
    """Return a network of IP addresses. Raises PydanticCustomError."""
    if isinstance(value, IPNetwork):
        return value
    text = printable(value)
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError as exc:
        raise invalid(f"expected a network such as 10.0.0.0/8 or fd00::/8, got {got(value)}") from exc
    if str(found.network_address) != str(ipaddress.ip_interface(text).ip):
        hint = None if isinstance(value, Interpolated) else str(found)
        raise invalid(f"expected a network, got an address inside of one: {got(value)}", suggestion=hint)
    return found


class TracingConfig(Section):
    """Spans for a collector of OpenTelemetry."""

    url: HttpUrl | None = Field(
        default=None, description="of OTLP over HTTP, such as http://localhost:4318/v1/traces; null: no spans are made"
    )
    headers: dict[Printable, Secret] = Field(default={}, description="of the requests to it; the values are secret")
    service: Printable = Field(default="notifier", description="the name of this service in traces")


def _host_glob(value: object) -> str:
    text = printable(value)
    if not re.fullmatch(r"[\w.*?:-]+", text) or "//" in text:
        raise invalid("expected a host such as hooks.example.com or *.example.com, not a URL")
    if not text.isascii():
        raise invalid("write an international host name in ASCII (xn--...)")
    return text.lower()


class CallbacksConfig(Section):
    """Callback URLs that arrive with a watch, by queue or API."""

    enabled: Boolean = Field(default=False, description="accept callback_url; default: true if `secret` is set")
    secret: SigningSecret | None = Field(
        default=None, description="whsec_...; signs where a watch has no callback_secret; required if enabled"
    )
    allow_hosts: tuple[
        Annotated[str, BeforeValidator(_host_glob), WithJsonSchema({"type": "string", "examples": ["*.example.com"]})],
        ...,
    ] = Field(default=("*",), description="globs of hosts that callbacks may name")
    allow_networks: tuple[
        Annotated[
            IPNetwork,
            PlainValidator(network),
            PlainSerializer(str),
            WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "fd00::/8"]}),
        ],
        ...,
    ] = Field(default=(), description="private networks that callbacks may reach")
    allow_http: Boolean = Field(default=False, description="accept http:// as well as https://")

    @classmethod
    def arrange(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Enable callbacks by default if there is a secret."""
        return {"enabled": value.get("secret") is not None} | value

    def impossible(self) -> Iterator[Impossible]:
        """Refuse callbacks that could not be signed."""
        if self.enabled and self.secret is None:
            message = "required when callbacks are enabled, but missing; `notifier secret new` makes one"
            yield Impossible(key="secret", keys=frozenset({"secret", "enabled"}), message=message)

    def refusal(self, url: str) -> str | None:
        """Return why a watch's callback URL is refused; None if it is accepted."""
        if not self.enabled:
            return "no callback URLs are taken here (callbacks.enabled is false); name endpoints"
        return self.policy.refusal(url)

    @property
    def policy(self) -> CallbackPolicy:
        """Return the rules for callback URLs and the addresses behind them."""
        return CallbackPolicy(
            allow_hosts=self.allow_hosts, allow_networks=self.allow_networks, allow_http=self.allow_http
        )


class LogConfig(Section):
    """The log, on standard error."""

    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, json elsewhere"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the lowest level that is logged"
    )


class NodeConfig(Section):
    """This process among the nodes that share the database."""

    name: Printable | None = Field(default=None, description="unique among the nodes; null: the host's name")
    timeout: PositiveDuration = Field(
        default=10.0, description="after so long without a heartbeat, others take over a node's work"
    )
