"""Where the store is: a file of SQLite, or a database of PostgreSQL, whose URLs are libpq's.

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

SHOWN = ("host", "hostaddr", "port", "dbname")  # parameters that name the database, and are no secret

_URL = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^@/?]*)@)?(?P<hosts>[^@/?]*)(?:/(?P<name>[^@?]*))?(?:\?(?P<query>[^@]*))?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.%-]+)?\]|[\w.%-]*)(?::(?P<port>[0-9]*))?")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a PostgreSQL URL says of where the database is."""

    hosts: str
    name: str
    parameters: tuple[tuple[str, str], ...]


class StoreUrl(SecretUrl):
    """A URL of a database that prints without user, password and what else may be secret."""

    __slots__ = ()

    @property
    def shared(self) -> bool:
        """Return whether several nodes can work on the database."""
        return is_shared(self._value)

    @property
    def origin(self) -> str:
        """Return what tells the database from others."""
        parts = _split(self._value) if self.shared else None
        if parts is None:
            return super().origin
        query = "&".join(f"{key}={value}" for key, value in parts.parameters if key in SHOWN)
        return f"postgresql://{parts.hosts}{'/' * bool(parts.name or query)}{parts.name}{'?' * bool(query)}{query}"

    @classmethod
    def _sound(cls, content: str) -> bool:
        return is_shared(content) or super()._sound(content)


def _split(url: str) -> _Parts | None:
    found = _URL.fullmatch(url)
    if found is None:
        return None
    pairs = (pair.partition("=") for pair in (found["query"] or "").split("&") if pair)
    parameters = tuple((unquote(key), value) for key, _, value in pairs)
    return _Parts(hosts=found["hosts"], name=found["name"] or "", parameters=parameters)


def check_store(url: StoreUrl) -> StoreUrl:
    """Refuse what is no database that outlives the process. No message repeats any of the URL."""
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
        found = _HOST.fullmatch(host)
        if found is None or (found["port"] and not 1 <= int(found["port"][:6]) <= 65535):
            yield "expected postgresql://USER:PASSWORD@HOST:PORT/NAME, with a port of 1 to 65535", None
            return
    yield from _unknown(key for key, _ in parts.parameters)
    if not _is_read_by_libpq(url):
        yield "PostgreSQL's library cannot read this URL", None


def _unknown(keys: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    try:
        from psycopg import pq  # of those who use it, and only here
    except ImportError:  # the extra is not installed, which `run` tells
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
