"""The HTTP listener: health, metrics, the API, and the status page.

`operations` is the API as a table, with `handlers`; `requests`, their `values`, and `answers` are its types, `refusals`
its errors, `openapi` its document. `body` reads the body of a request and limits its size. `api` is the daemon as
handlers see it, `status` its own report: for the API, the page, metrics and systemd. `guard` decides who may ask,
`server` when; `listener` opens sockets, `connections` bounds the clients. `hub` and `stream` send events as they are
committed; the files of the page, which reads nothing but the API, are in `page/`.
"""

from __future__ import annotations

from notifier.web.api import Api
from notifier.web.hub import Hub
from notifier.web.listener import HttpListener, split, unix_path
from notifier.web.server import application
from notifier.web.status import StatusReport

__all__ = [
    "Api",
    "HttpListener",
    "Hub",
    "StatusReport",
    "application",
    "split",
    "unix_path",
]
