"""Sets up logging: one line for each event on stderr, for people or as JSON. A line holds no secret, and never raises.

Every event, from the standard library's loggers too, takes the same steps: gather the fields, make them plain and safe,
render, write. A reload may call `configure` again: loggers in use follow, since they share the objects of this module.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from notifier.core.errors import NotifierError
from notifier.runtime.log_writer import LineWriter
from notifier.runtime.structlog_private import LevelLogger, set_level

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
SYSLOG = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)
FORMATS = ("auto", "console", "json")

MAX_TEXT = 8 * 1024  # characters of one value: journald breaks lines at 48 KiB (journald.conf(5), LineMax=)
MAX_DEPTH = 6  # of nested containers; deeper ones are shown as text

# Repeats are bounded where another part must follow, so that no text makes the search slow.
_SECRETS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,30}://)"  # user and password, even where a slash was left unescaped
    r"(?:[^\s/?#]{0,500}@|[^\s/:@?#\[]{0,100}:(?!\d+(?:[/?#]|$))[^\s@]{0,500}@)"
    r"|(?P<query>[?&](?:access_|api_?)?(?:key|token|secret|sig|signature|password)=)[^\s&#\"'<>]+"
    r"|(?P<slack>hooks\.slack\.com/(?:services|workflows|triggers)/)[^\s\"'<>]+"  # the path is the credential
    r"|(?P<prefix>\bwhs(?:ec|k)_)[A-Za-z0-9+/=_-]+"
    r"|(?P<bearer>\bbearer\s+)[^\s\"',]+",
    re.IGNORECASE,
)
_HINTS = ("://", "whs", "bearer", "hooks.slack", "?", "&")  # a text without any of them holds no secret
_SECRET_KEYS = frozenset({"authorization", "api_key", "password", "secret", "secrets", "token", "x-api-key"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # in a stranger's text, they could control the terminal or fake a line
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_chain: list[Processor] = []  # shared by all loggers
_writer = LineWriter()


def configure(
    *, format: str = "auto", level: str = "info", stream: TextIO | None = None, env: Mapping[str, str] = os.environ
) -> None:
    """Send every log event to `stream` (default: stderr); `auto` means for people on a terminal, and JSON elsewhere."""
    if level not in LEVELS:
        raise NotifierError(f"no log level {level!r}; there are {', '.join(LEVELS)}")
    if format not in FORMATS:
        raise NotifierError(f"no log format {format!r}; there are {', '.join(FORMATS)}")
    stream = stream if stream is not None else sys.stderr
    terminal = _is_terminal(stream)
    _writer.attach(stream, notice=lambda lines: _render("warning", {"event": "log.lines_lost", "lines": lines}))
    if format == "console" or (format == "auto" and terminal):
        colours = terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        _install(LEVELS[level], [_stamp, structlog.processors.format_exc_info, _printable, _for_people(colours)])
    elif _is_journal(stream, env):  # the journal stamps the lines itself
        _install(LEVELS[level], [structlog.processors.format_exc_info, _safe, _for_journal])
    else:
        _install(LEVELS[level], [_stamp, structlog.processors.format_exc_info, _safe, _for_machines])


def reset() -> None:
    """Undo `configure` as far as possible: log every event to stdout, as structlog does by default."""
    if not structlog.is_configured():
        return
    _writer.attach(sys.stdout)
    set_level(0)
    _chain[:] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, _safe, _for_machines]
    logging.captureWarnings(False)
    logging.root.setLevel(logging.WARNING)
    for handler in [h for h in logging.root.handlers if isinstance(h, _Handler)]:
        logging.root.removeHandler(handler)


def _install(level: int, processors: list[Processor]) -> None:
    _chain[:] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *processors]
    set_level(level)
    structlog.configure(
        processors=_chain,
        wrapper_class=LevelLogger,
        logger_factory=lambda *_: _writer,
        cache_logger_on_first_use=True,
    )
    logging.root.handlers[:] = [h for h in logging.root.handlers if not isinstance(h, _Handler)] + [_Handler()]
    # Libraries log warnings only, whatever our own level is: below that, SQLAlchemy logs parameters.
    logging.root.setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


class _Handler(logging.Handler):
    """Sends the standard library's records through the same steps."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the format, or cannot be printed
            message = _text(record.msg)
        event: EventDict = {"event": message, "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        level = record.levelname.lower()
        _writer.write(_render(level if level in LEVELS else "info", event))


def _render(level: str, event: EventDict) -> str:
    rendered: Any = event
    for processor in _chain:
        rendered = processor(None, level, rendered)
    return str(rendered)


_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)


def _safe(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Turn every value into a plain one without secrets; put the well-known keys first."""
    plain = {key: _plain(event[key]) for key in ("timestamp", "level", "event") if key in event}
    plain.update((key, _field(key, value)) for key, value in event.items() if key not in plain)
    return plain


def _printable(logger: Any, method: str, event: EventDict) -> EventDict:
    """Do what `_safe` does, and escape control characters for the terminal."""
    plain = _safe(logger, method, event)
    for key, value in plain.items():
        if isinstance(value, str):
            control = _CONTROL_BUT_LINES if key == "exception" else _CONTROL
            plain[key] = control.sub(lambda match: match[0].encode("unicode_escape").decode(), value)
    return plain


def _plain(value: Any, depth: int = 0) -> Any:
    """Reduce a value to a JSON value. An object of another class, such as a secret, becomes the text that it prints."""
    kind = type(value)
    if value is None or kind is int or kind is bool:
        return value
    if kind is str:
        return _redact(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if depth < MAX_DEPTH:
        if isinstance(value, Mapping):
            return {(name := _text(key)): _field(name, item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(item, depth + 1) for item in value]
    return _redact(_text(value))


def _field(key: str, value: Any, depth: int = 0) -> Any:
    return "<secret>" if value is not None and key.lower() in _SECRET_KEYS else _plain(value, depth)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # the event is worth more than this one value
        return f"<unprintable {type(value).__name__}>"


def _redact(text: str) -> str:
    """Replace everything that looks like a credential: the last line of defence, not the first."""
    lower = text.lower()
    if any(hint in lower for hint in _HINTS):
        text = _SECRETS.sub(_hide, text)
    if len(text) > MAX_TEXT:
        half = MAX_TEXT // 2  # the end of a traceback says most
        text = f"{text[:half]} [{len(text) - MAX_TEXT} characters left out] {text[-half:]}"
    return text


def _hide(match: re.Match[str]) -> str:
    kept: str = match[match.lastgroup or 0]
    return kept + ("<secret>@" if match.lastgroup == "scheme" else "<secret>")


def _for_people(colours: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)


def _for_machines(_logger: Any, _method: str, event: EventDict) -> str:
    return _encode(event)


def _for_journal(_logger: Any, _method: str, event: EventDict) -> str:
    return f"<{SYSLOG[event['level']]}>{_encode(event)}"


_encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):  # closed
        return False


def _is_journal(stream: TextIO | None, env: Mapping[str, str]) -> bool:
    """Return whether systemd connected the stream to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        stat = os.fstat(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):  # not a file, or closed
        return False
    return stat is not None and env.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"
