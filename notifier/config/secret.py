"""Secrets, which print as `<secret>`, and URLs that may hold credentials, which print as their origin.

A secret is written as text (usually a variable), `{file: PATH}` or `{credential: NAME}`. No message shows it.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from notifier.config.problems import detail, got, invalid, refusal, suggest
from notifier.config.reading import read_bytes
from notifier.config.section import Context
from notifier.config.types import printable, seen
from notifier.core.signing import SecretError, decode_secret

MAX_SECRET_BYTES = 64 * 1024  # of a file, which may be endless
_REFERENCES = ("file", "credential")


class Secret:
    """A text that prints as `<secret>`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return value if isinstance(value, cls) else cls(_content(value, Context.of(info)))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate text or a reference; serialise as the printed form."""
        return core_schema.with_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the three ways to write it."""
        text = {"type": "string", "minLength": 1}
        references = [
            {"type": "object", "properties": {kind: text}, "required": [kind], "additionalProperties": False}
            for kind in _REFERENCES
        ]
        return {"anyOf": [text, {"type": "integer", "minimum": 0}, *references]}


class SecretUrl(Secret):
    """A URL that prints as its origin: its path, query or user may be secret."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """Return the scheme in lower case."""
        return self._value.partition(":")[0].lower()

    @property
    def origin(self) -> str:
        """Return `scheme://host[:port]`; for SQLite, which has no host and no password, also the path."""
        if self.scheme == "sqlite":
            return self._value.partition("?")[0]
        return f"{self.scheme}://{urlsplit(self._value).netloc.rpartition('@')[2]}"

    def __repr__(self) -> str:
        return self.origin

    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, cls):
            return value
        content = _content(value, Context.of(info))
        if "://" not in content or not cls._sound(content) or any(map(str.isspace, content)):
            raise invalid("expected a URL such as https://example.com/path")
        return cls(content)

    @classmethod
    def _sound(cls, content: str) -> bool:
        try:
            parts = urlsplit(content)
            return parts.port != 0 and bool(parts.scheme)
        except ValueError:  # a port out of range, or brackets that do not match
            return False


def _content(value: Any, context: Context) -> str:
    if isinstance(value, dict):
        value = _referred(value, context)
    try:
        content = printable(value)
    except ValueError as exc:
        if isinstance(value, str):  # these messages do not show the value
            raise invalid(f"{exc}; a secret or URL is one line of text") from exc
        raise invalid("expected text in quotes, {file: PATH} or {credential: NAME}") from exc
    return seen(content)  # others would refuse the rest as if the secret were wrong


def _referred(value: dict[str, Any], context: Context) -> str:
    match value:
        case {"file": str(path), **rest} if not rest:
            return _file(context.directory / str(path), "secret file", context)
        case {"credential": str(name), **rest} if not rest:
            if not name or "/" in name or name in (".", ".."):
                raise invalid("the name of a credential has no slash and is not empty")
            directory = context.env.get("CREDENTIALS_DIRECTORY")
            if not directory:
                raise invalid(
                    "no credentials here: CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential"
                )
            return _file(Path(directory) / str(name), "credential", context)
        case {"file": other} | {"credential": other} if len(value) == 1:
            raise refusal([detail(tuple(value), invalid(f"expected text, got {got(other)}"))])
        case _:
            hint = next((suggest(str(key), _REFERENCES) for key in value if key not in _REFERENCES), None)
            raise invalid("expected text, {file: PATH} or {credential: NAME}", suggestion=hint)


def _file(path: Path, kind: str, context: Context) -> str:
    context.note(path)
    try:
        if not path.is_file():  # a pipe or device may block for ever, or be endless
            raise invalid(f"{kind} cannot be read: {'not a regular file' if path.exists() else 'no such file'}")
        content = read_bytes(path, MAX_SECRET_BYTES, pipes=False)
        if len(content) > MAX_SECRET_BYTES:
            raise invalid(f"{kind} is larger than {MAX_SECRET_BYTES // 1024} KiB")
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as exc:
        raise invalid(f"{kind} cannot be read: {getattr(exc, 'strerror', None) or 'not UTF-8'}") from exc


def signing(secret: Secret) -> Secret:
    """Refuse a secret that cannot sign."""
    try:
        decode_secret(secret.reveal())
    except SecretError as exc:  # its message does not show the secret
        raise invalid(str(exc)) from exc
    return secret


def check_http(url: SecretUrl) -> SecretUrl:
    """Refuse a URL that no HTTP request can be sent to. Raises ValueError, also for a port that cannot be."""
    parts = urlsplit(url.reveal())
    if parts.scheme not in ("http", "https") or parts.port == 0 or not re.fullmatch(r"[\w.:%-]+", parts.hostname or ""):
        raise invalid("expected a URL that begins with http:// or https:// and names a host")
    if parts.fragment:
        raise invalid("a fragment (#...) is never sent; remove it")
    return url


def server(url: SecretUrl) -> SecretUrl:
    """Refuse a URL whose password holds a delimiter of URLs: its origin would show a part of the password."""
    parts = urlsplit(url.reveal())
    if parts.fragment or "@" in parts.path + parts.query:
        raise invalid("percent-encode `/`, `?`, `#` and `@` in a user name or password (as in %40 for `@`)")
    return url


def is_loopback(host: str) -> bool:
    """Return whether the host is certainly this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


SigningSecret = Annotated[Secret, AfterValidator(signing)]
HttpUrl = Annotated[SecretUrl, AfterValidator(check_http)]
