"""The faults that keep an exchange from a complete reply. Each fault is named by what happened; none quotes a URL."""

from __future__ import annotations

from typing import Self


class HttpFault(Exception):
    """An exchange did not come to its end."""

    def anew(self) -> Self:
        """Return the same fault, to be raised by one who keeps this one.

        An exception that was raised holds its traceback: the frames, and so the request and the connection. If the
        connection held it in turn, they would stay until a garbage collection, which is rare.
        """
        made = type(self).__new__(type(self), *self.args)
        made.__dict__.update(self.__dict__)
        return made


class NameFault(HttpFault):
    """A host name could not be looked up: the endpoint's, or its proxy's."""

    def __init__(self, error: OSError, *, proxy: bool) -> None:
        super().__init__(str(error))
        self.error = error  # socket.gaierror
        self.proxy = proxy


class ConnectFault(HttpFault):
    """No connection came about: to the endpoint, or to its proxy."""

    def __init__(self, error: OSError, *, proxy: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.proxy = proxy


class TlsFault(HttpFault):
    """The handshake failed, or the certificate is not accepted."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error  # ssl.SSLError


class TunnelRefused(HttpFault):
    """The proxy opened no tunnel."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


class Lost(HttpFault):
    """The connection ended before the head of a reply was complete. `begun`: a part of it had come."""

    def __init__(self, error: Exception | None, *, begun: bool) -> None:
        super().__init__("the connection was lost")
        self.error = error  # None: it was closed in good order
        self.begun = begun


class BadHead(HttpFault):
    """The head of a reply cannot be understood, or is too large. Its status may be readable all the same."""

    def __init__(self, message: str, raw: bytes) -> None:
        super().__init__(message)
        self.raw = raw  # what came of the reply


class CutShort(HttpFault):
    """The connection ended within the body of a reply."""


class BrokenFraming(HttpFault):
    """The body of a reply does not keep to HTTP's framing, for example by a wrong chunk size."""
