"""Requests to the daemon, by http.client: aiohttp takes longer to load than a command to run."""

from __future__ import annotations

import json
import os
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from ssl import SSLError
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode, urlsplit

from notifier.cli.client import Client, Denied, Unreachable
from notifier.cli.output import EXIT_USAGE

if TYPE_CHECKING:
    from notifier.core.eventstream import StreamEvent
    from notifier.core.model import Json

TIMEOUT = 30.0  # seconds of a wait for the daemon
ALIVE_EVERY = 10.0  # seconds between questions whether the daemon still works at a long request
CHUNK = 1 << 16  # bytes of a stream that are read at once
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")  # OpenSSL's words for plain HTTP
SILENCE = 45.0  # seconds without a byte until a stream counts as dead; the daemon sends a comment every 15 s


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSession:
    """Requests to the daemon, one after the other."""

    client: Client

    def ask(self, method: str, path: str, *, query: Sequence[tuple[str, str]] = (), body: Json = None) -> Json:
        """Return the daemon's answer. Raises Unreachable and Denied."""
        with self._reaching(), closing(self._send(method, path, query=query, body=body)) as connection:
            return self._answer(connection.getresponse())

    def ask_patiently(self, method: str, path: str, *, query: Sequence[tuple[str, str]] = ()) -> Json:
        """Return the daemon's answer, for which it may take any time as long as it is alive. Raises as `ask`."""
        with self._reaching(), closing(self._send(method, path, query=query, timeout=ALIVE_EVERY)) as connection:
            while True:
                try:
                    response = connection.getresponse()
                except TimeoutError:  # nothing of the answer has come: the wait for it can go on
                    with closing(self._send("GET", "/healthz")) as other, other.getresponse():
                        pass
                else:
                    return self._answer(response)

    def events(self, path: str, *, query: Sequence[tuple[str, str]], last: str | None) -> Iterator[StreamEvent | None]:
        """Yield None once a stream is open, then its events until it ends. Raises as `ask`."""
        from notifier.core.eventstream import Decoder

        decoder = Decoder()
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        with (
            self._reaching(),
            closing(self._send("GET", path, query=query, headers=headers, timeout=SILENCE)) as connection,
            connection.getresponse() as response,
        ):
            if response.status != 200:
                self._answer(response)
            yield None
            while chunk := response.read1(CHUNK):
                yield from decoder.feed(chunk)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Json = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        timeout: float | None = None,
    ) -> HTTPConnection:
        return send(
            method,
            self.client.url,
            f"{path}?{urlencode(query)}" if query else path,
            token=self.client.token,
            timeout=timeout or TIMEOUT,
            headers=headers if body is None else {**headers, "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body).encode(),
        )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Raise Unreachable in place of the errors of a connection."""
        try:
            yield
        except (Unreachable, Denied):
            raise
        except TimeoutError as exc:
            raise Unreachable(f"the daemon at {self.client.place} does not answer") from exc
        except UnicodeEncodeError as exc:  # bytes that the locale's encoding does not know arrive as surrogates
            raise Denied(HTTPStatus.BAD_REQUEST, "an argument is not text in this locale", code=EXIT_USAGE) from exc
        except (HTTPException, OSError, ValueError) as exc:
            if isinstance(exc, BadStatusLine) and not isinstance(exc, ConnectionError):  # SSH, or TLS, say
                raise Unreachable(self.client.stranger()) from exc
            if isinstance(exc, SSLError) and exc.reason in NO_TLS:
                raise Unreachable(f"what answers at {self.client.place} speaks no TLS: write http://") from exc
            raise Unreachable(
                f"cannot reach the daemon at {self.client.place}: {_reason(exc)}; is it running? "
                "(--url, --token or -c FILE)"
            ) from exc

    def _answer(self, response: HTTPResponse) -> Json:
        with response:
            text = response.read().decode(errors="replace")
        try:
            answer = json.loads(text) if text else None
        except ValueError as exc:
            raise Unreachable(self.client.stranger()) from exc
        if response.status >= 300:
            raise self.client.denied(response.status, answer)
        return answer


class UnixConnection(HTTPConnection):
    """A connection to a socket in the file system."""

    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def send(
    method: str,
    url: str,
    path: str,
    *,
    token: str | None,
    timeout: float,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: bytes | None = None,
) -> HTTPConnection:
    """Connect to a daemon and send a request; each wait for the socket is at most `timeout` seconds.

    `url` is http://HOST:PORT, https://HOST:PORT or unix:PATH, the first two with an optional path that comes before
    `path`. Raises OSError and ValueError.
    """
    if url.startswith("unix:"):
        connection: HTTPConnection = UnixConnection(url.removeprefix("unix:"), timeout=timeout)
        credentials = ""
    else:
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("the URL names no host")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        try:
            port = parts.port
        except ValueError:  # its words repeat the text, which may be of a password with a slash
            raise ValueError("the URL's port is no number from 0 to 65535") from None
        # Without a port it would read one from the host, which may be an IPv6 address.
        connection = kind(parts.hostname, kind.default_port if port is None else port, timeout=timeout)
        path = parts.path.rstrip("/") + path
        credentials, _, _ = parts.netloc.rpartition("@")
    sent = dict(headers)
    if token:
        sent["Authorization"] = f"Bearer {token}"
    elif credentials:
        sent["Authorization"] = "Basic " + b64encode(unquote(credentials).encode()).decode()
    try:
        connection.request(method, path, body=body, headers={name: text.encode() for name, text in sent.items()})
    except BaseException:
        connection.close()
        raise
    return connection


def _reason(exc: Exception) -> str:
    """Return in a few words why there is no connection."""
    if isinstance(exc, InvalidURL):  # its words repeat the path
        return "the URL holds a blank or a control character"
    if isinstance(exc, SSLError):
        return getattr(exc, "verify_message", None) or exc.reason or str(exc)
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)
    return str(getattr(exc, "strerror", None) or exc or type(exc).__name__)
