"""Requests that are not carried out: the exceptions of the API, each with its status, and the answer by RFC 9457."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

from aiohttp import web

from notifier.core.errors import NotifierError
from notifier.core.model import Json
from notifier.web.reply import reply


def problem(status: int, detail: str, **more: Json) -> web.Response:
    """Return an answer that describes a problem (RFC 9457)."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return reply(body, status=status, content_type="application/problem+json")


class Refusal(NotifierError):
    """The request is not carried out."""

    status: ClassVar[int]
    headers: ClassVar[Mapping[str, str]] = {}

    def answer(self) -> web.Response:
        """Return the answer to the request."""
        answer = problem(self.status, str(self))
        answer.headers.update(self.headers)
        return answer


class BadRequest(Refusal):
    """The request cannot be understood."""

    status = 400


class Unknown(Refusal):
    """There is no such thing."""

    status = 404


class TooSlow(Refusal):
    """The body took too long; send it faster, or in several requests."""

    status = 408


class Conflict(Refusal):
    """The thing is not in a state that allows the request."""

    status = 409


class TooLarge(Refusal):
    """The body is too large."""

    status = 413


class NotJson(Refusal):
    """The body is not declared as JSON."""

    status = 415


class Invalid(Refusal):
    """The configuration, or a watch of the request, has problems; nothing was changed."""

    status = 422

    def __init__(self, detail: str, problems: Sequence[str], *, places: Sequence[Json] | None = None) -> None:
        """Create it; `places`: the problems in parts, as `notifier check --json` prints them."""
        super().__init__(detail)
        self.problems = tuple(problems)
        self.places = places

    def answer(self) -> web.Response:
        """Return the answer to the request, with every problem."""
        more = {} if self.places is None else {"places": self.places}
        return problem(self.status, str(self), problems=list(self.problems), **more)


class Unavailable(Refusal):
    """It cannot be done for now; try again later."""

    status = 503
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class TooManyFollowers(Unavailable):
    """As many listen as may; close some, or try again later."""

    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "10"}


class Overloaded(Unavailable):
    """The machine has no thread left to read so large a body; try again later, or send several requests."""


class Stopping(Unavailable):
    """The daemon is stopping; try again later, if it is to start again."""
