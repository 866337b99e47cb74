"""The URL of the store: an SQLite file, or a PostgreSQL database in libpq's form.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator

from notifier.config.problems import invalid, suggest
from notifier.config.secret import SecretUrl, server
from notifier.core.databases import POSTGRESQL, is_shared

SHOWN = ("host", "hostaddr", "port", "dbname")  # parameters that name the database and are not secret

_URL = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^@/?]*)@)?(?P<hosts>[^@/?]*)(?:/(?P<name>[^@?]*))?(?:\?(?P<query>[^@]*))?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.%-]+)?\]|[\w.%-]*)(?::(?P<port>[0-9]*))?")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The parts of a PostgreSQL URL that name the database."""

    hosts: str
    name: str
    parameters: tuple[tuple[str, str], ...]


class StoreUrl(SecretUrl):
    """A database URL that prints without user, password and other parts that may be secret."""

    __slots__ = ()

    @property
    def shared(self) -> bool:
        """Return whether several nodes can work on the database."""
        return is_shared(self._value)

    @property
    def origin(self) -> str:
        """Return the parts of the URL that name the database."""
        parts = _split(self._value) if self.shared else None
        if parts is None:
            return super().origin
        query = "&".join(f"{key}={value}" for key, value in parts.parameters if key in SHOWN)
        return f"postgresql://{parts.hosts}{'/' * bool(parts.name or query)}{parts.name}{'?' * bool(query)}{query}"

    @classmethod
    def _sound(cls, content: str) -> bool:
        host = content.partition("://")[2].rpartition("@")[2].partition("/")[0]
        if " " in content.strip() and " " not in host:
            raise invalid("write a blank as %20")
        return is_shared(content) or super()._sound(content)


def _split(url: str) -> _Parts | None:
    match = _URL.fullmatch(url)
    if match is None:
        return None
    pairs = (pair.partition("=") for pair in (match["query"] or "").split("&") if pair)
    parameters = tuple((unquote(key), value) for key, _, value in pairs)
    return _Parts(hosts=match["hosts"], name=match["name"] or "", parameters=parameters)


def check_store(url: StoreUrl) -> StoreUrl:
    """Refuse a URL that names no lasting database. No message repeats any part of the URL."""
    if not url.shared and url.scheme != "sqlite":
        hint = suggest(url.scheme.partition("+")[0], ["sqlite", *POSTGRESQL])
        raise invalid("expected a URL that begins with sqlite:/// or postgresql://", suggestion=hint and f"{hint}://")
    if url.shared:
        for fault, hint in _faults(url.reveal()):
            raise invalid(fault, suggestion=hint)
        return url
    text = url.reveal()
    if not re.fullmatch(r"sqlite:///[^?]*[^?/].*", text, re.IGNORECASE):
        raise invalid(
            "expected sqlite:/// and a path, such as sqlite:///./notifier.db or sqlite:////var/lib/notifier.db"
        )
    if ":memory:" in text:
        raise invalid("a database in memory loses everything at the end; name a file, such as sqlite:///./notifier.db")
    if "#" in text:
        raise invalid("write `#` in a path as %23")
    if "%00" in text:
        raise invalid("no path holds the character %00")
    server(url)
    return url


def _faults(url: str) -> Iterator[tuple[str, str | None]]:
    parts = None if "#" in url else _split(url)
    if parts is None:
        yield "percent-encode `/`, `?`, `#` and `@` in a user name or password (as in %40 for `@`)", None
        return
    if _BAD_PERCENT.search(url):
        yield "a `%` that stands for itself is written %25", None
    for host in parts.hosts.split(","):
        match = _HOST.fullmatch(host)
        if match is None or (match["port"] and not 1 <= int(match["port"][:6]) <= 65535):
            yield "expected postgresql://USER:PASSWORD@HOST:PORT/NAME, with a port of 1 to 65535", None
            return
    yield from _unknown(key for key, _ in parts.parameters)
    if not _is_read_by_libpq(url):
        yield "PostgreSQL's library cannot read this URL", None


def _unknown(keys: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    try:
        from psycopg import pq  # only users of PostgreSQL load it
    except ImportError:  # the extra is not installed; `run` reports that
        return
    known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    for key in keys:
        if key not in {*known, "ssl"}:  # `ssl=true` stands for sslmode=require
            hint = suggest(key, known)
            yield "a parameter after the `?` is none of PostgreSQL's", hint and f"{hint}=..."


def _is_read_by_libpq(url: str) -> bool:
    try:
        import psycopg
    except ImportError:
        return True
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return False
    return True


DatabaseUrl = Annotated[StoreUrl, AfterValidator(check_store)]
