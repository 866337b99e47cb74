"""The description of a source: a provider's preset with the source's overrides, and its poll twin.

Every fault is reported at the key that it stands under.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from notifier.config.problems import below, carry, detail, got, invalid, refusal, suggest
from notifier.config.scalars import Interpolated, settle
from notifier.config.secret import SecretUrl, check_http
from notifier.config.section import Context, unknown_keys
from notifier.config.types import (
    printable,
    seen,
    source_header,
    text,
)
from notifier.core.model import Phase
from notifier.sources import preset as presets
from notifier.sources.preset import BEARER, Poll, Preset

_PLACEHOLDERS = ("base_url", "id", "+id", "token")
_EXTRA = {
    "headers": ("uuid", "jwt"),
    "result_request": ("result_id",),
    "batch": ("ids",),
}  # placeholders beside the usual ones
_IDS = ("id", "+id", "ids", "result_id")
_LEAST: dict[str, Any] = {"url": "{base_url}/{id}", "states": {}}  # in the place of what a preset has to have
# The fields of which any key may be absent.
_OF_OPTIONAL_KEYS = ("poll", "about", "variables", "headers", "paths", "states")
# The fields that decide no request and no reading, with any value.
_APART: dict[str, Any] = {"poll": Poll(), "title": None, "about": None, "experimental": False} | dict.fromkeys(
    ("deadline", "stall_after", "idle_timeout", "max_event")  # the source's own count
)


class Description(Preset):
    """A preset with a source's overrides. It prints without URL and headers, which may hold values of variables."""

    def __repr_args__(self) -> Any:
        """List the fields that may be shown."""
        return [(key, value) for key, value in super().__repr_args__() if key not in ("url", "base_url", "headers")]

    _twin: Description | None = PrivateAttr(default=None)

    @property
    def twin(self) -> Description | None:
        """Return the description of the preset that is polled where a task has no stream."""
        return self._twin

    def asks_like(self, other: Description) -> bool:
        """Return whether requests and readings are the same, whatever the pace, the limits and the words for people."""
        return self._bare() == other._bare()

    def _bare(self) -> Description:
        copy = self.model_copy(update=_APART)
        copy._twin = None if self._twin is None else self._twin._bare()
        return copy

    @property
    def origin(self) -> str:
        """Return `scheme://host[:port]` of the URL."""
        return SecretUrl(_fill(self, self.url)).origin


def preset_name(value: object, info: ValidationInfo) -> str:
    name = printable(value)
    own = tuple(Context.of(info).presets)
    if name not in own and name not in presets.names():
        suggestion = suggest(name, (*own, *presets.names()))
        raise invalid(f"unknown preset {got(value)}; {_presets(own)}", suggestion=suggestion)
    return name


def _presets(own: Iterable[str]) -> str:
    """Tell which presets there are: the names of the built-in ones would fill a screen."""
    mine = ", ".join(own)
    return (
        f"there are {f'{mine} (yours), and ' if mine else ''}those that `notifier preset list` names; "
        "`generic` is for a provider of your own"
    )


def read_preset(value: object) -> tuple[Description, dict[str, Any]]:
    """Return a preset of the user's own, and its fields in the form that sources merge their overrides into.

    It may lack its base_url, which then comes with a source. Raises PydanticCustomError and ValidationError.
    """
    if not isinstance(value, Mapping):
        raise invalid(f"expected a mapping with keys such as url, paths and states, got {got(value)}")
    faults = unknown_keys(list(value), tuple(Preset.model_fields), {})
    written = {key: item for key, item in value.items() if key in Preset.model_fields}
    base: dict[str, Any] = {} if "headers" in written else {"headers": BEARER}
    merged, more = _merge(base, written)
    faults += more
    try:
        description = Description.model_validate(merged)
    except ValidationError as exc:
        faults += carry(exc)
        valid = _without(written, [entry["loc"] for entry in exc.errors()])
        description = Description.model_validate(_merge({**_LEAST, **base}, valid)[0])
    usable = description if description.base_url else description.model_copy(update={"base_url": "https://base"})
    faults += _clashes(description, written) + _template_faults(usable, written)
    if faults:
        raise refusal(faults)
    return description, merged


def describe_source(value: dict[str, Any], info: ValidationInfo) -> Description:
    """Merge the overrides into the preset and check the result."""
    own = Context.of(info).presets
    overrides = {key: item for key, item in value.items() if key != "preset"}
    try:
        name = preset_name(value.get("preset", "generic"), info)
        base = own[name] if name in own else presets.raw(name)
    except PydanticCustomError:  # reported at the key `preset`
        base = None
    if base is None:
        _, faults = _described(presets.raw("generic"), overrides)
        if faults:
            raise refusal(faults)
        return Description.model_construct(url="", states={})
    if "preset" not in value and overrides.keys().isdisjoint(("base_url", "url")):
        message = f"required, but missing; {_presets(own)}"
        raise refusal([detail(("preset",), invalid(message))])
    description, faults = _described(base, overrides)
    faults += _clashes(description, overrides) + _template_faults(description, overrides)
    faults += _poll_faults(description, overrides.get("poll"))
    if faults:
        raise refusal(faults)
    if description.poll_twin is not None and description.transport == "sse":
        description._twin = _twin(description.poll_twin, description, overrides, own)
    return description


def _described(base: Mapping[str, Any], overrides: dict[str, Any]) -> tuple[Description, list[InitErrorDetails]]:
    """Return the base with the overrides that are valid on their own, and the faults of the others.

    So a fault hides neither those of other keys nor impossible combinations.
    """
    merged, faults = _merge(base, overrides)
    try:
        return Description.model_validate(merged), faults
    except ValidationError as exc:
        valid = _without(overrides, [entry["loc"] for entry in exc.errors()])
        return Description.model_validate(_merge(base, valid)[0]), carry(exc) + faults


def _without(overrides: dict[str, Any], places: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """Return the overrides without the faulty ones; of a mapping of optional keys, without its faulty keys."""
    faulty: dict[Any, set[Any]] = {}
    for key, *rest in places:
        faulty.setdefault(key, set()).update(rest[:1])
    valid: dict[str, Any] = {}
    for key, item in overrides.items():
        if key not in faulty:
            valid[key] = item
        elif key in _OF_OPTIONAL_KEYS and isinstance(item, dict):
            valid[key] = {name: part for name, part in item.items() if name not in faulty[key]}
    return valid


def _twin(
    name: str, description: Description, overrides: Mapping[str, Any], own: Mapping[str, Mapping[str, Any] | None]
) -> Description | None:
    """Return the preset that is polled where a task has no stream, at the source's address and pace."""
    known = tuple(dict.fromkeys([*own, *presets.names()]))
    if name not in known:
        fault = invalid(f"unknown preset {got(name)}", suggestion=suggest(name, known))
        raise refusal([detail(("poll_twin",), fault)])
    base = own[name] if name in own else presets.raw(name)
    if base is None:  # its faults are reported where it is described
        return None
    given = {key: overrides[key] for key in ("headers", "poll") if key in overrides}
    if "base_url" in overrides or "base_url" not in base:
        given["base_url"] = description.base_url
    declared = base.get("variables")
    values = {key: value for key, value in description.variables.items() if value is not None}
    given["variables"] = {key: values[key] for key in values if isinstance(declared, Mapping) and key in declared}
    merged, _ = _merge(base, given)
    twin = Description.model_validate(merged)
    if twin.transport != "poll":
        raise refusal([detail(("poll_twin",), invalid(f"the preset {name} is no polled one"))])
    if faults := _template_faults(twin, {}):
        raise refusal([detail(("poll_twin",), invalid(f"the preset {name} does not fit here: it needs more")), *faults])
    return twin


def _poll_faults(description: Preset, written: object) -> list[InitErrorDetails]:
    """Report a longest interval that is shorter than the first one."""
    poll = description.poll
    if not isinstance(written, dict) or "max_interval" not in written or poll.max_interval >= poll.interval:
        return []
    return [detail(("poll", "max_interval"), invalid("max_interval is shorter than interval"))]


def _merge(base: Mapping[str, Any], overrides: dict[str, Any]) -> tuple[dict[str, Any], list[InitErrorDetails]]:
    """Merge the overrides into the base, mappings key by key. Faulty parts are left out and reported."""
    merged, faults = dict(base), []
    for key, value in overrides.items():
        annotation = Preset.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(value, dict):
            known = tuple(annotation.model_fields)
            faults += below(key, unknown_keys(list(value), known, {}))
            value = {name: settle(item) if key == "poll" else item for name, item in value.items() if name in known}
        elif key == "headers" and isinstance(value, dict):
            value, base_headers, more = _headers(value, base.get("headers", {}))
            merged["headers"], faults = base_headers, faults + more
        elif key == "states" and isinstance(value, dict):
            value, more = _states(value)
            faults += more
        elif key == "base_url" and isinstance(value, str):
            value = value.rstrip("/")  # the templates begin with a slash
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged, faults


def _headers(
    value: dict[str, Any], base: dict[str, str]
) -> tuple[dict[str, str], dict[str, str], list[InitErrorDetails]]:
    """Return the added headers, the preset's remaining headers, and the faults; a null removes a header."""
    faults: list[InitErrorDetails] = []
    added: dict[str, str] = {}
    for name, item in value.items():
        try:
            source_header(name)
        except PydanticCustomError as exc:
            faults.append(detail(("headers", name, "[key]"), exc))
        try:
            if item is not None:
                added[name] = seen(printable(item))
        except PydanticCustomError as exc:
            faults.append(detail(("headers", name), exc))
    named = {name.lower() for name in value}
    return added, {name: item for name, item in base.items() if name.lower() not in named}, faults


def _states(value: dict[str, Any]) -> tuple[dict[str, Any], list[InitErrorDetails]]:
    """Return the states as text: a state may look like a number."""
    faults: list[InitErrorDetails] = []
    states: dict[str, Any] = {}
    for phase, listed in value.items():
        if not isinstance(listed, list):
            states[phase] = listed  # refused by the preset
            continue
        states[phase] = []
        for index, state in enumerate(listed):
            try:
                states[phase].append(str(state).lower() if isinstance(state, bool) else text(state))
            except PydanticCustomError as exc:
                faults.append(detail(("states", phase, index), exc))
    return states, faults


def _clashes(description: Preset, overrides: dict[str, Any]) -> list[InitErrorDetails]:
    """Report each state listed under two phases."""
    faults: list[InitErrorDetails] = []
    phases: dict[str, Phase] = {}
    written = overrides.get("states")
    listed = [*written.values()] if isinstance(written, dict) else []
    given = [state for states in listed if isinstance(states, list) for state in states]
    hidden = {state for state in given if isinstance(state, Interpolated)}
    for phase, states in description.states.items():
        for state in states:
            other = phases.setdefault(state, phase)
            if other != phase:
                at = phase if isinstance(written, dict) and phase in written else other
                shown = got(Interpolated(state) if state in hidden else state)
                message = f'{shown} is listed under "{other}" and "{phase}"; a state has one phase'
                faults.append(detail(("states", str(at)), invalid(message)))
    return faults


def _template_faults(description: Preset, overrides: dict[str, Any]) -> list[InitErrorDetails]:
    """Report templates that cannot be filled in, and a URL that is not HTTP or names no task."""
    faults: list[InitErrorDetails] = []
    used: set[str] = set()
    templates: list[tuple[tuple[str, ...], str]] = [(("url",), description.url)]
    templates += [(("headers", name), template) for name, template in description.headers.items()]
    if description.result_request is not None:
        templates.append((("result_request", "url"), description.result_request.url))
    if description.batch is not None:
        templates.append((("batch", "url"), description.batch.url))
        if description.batch.method == "GET" and "{ids}" not in description.batch.url:
            faults.append(detail(("batch", "url"), invalid("the ids are used nowhere; put {ids} into the url")))
    if description.base_url:
        templates.append((("base_url",), description.base_url.replace("{", "{{").replace("}", "}}")))  # no template
    for location, template in templates:
        try:
            printable(template)
            extra = (*description.variables, *_EXTRA.get(location[0], ()))
            used |= placeholders(template, extra)
        except PydanticCustomError as exc:
            faults.append(detail(location, exc))
    if faults:
        return faults
    if "base_url" in used and not description.base_url:
        return [detail(("base_url",), invalid("required by the url, but not set"))]
    open_ = {name for name, value in description.variables.items() if value is None}  # each watch has its own
    if used.isdisjoint({"id", "+id", *open_}):
        faults.append(detail(("url",), invalid("the task's id is used nowhere; put {id} into the url or a header")))
    if "?" in (description.base_url or "") and any("{base_url}/" in template for _, template in templates):
        return [detail(("base_url",), invalid("has a query (?...), which the url's path would become a part of"))]
    at = ("base_url",) if "base_url" in overrides and "url" not in overrides else ("url",)
    if (own := _address_fault(description, description.url)) is not None:
        faults.append(detail(at, invalid(own)))
    addresses = dict(templates)
    for request in ("result_request", "batch"):
        other = addresses.get((request, "url"))
        if other is None or ("{base_url}" in other and own is not None):
            continue  # the base_url has been reported already
        if (message := _address_fault(description, other)) is not None:
            faults.append(detail((request, "url"), invalid(message)))
    return faults


def _address_fault(description: Preset, template: str) -> str | None:
    """Return why no request can go to the template's address, once it is filled in; None: it can."""
    address = _fill(description, template)
    try:
        check_http(SecretUrl(address))
    except ValueError:
        return "expected an address that begins with http:// or https://, names a host and has no fragment (#...)"
    if "@" in urlsplit(address).netloc and any(name.lower() == "authorization" for name in description.headers):
        return "a user name and password do not go together with the header Authorization; set that to null"
    return None


def placeholders(template: str, extra: Sequence[str] = ()) -> set[str]:
    """List the placeholders of the template; `extra` are those that it may have beside the usual ones."""
    names = (*_PLACEHOLDERS, *extra)
    known = ", ".join(f"{{{name}}}" for name in names if name != "+id")
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as exc:
        raise invalid(f"braces do not match; write {{{{ and }}}} for braces, or one of {known}") from exc
    for _, name, form, conversion in parts:
        if name is not None and (name not in names or form or conversion):
            raise invalid(f"a template may use {known}, and what `variables` names", suggestion=suggest(name, names))
    return {name for _, name, _, _ in parts if name is not None}


def _fill(description: Preset, template: str) -> str:
    """Fill in a URL for its origin and a check: a variable without a default may be a part of a host, or a port."""
    variables = {name: "1" if value is None else value for name, value in description.variables.items()}
    given = {"base_url": description.base_url, "token": "token", **dict.fromkeys(_IDS, "id")}
    return template.format(**variables | given)
