"""The HTTP listener: health, metrics, the API, and the status page."""

from __future__ import annotations

from notifier.web.api import Api
from notifier.web.guard import Guard
from notifier.web.hub import Hub
from notifier.web.listener import HttpListener, split, unix_path
from notifier.web.server import application
from notifier.web.status import StatusReport

__all__ = [
    "Api",
    "Guard",
    "HttpListener",
    "Hub",
    "StatusReport",
    "application",
    "split",
    "unix_path",
]
