"""Keeps the results of tasks: fetches each URL into a file, with retries, within limits of time, size and address.

A provider's URLs are strangers' URLs. So they are fetched by the rules of callbacks: every address is vetted when it is
dialled, there is no proxy, and a redirect is followed a few times, each time by the same rules. Memory holds one
piece of a body at a time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
from yarl import URL

from notifier.core.archive import file_name, part
from notifier.core.callback import CallbackPolicy
from notifier.core.http_head import REDIRECTS, VISIBLE
from notifier.core.model import KeptResult
from notifier.core.pace import backoff
from notifier.runtime.http1 import ConnectFault, Connection, ForbiddenAddress, HttpFault, Pool, Route
from notifier.runtime.tls import Trust
from notifier.sources.faults import translated
from notifier.sources.http import MAX_REDIRECTS
from notifier.sources.kept_file import Directory, KeptFile, NotKept, not_kept

if TYPE_CHECKING:
    from notifier.sources.kept_object import KeptObject, S3Place

log = structlog.get_logger(__name__)

MAX_FETCHES = 8  # at a time: results are large, and the links of machines are not
PIECE = 256 << 10  # bytes of a body in memory, for each fetch
IDLE = 30.0  # seconds without a byte, after which a fetch is begun anew
BLAMED = 1.0  # seconds without an answer of the directory or bucket, after which it is blamed for a timeout
PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds before another try, random below a bound that doubles
_PATIENT = frozenset({404, 408, 425, 429})  # those of 4xx that may pass: a CDN may not have the file yet


class ResultFault(Exception):
    """A result cannot be kept."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing  # another try may succeed


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """Where results are kept, and the limits."""

    place: Directory | S3Place
    max_bytes: int  # of one result
    timeout: float  # seconds for all results of a task
    allow_http: bool
    policy: CallbackPolicy  # of addresses
    user_agent: str
    ssl: Trust = True


class Archive:
    """Keeps results."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self._settings = settings
        self._pool = Pool(keep=15.0, limit=MAX_FETCHES, policy=settings.policy)
        self._turns = asyncio.Semaphore(MAX_FETCHES)
        self._users = 0
        self._retired = False
        self.problem: str | None = None  # why the place did not take the last result; None: it did

    async def keep(self, source: str, task: str, urls: Sequence[str]) -> tuple[KeptResult, ...]:
        """Fetch the results of a task; return for each where it is, or why it is not kept. Raises CancelledError alone.

        A result that is incomplete after the timeout is given up. The same task has the same files again.
        """
        folder = f"{part(source)}/{part(task)}"
        end = asyncio.get_running_loop().time() + self._settings.timeout
        kept: list[KeptResult] = []
        self._users += 1
        try:
            for number, url in enumerate(urls, start=1):
                try:
                    result = await self._keep_one(f"{folder}/{file_name(number, url)}", url, end)
                except Exception:  # the others of the task are kept all the same
                    log.exception("archive.failed", source=source, id=task, result=number)
                    result = KeptResult(url=None, reason="an internal error; see the log")
                else:
                    if result.reason is not None:
                        log.warning("archive.not_kept", source=source, id=task, result=number, reason=result.reason)
                kept.append(result)
        finally:
            self._users -= 1
            if self._retired and not self._users:
                self._pool.close()
        return tuple(kept)

    def retire(self) -> None:
        """Close every connection, once what is under way has ended."""
        self._retired = True
        if not self._users:
            self._pool.close()

    async def _keep_one(self, name: str, url: str, end: float) -> KeptResult:
        loop, tries, reason = asyncio.get_running_loop(), 0, None
        file = _Placed(self._settings.place.file(name))
        try:
            async with asyncio.timeout_at(end):
                while True:
                    tries += 1
                    try:
                        async with self._turns:
                            result = await self._fetch(file, url)
                        self.problem = None
                        return result
                    except ResultFault as exc:
                        reason = str(exc)
                        if not exc.passing:
                            return KeptResult(url=None, reason=reason)
                    pause = backoff(tries, initial=PAUSE, ceiling=LONGEST_PAUSE, jitter=random.random())
                    if loop.time() + pause >= end:
                        return KeptResult(url=None, reason=reason)
                    await asyncio.sleep(pause)
                    file = _Placed(self._settings.place.file(name))
        except TimeoutError:
            within = f"within {self._settings.timeout:g} s"
            late = f"not fetched {within}"
            if file.waited(loop.time()) >= BLAMED:
                late = self.problem = f"the archive does not answer {within}"
            return KeptResult(url=None, reason=reason or late)

    async def _fetch(self, file: _Placed, url: str) -> KeptResult:
        """Fetch one result into its file. Raises ResultFault."""
        try:
            await file.open()
            size = await self._follow(url, file)
            await file.finish()
            return KeptResult(url=file.url, bytes=size)
        except NotKept as exc:
            self.problem = str(exc)
            raise ResultFault(str(exc), passing=exc.passing) from exc
        except OSError as exc:  # of none of the file's steps: the system has no thread for it
            fault = not_kept("it cannot be written", exc)
            raise ResultFault(str(fault), passing=fault.passing) from exc
        finally:
            await file.discard()

    async def _follow(self, text: str, file: _Placed) -> int:
        url, note = self._checked(text), ""
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answered = await self._ask(url, file)
                if isinstance(answered, int):
                    return answered
                target = _target(url, answered)
                if url.scheme == "https" and target.scheme != "https":
                    raise ResultFault("redirected from https:// to another scheme", passing=False)
                url = self._checked(str(target))
                note = f"; redirected to {url.origin()}"
            raise ResultFault(f"redirected more than {MAX_REDIRECTS} times", passing=False)
        except ResultFault as exc:
            raise ResultFault(f"{exc}{note}", passing=exc.passing) from exc

    async def _ask(self, url: URL, file: _Placed) -> int | str:
        """Return the bytes of a result that is in its file, or where it redirects to. Raises ResultFault."""
        route = Route.to(url, tls=self._settings.ssl)
        try:
            connection = await self._pool.dial(route)
        except HttpFault as exc:
            raise _connecting(exc) from exc
        try:
            connection.ask(self._written(url))
            await _wait(connection, 0)
            status, fields = connection.reply.status, connection.reply.fields
            if status in REDIRECTS and "location" in fields:
                return fields["location"]
            return await self._read(connection, status, fields, file)
        except HttpFault as exc:
            raise ResultFault(str(translated(exc, "server")), passing=True) from exc
        finally:
            connection.abort()  # a stranger's: it serves no other request
            self._pool.give_back(route, connection)

    async def _read(self, connection: Connection, status: int, fields: Mapping[str, str], file: _Placed) -> int:
        if status != 200:
            passing = status >= 500 or status in _PATIENT
            raise ResultFault(f"the server answered {status}", passing=passing)
        if fields.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise ResultFault("the server packs it, though it was asked not to", passing=False)
        limit, length = self._settings.max_bytes, fields.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > limit:
            raise ResultFault(f"{int(length)} bytes, more than max_bytes ({limit})", passing=False)
        size = 0
        while True:
            await _wait(connection, PIECE)
            data = connection.reply.take()
            size += len(data)
            if size > limit:
                raise ResultFault(f"more than max_bytes ({limit})", passing=False)
            if data:
                await file.write(data)
            elif connection.reply.over:
                return size

    def _checked(self, text: str) -> URL:
        """Return the URL of a request. Raises ResultFault for one that is not fetched; its address is vetted later."""
        try:
            url = URL(quote(text, safe=VISIBLE), encoded=True).with_fragment(None)
            usable = url.scheme in ("http", "https") and bool(url.raw_host) and 0 < (url.port or 0) < 1 << 16
        except ValueError:
            usable = False
        if not usable:
            raise ResultFault("not a URL of http:// or https://", passing=False)
        if url.scheme == "http" and not self._settings.allow_http:
            raise ResultFault("begins with http:// (archive.allow_http is false)", passing=False)
        return url

    def _written(self, url: URL) -> bytes:
        lines = [
            f"GET {url.raw_path_qs} HTTP/1.1",
            f"host: {url.host_port_subcomponent}",
            f"user-agent: {self._settings.user_agent}",
            "accept: */*",
            "accept-encoding: identity",
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii", "replace")


class _Placed:
    """A file, and since when its place is waited for."""

    def __init__(self, file: KeptFile | KeptObject) -> None:
        self._file = file
        self._since: float | None = None
        self.discard = file.discard

    @property
    def url(self) -> str:
        return self._file.url

    async def open(self) -> None:
        await self._do(self._file.open())

    async def write(self, data: bytes) -> None:
        await self._do(self._file.write(data))

    async def finish(self) -> None:
        await self._do(self._file.finish())

    def waited(self, now: float) -> float:
        """Return the seconds for which a step at the place has not ended."""
        return 0.0 if self._since is None else now - self._since

    async def _do(self, step: Coroutine[Any, Any, None]) -> None:
        self._since = asyncio.get_running_loop().time()
        await step
        self._since = None


async def _wait(connection: Connection, size: int) -> None:
    """Wait for a part of the reply. Raises HttpFault, and ResultFault after a long silence."""
    try:
        await connection.wait(size, asyncio.get_running_loop().time() + IDLE)
    except TimeoutError as exc:
        if connection.reply.size:  # slow, but it moves
            return
        raise ResultFault(f"no byte for {IDLE:g} s", passing=True) from exc


def _connecting(exc: HttpFault) -> ResultFault:
    match exc:
        case ConnectFault(error=ForbiddenAddress() as forbidden):
            return ResultFault(f"{forbidden}, and archive.allow_networks does not list it", passing=False)
        case _:
            return ResultFault(str(translated(exc, "server")), passing=True)


def _target(url: URL, location: str) -> URL:
    """Return the URL that a redirect leads to. Raises ResultFault."""
    try:
        target = url.join(URL(quote(location, safe=VISIBLE), encoded=True))
        return URL(str(target), encoded=True)  # a bad port raises when it is written
    except ValueError as exc:
        raise ResultFault("redirected to what is no URL", passing=False) from exc
