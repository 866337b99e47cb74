"""Sends by a service of Apprise, which knows more than a hundred, each by a URL that is its password.

Apprise blocks, so each send has a thread. A thread cannot be ended: after our deadline the attempt is over, and its
thread counts until the service's own timeouts end it, so that they do not pile up. Apprise tells why a send failed only
to its log, whose lines may repeat the URL: a status is read from them here, and they go nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from notifier.core.errors import NotifierError
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Delivered, Failed, Gone, Outcome, Rejected, classify_http
from notifier.runtime.threads import NoThread, beside
from notifier.senders.connections import StillOurs, always
from notifier.senders.notice import NOTHING, Additions, read
from notifier.senders.plain_text import Text, written
from notifier.senders.shown import perhaps_shown

if TYPE_CHECKING:
    from apprise import NotifyBase

log = structlog.stdlib.get_logger()

OVERDUE = 3  # threads whose attempt is over, beside those of attempts; more of them, and nothing is sent
MAX_LINES = 20  # of Apprise's log, kept for one send
MAX_LINE = 500  # characters of one
_STATUS = re.compile(r"\berror=(?P<status>[1-5][0-9]{2})\b")  # as Apprise's services log an HTTP status
_CONNECTION = re.compile(r"[Cc]onnection [Ee]rror|[Ss]ocket [Ee]xception")


class AppriseMissing(NotifierError):
    """Apprise is not installed; install notifier's extra `apprise`."""


class AppriseSender:
    """Sends to one URL."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        clock: Callable[[], Micros],
        max_in_flight: int = 1,
        retry_on_timeout: bool = True,
        template: str | None = None,
        additions: Additions = NOTHING,
    ) -> None:
        """Send within `timeout` seconds. Raises AppriseMissing, and ValueError for a URL that Apprise does not know."""
        self._service = service(url)
        self._service.socket_connect_timeout = min(self._service.socket_connect_timeout, timeout)
        self._service.socket_read_timeout = min(self._service.socket_read_timeout, timeout)
        self._template: Callable[[Delivery], str | Rejected] | None = None
        if template is not None:
            from notifier.senders.template import Renderer  # imported here, since Jinja2 takes 40 ms to load

            self._template = Renderer(template).text
        self._timeout = timeout
        self._clock = clock
        self._limit = max_in_flight + OVERDUE
        self._threads = 0
        self._retry_on_timeout = retry_on_timeout
        self._additions = additions

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once. Raises nothing but CancelledError."""
        at, began = self._clock(), time.perf_counter()
        try:
            text = self._text(delivery)
            outcome = text if isinstance(text, Rejected) else await self._notify(text, still_ours)
        except Exception as exc:  # the boundary of an attempt, as in `Exchange`; its text may hold the URL
            log.error("sender.unexpected_error", endpoint=delivery.endpoint, error=type(exc).__name__)
            outcome = Failed(reason="internal", detail=f"the service failed with {type(exc).__name__}", proves=False)
        return Attempt(at=at, outcome=outcome, seconds=time.perf_counter() - began)

    async def close(self) -> None:
        """Do nothing: there is no connection between sends, and a thread ends by itself."""

    def _text(self, delivery: Delivery) -> Text | Rejected:
        if self._template is None:
            return written(read(delivery, self._additions), delivery.event_type)
        text = self._template(delivery)
        return text if isinstance(text, Rejected) else Text(title="", body=text, kind="info")

    async def _notify(self, text: Text, still_ours: StillOurs) -> Outcome:
        if self._threads >= self._limit:
            detail = f"{self._threads} earlier sends have not ended; nothing more is begun"
            return Failed(reason="busy", detail=detail, retry_after=1.0, throttle=True, spend=False)
        call = _Call(self._service, text, still_ours)
        self._threads += 1
        done = beside(call, name="apprise")
        done.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(done)
        except TimeoutError:
            return self._late(call)
        except NoThread as exc:
            return Failed(reason="local", detail=str(exc.strerror), spend=False)

    def _ended(self, done: asyncio.Future[Outcome]) -> None:
        self._threads -= 1
        if not done.cancelled():
            done.exception()  # so that nobody complains that it was not asked for

    def _late(self, call: _Call) -> Outcome:
        detail = f"the service has not answered after {self._timeout:g} s"
        if self._retry_on_timeout or not call.begun:
            return Failed(reason="timeout", detail=detail)
        return perhaps_shown(detail)


@dataclass(slots=True)
class _Call:
    """One send, in its thread."""

    service: NotifyBase
    text: Text
    still_ours: StillOurs
    begun: bool = False

    def __call__(self) -> Outcome:
        if not self.still_ours():
            return Failed(reason="claim_lost", detail="nothing was sent: it is another node's by now", spend=False)
        self.begun = True
        with _lines.kept() as lines:
            accepted = self.service.notify(
                title=self.text.title, body=self.text.body, notify_type=self.text.kind, body_format="text"
            )
        return Delivered() if accepted else _failure(lines)


def service(url: str) -> NotifyBase:
    """Return Apprise's service of a URL. Raises AppriseMissing, and ValueError if Apprise does not know it."""
    try:
        from apprise import Apprise, AppriseAsset
    except ImportError as exc:
        raise AppriseMissing from exc
    _lines.install()
    asset = AppriseAsset(app_id="notifier", app_desc="notifier", async_mode=False, storage_mode="memory")
    with warnings.catch_warnings():  # it loads its services now, some of which use deprecated modules
        warnings.simplefilter("ignore", DeprecationWarning)
        made = Apprise.instantiate(url, asset=asset)
    if made is None:
        raise ValueError("Apprise knows no such service, or a part of the URL is missing")
    return made


def _failure(lines: list[str]) -> Outcome:
    """Return what the lines of a send that was not accepted say, without their text."""
    status = next((int(found["status"]) for line in lines if (found := _STATUS.search(line))), None)
    if status is not None and status >= 300:
        outcome = classify_http(status, {}, now=0)
        if isinstance(outcome, Failed):
            return outcome
        if isinstance(outcome, Gone):
            return Failed(reason=outcome.reason, detail=outcome.detail)
    if any(map(_CONNECTION.search, lines)):
        return Failed(reason="connect", detail="the service cannot be reached")
    return Failed(reason="refused", detail="the service did not accept the message; try the URL with `apprise -vv`")


class _Lines(logging.Handler):
    """Keeps what Apprise logs, for the thread that sends. The lines go to no other log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._local = threading.local()

    def install(self) -> None:
        """Take all lines of Apprise's logger."""
        logger = logging.getLogger("apprise")
        logger.handlers[:] = [self]
        logger.propagate = False
        logger.setLevel(logging.WARNING)

    def kept(self) -> _Kept:
        """Return the block in which this thread's lines are kept."""
        return _Kept(self._local)

    def emit(self, record: logging.LogRecord) -> None:
        lines: list[str] | None = getattr(self._local, "lines", None)
        if lines is not None and len(lines) < MAX_LINES:
            try:
                lines.append(record.getMessage()[:MAX_LINE])
            except Exception:  # a message whose arguments do not fit, in a library of strangers
                lines.append("")


class _Kept:
    def __init__(self, local: threading.local) -> None:
        self._local = local

    def __enter__(self) -> list[str]:
        lines: list[str] = []
        self._local.lines = lines
        return lines

    def __exit__(self, *_: Any) -> None:
        self._local.lines = None


_lines = _Lines()
