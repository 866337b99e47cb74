"""Finds the task's id in a request, by the template of a preset's URL. Pure.

The scheme and the host of the template do not matter. Variables may hold slashes, as in a kind such as
`videos/text2video`; a query may hold more than the template asks for. Where neither URL nor headers name the task, its
place is a variable's, which every watch has of its own and which holds no slashes here.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from notifier.sources.preset import Preset
from notifier.tools.wire import HttpRequest

_PLACE = re.compile(r"\{(\+?[A-Za-z_][A-Za-z0-9_]*)\}")
_HOST = re.compile(r"\{base_url\}|https?://[^/]*")
_ID_NAMES = frozenset({"id", "+id", "ids", "result_id"})


def naming_variable(preset: Preset, template: str) -> str | None:
    """Return the variable that tells tasks apart in a template of the preset; None: their id does."""
    names = [place[1] for text in (template, *preset.headers.values()) for place in _PLACE.finditer(text)]
    if not _ID_NAMES.isdisjoint(names):
        return None
    return next((name for name in names if name in preset.variables), None)


class PresetRoute:
    """The way of one kind of request."""

    def __init__(self, preset: Preset, template: str) -> None:
        """Compile a template of the preset."""
        self._preset = preset
        self._template = _HOST.sub("", template, count=1)
        self._variable = naming_variable(preset, self._template)
        path, _, query = self._template.partition("?")
        self._path = _pattern(path, variable=self._variable)
        pairs = (part.partition("=") for part in query.split("&") if part)
        self._query = {name: _pattern(value, path=False) for name, _, value in pairs}
        self._headers = {
            name.lower(): _pattern(value, path=False) for name, value in preset.headers.items() if "{id}" in value
        }

    def find(self, request: HttpRequest) -> str | None:
        """Return the id that a request asks for, empty if it is missing; None for another path."""
        found = self._match(request)
        return None if found is None else found.get("id", "")

    def token(self, request: HttpRequest) -> str | None:
        """Return the token that stands in the URL."""
        return (self._match(request) or {}).get("token")

    def example(self, base_url: str, task_id: str) -> str:
        """Return a URL to try."""
        values = {name: value or "x" for name, value in self._preset.variables.items()} | {"token": "TOKEN"}
        values.pop(self._variable or "", None)
        return base_url + _PLACE.sub(lambda place: values.get(place[1], quote(task_id)), self._template)

    def _match(self, request: HttpRequest) -> dict[str, str] | None:
        found: dict[str, str] = {}
        for pattern, text in self._parts(request):
            if text is None and pattern.groups:
                continue  # the request names no task, or no token
            match = None if text is None else pattern.fullmatch(text)
            if match is None:
                return None
            found |= {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
        return found

    def _parts(self, request: HttpRequest) -> list[tuple[re.Pattern[str], str | None]]:
        path = request.target.partition("?")[0]
        parts: list[tuple[re.Pattern[str], str | None]] = [(self._path, path)]
        for name, pattern in self._query.items():
            value = request.query.get(name)
            parts.append((pattern, None if value is None else quote(value, safe="")))
        parts += [(pattern, quote(request.headers.get(name, ""), safe=" ")) for name, pattern in self._headers.items()]
        return parts


def _pattern(template: str, *, path: bool = True, variable: str | None = None) -> re.Pattern[str]:
    """Return a pattern of percent-encoded text, with the groups `id` and `token`; `variable` stands for the id."""
    text, end = "", 0
    for place in _PLACE.finditer(template):
        name = place[1]
        text += re.escape(template[end : place.start()])
        if name == variable:
            text += "(?P<id>[^/]*)"
        elif name in _ID_NAMES:
            text += f"(?P<id>{'.+' if name == '+id' else '[^/]*' if path else '.*'})"
        else:
            text += "(?P<token>[^/]*)" if name == "token" else ".*?"
        end = place.end()
    return re.compile(text + re.escape(template[end:]))
