"""Reading a request's body: JSON of bounded size and depth, or a clear refusal before much was spent on it."""

from __future__ import annotations

import asyncio

from aiohttp import web

from notifier.core import strictjson
from notifier.core.errors import NotifierError
from notifier.core.model import Json
from notifier.core.strictjson import SameKeyTwice
from notifier.web.query import BadRequest

MAX_BODY = 1 << 20  # bytes
MAX_WATCHES_BODY = 8 << 20  # bytes, of a list of watches
MAX_COMMAS = 1_000_000  # bounds the values in a body, each of which takes far more memory than its bytes
AT_ONCE = 64 << 10  # bytes that are parsed right away; more would hold up the loop


class TooLarge(NotifierError):
    """The body is too large."""


class NotJson(NotifierError):
    """The body is not said to be JSON."""


async def read_json(request: web.Request, *, limit: int = MAX_BODY, empty: Json = ...) -> Json:
    """Return the body's value, or `empty` where there is no body, which is refused unless `empty` is given.

    Raises TooLarge, NotJson, BadRequest.
    """
    raw = await _read(request, limit)
    if not raw:
        if empty is ...:
            raise BadRequest("a body is needed")
        return empty
    _check_type(request)
    if raw.count(b",") > MAX_COMMAS:
        raise TooLarge(f"the body holds more than {MAX_COMMAS} values; send several requests")
    return _parse(raw) if len(raw) <= AT_ONCE else await asyncio.to_thread(_parse, raw)


async def _read(request: web.Request, limit: int) -> bytes:
    refusal = TooLarge(f"the body is larger than {limit >> 20} MiB; send several requests")
    if (request.content_length or 0) > limit:
        raise refusal
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > limit:
            raise refusal
    return bytes(raw).strip()


def _check_type(request: web.Request) -> None:
    """Refuse what a form or a page elsewhere could have sent; a body of no type is taken for what it has to be."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NotJson("send the body as it is, without Content-Encoding")
    if "Content-Type" not in request.headers:
        return
    kind = request.content_type
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise NotJson("send the body with Content-Type: application/json")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise NotJson("send the body in UTF-8")


def _parse(raw: bytes) -> Json:
    try:
        return strictjson.parse(raw.decode())
    except UnicodeDecodeError as exc:
        raise BadRequest("the body is not UTF-8") from exc
    except SameKeyTwice as exc:
        raise BadRequest("the body has a mapping with the same key twice") from exc
    except RecursionError as exc:
        raise BadRequest("the body is no JSON that can be taken: nested too deeply") from exc
    except ValueError as exc:
        raise BadRequest(f"the body is no JSON: {exc}") from exc
