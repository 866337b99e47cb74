"""A small HTTP/1.1 client over asyncio's transports: connections, their pool, and the replies that come over them.

It knows no retries, no redirects and no cookies, and its callers write requests themselves, as bytes. It decides what
a connection is: which address it leads to, what its replies are, and whether it can be used again.
"""

from notifier.runtime.http1.connection import Connection
from notifier.runtime.http1.dialling import Proxy, Route, basic
from notifier.runtime.http1.faults import (
    BadHead,
    BrokenFraming,
    ConnectFault,
    CutShort,
    HttpFault,
    Lost,
    NameFault,
    TlsFault,
    TunnelRefused,
)
from notifier.runtime.http1.names import ForbiddenAddress
from notifier.runtime.http1.pool import Pool

__all__ = [
    "BadHead",
    "BrokenFraming",
    "ConnectFault",
    "Connection",
    "CutShort",
    "ForbiddenAddress",
    "HttpFault",
    "Lost",
    "NameFault",
    "Pool",
    "Proxy",
    "Route",
    "TlsFault",
    "TunnelRefused",
    "basic",
]
