"""Creates the request for one task from a preset's templates. Pure: no connection, no clock.

Every value is put in once, by name, and is never a template itself. In the URL values are percent-encoded
whole (RFC 3986 section 2.3: all but unreserved characters), in headers they stand as they are.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from multidict import CIMultiDict
from yarl import URL

from notifier.core.errors import Refused, TaskNotFound, Unreadable
from notifier.core.model import NONE
from notifier.sources.preset import Preset

# Sent unless the preset says otherwise. A stream is read as it comes: compression would hold it back for its buffer.
_DEFAULTS = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
_POLL_DEFAULTS = {"Accept": "application/json", "Cache-Control": "no-cache"}
_PLACE = re.compile(r"\{(\+?[A-Za-z_][A-Za-z0-9_]*)\}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # not allowed in a header's value (RFC 9110 section 5.5)
_SECRET_NAME = re.compile(r"auth|cookie|key|passw|secret|signature|token", re.IGNORECASE)  # of a header or a parameter
_USER_INFO = re.compile(r"^[a-z]+://([^/?#@]*)@", re.IGNORECASE)
_PARAMETER = re.compile(r"[?&]([^=&#]+)=([^&#]+)")  # of a URL's query
JWT_LIFETIME = 1800  # seconds
JWT_SKEW = 5  # seconds that the provider's clock may be behind ours
MIN_SECRET = 6  # characters; shorter values of headers are words that a text may hold by chance
REDACTED = "<secret>"
_ORIGIN_ONLY = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `private` headers are for the URL's own origin only."""

    method: str
    url: URL
    headers: CIMultiDict[str] = field(repr=False)
    private: frozenset[str] = frozenset()  # names in lower case
    body: bytes = field(default=b"", repr=False)


class RequestTemplate:
    """A preset's way to ask, with the credentials filled in."""

    def __init__(self, *, preset: Preset, token: str | None, user_agent: str) -> None:
        if preset.base_url is None and "{base_url}" in preset.url:
            raise ValueError("the preset's url needs a base_url")
        self._method = preset.method
        self._url = preset.url
        self._base_url = str(URL(preset.base_url or "")).rstrip("/")
        self._token = token
        self._variables = {name: value for name, value in preset.variables.items() if value is not None}
        self._cursor = None if preset.cursor is None else preset.cursor.parameter
        self._batch = preset.batch
        self._required, self._own = preset.required, preset.own
        self._signs = any("{jwt}" in value for value in preset.headers.values())
        self._headers = {"User-Agent": user_agent, **(_DEFAULTS if preset.transport == "sse" else _POLL_DEFAULTS)}
        written = CIMultiDict(self._headers)
        for name, value in preset.headers.items():
            written.popall(name, None)
            if preset.transport == "poll" and value == _DEFAULTS["Accept"]:
                written["Accept"] = _POLL_DEFAULTS["Accept"]  # the preset is a stream's, and the source polls
            elif token is not None or not ("{token}" in value or "{jwt}" in value):
                written[name] = value
        self._headers = dict(written)
        secret = {
            name.lower()
            for name, value in preset.headers.items()
            if "{token}" in value or "{jwt}" in value or _SECRET_NAME.search(name)
        }
        self._plain = sorted(set(_PLACE.findall(self._url)) | {"base_url"}) == ["base_url", "id"]
        self._plain = self._plain and self._url.count("{id}") == 1 and "{" not in self._base_url
        self._around: tuple[str, str] | None = None  # the URL around the id, once it is known to be valid
        self._private = _ORIGIN_ONLY | secret
        self._fixed = all(set(_PLACE.findall(value)) <= {"token"} for value in self._headers.values())
        self._same: CIMultiDict[str] | None = None  # the headers, where they are the same for each request
        self.credentials = self._credentials()  # the longest first

    def _credentials(self) -> tuple[str, ...]:
        """List what must not be repeated: the token, secret headers with and without their scheme, and the URLs'."""
        token = self._token or ""
        private = [value for name, value in self._headers.items() if name.lower() in self._private]
        values, users = [_filled(value, {"token": token}) for value in private], list[str]()
        for template in (self._base_url, self._url, "" if self._batch is None else self._batch.url):
            address = _filled(template, self._variables | {"token": token, "base_url": self._base_url})
            values += [unquote(value) for name, value in _PARAMETER.findall(address) if _SECRET_NAME.search(name)]
            users += [unquote(part) for info in _USER_INFO.findall(address) for part in info.split(":", 1)]
        pair = token.split(":") if self._signs else []
        others = [*users, *pair, *values, *(value.rpartition(" ")[2] for value in values)]
        others += [quote(other, safe="") for other in (token, *others)]  # as a URL holds them
        credentials = {token} | {other for other in others if len(other) >= MIN_SECRET}
        return tuple(sorted(credentials - {""}, key=len, reverse=True))

    def fill(
        self, task_id: str, last_event_id: str = "", variables: Mapping[str, str] = NONE, etag: str = ""
    ) -> Request:
        """Return the request for a task. `variables` of its watch go before the source's.

        `last_event_id` is put where the preset has its cursor. Raises TaskNotFound for an id that no URL can hold,
        Refused where a variable has no value.
        """
        if not task_id or task_id in {".", ".."}:  # as a segment of the path these name another place
            raise TaskNotFound("the id cannot be that of a task")
        if "{+id}" in self._url and not {".", ".."}.isdisjoint(task_id.split("/")):
            raise TaskNotFound("the id cannot be that of a task: it has . or .. between slashes")
        mine = self._merged(variables)
        template = self._url
        if last_event_id and self._cursor is not None:
            template += f"{'&' if '?' in template else '?'}{self._cursor}={quote(last_event_id, safe='')}"
            last_event_id = ""
        headers = {}
        if last_event_id and not _CONTROL.search(last_event_id):
            headers["Last-Event-ID"] = last_event_id  # WHATWG HTML section 9.2.3
        if etag and not _CONTROL.search(etag):
            headers["If-None-Match"] = etag
        return Request(
            method=self._method,
            url=self._located(template, {"id": task_id}, mine),
            headers=self._head({"id": task_id}, mine, headers),
            private=self._private,
        )

    def fill_all(self, task_ids: Sequence[str], variables: Mapping[str, str] = NONE) -> Request:
        """Return the request for several tasks: their ids in its URL, or in a JSON body. Raises Refused."""
        batch = self._batch
        assert batch is not None, "the preset has a request for several tasks"
        mine, extra, body = self._merged(variables), {}, b""
        if batch.method == "POST":
            extra["Content-Type"] = "application/json"
            body = json.dumps({batch.ids: list(task_ids)}).encode()
        ids = {"ids": ",".join(task_ids)}
        return Request(
            method=batch.method,
            url=self._located(batch.url, ids, mine),
            headers=self._head({}, mine, extra),
            private=self._private,
            body=body,
        )

    def _located(self, template: str, named: Mapping[str, str], variables: Mapping[str, str]) -> URL:
        values = {**named, "token": self._token or ""}
        try:
            if template is self._url and self._around is not None:
                before, after = self._around
                return URL(f"{before}{quote(named['id'], safe='')}{after}", encoded=True)
            quoted = {name: quote(value, safe="") for name, value in values.items()} | {
                "base_url": self._base_url,
                "+id": quote(named.get("id", ""), safe="/:"),
                **{name: quote(value, safe="/:.") for name, value in variables.items()},
            }
            url = URL(_filled(template, quoted), encoded=True)
            if url.scheme not in {"http", "https"} or not url.host or not url.port:  # a bad port raises when it is read
                raise ValueError(url.scheme)
        except UnicodeEncodeError as exc:
            raise TaskNotFound("the id cannot be that of a task: it is not Unicode text") from exc
        except ValueError as exc:
            raise Unreadable("the source's URL is not valid") from exc
        if template is self._url and self._plain:
            before, after = template.replace("{base_url}", self._base_url).split("{id}")
            self._around = before, after
        return url

    def _head(
        self, named: Mapping[str, str], variables: Mapping[str, str], extra: Mapping[str, str]
    ) -> CIMultiDict[str]:
        if self._same is not None and not extra:
            return self._same
        values = {**named, "token": self._token or "", **variables, "uuid": str(uuid.uuid4())}
        if self._signs:
            values["jwt"] = signed(self._token or "", int(time.time()))
        headers = CIMultiDict((name, _filled(value, values)) for name, value in self._headers.items())
        headers.update(extra)
        for name, value in headers.items():
            if _CONTROL.search(value):
                raise Unreadable(f"the header {name} cannot be sent: it would hold a control character")
        if self._fixed and not extra:
            self._same = headers
        return headers

    def _merged(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        if not variables and not self._required:
            return self._variables
        merged = {**self._variables} | {name: value for name, value in variables.items() if name in self._own}
        if missing := sorted(self._required - merged.keys()):
            names = ", ".join(missing)
            raise Refused(f"the source's url names {names}; give it under `variables` of the source or of the watch")
        return merged

    def redact(self, text: str) -> str:
        """Take credentials out of a text, in case the upstream repeats them to us."""
        return redacted(text, self.credentials)


def redacted(text: str, credentials: Sequence[str]) -> str:
    """Return a text without credentials."""
    for secret in credentials:
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, REDACTED)
        else:  # a token to try with, whose letters are those of many words
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", REDACTED, text)
    return text


def signed(key_pair: str, now: int) -> str:
    """Return a JSON Web Token (RFC 7519, HS256) of an `ACCESS_KEY:SECRET_KEY`, valid for half an hour from `now`."""
    access, _, secret = key_pair.partition(":")
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": access, "exp": now + JWT_LIFETIME, "nbf": now - JWT_SKEW})
    text = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{text}.{_base64(hmac.digest(secret.encode(), text.encode(), 'sha256'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: values.get(place[1], ""), template)
