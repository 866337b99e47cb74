"""What is answered when something went wrong: a problem by RFC 9457."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from notifier.core.model import Json


def problem(status: int, detail: str, **more: Json) -> web.Response:
    """Make an RFC 9457 problem."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return web.json_response(body, status=status, content_type="application/problem+json")
