"""A source: a provider's preset, its overrides, and the limits of its streams.

The fields of a preset stand beside the source's own keys. They are taken from `Preset` and not repeated here.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from notifier.config.endpoint_keys import ProxyUrl
from notifier.config.identity import CaFile
from notifier.config.problems import below, carry, detail, got, invalid, refusal, suggest
from notifier.config.reading import digest
from notifier.config.scalars import settle
from notifier.config.secret import Secret, SecretUrl, check_http
from notifier.config.section import Context, Impossible, Section, unknown_keys
from notifier.config.types import (
    Boolean,
    Duration,
    EventSize,
    Positive,
    PositiveDuration,
    Whole,
    header_name,
    printable,
    text,
)
from notifier.core.eventstream import MAX_EVENT
from notifier.core.model import Phase
from notifier.sources import preset as presets
from notifier.sources.preset import BEARER, Preset

_PLACEHOLDERS = ("base_url", "id", "+id", "token")
_EXTRA = {"headers": ("uuid", "jwt"), "result_request": ("result_id",)}  # placeholders beside the usual ones


class Description(Preset):
    """A preset with a source's overrides. It prints without URL and headers, which may hold values of variables."""

    def __repr_args__(self) -> Any:
        """List the fields that may be shown."""
        return [(key, value) for key, value in super().__repr_args__() if key not in ("url", "base_url", "headers")]

    @property
    def origin(self) -> str:
        """Return `scheme://host[:port]` of the URL."""
        return SecretUrl(_fill(self)).origin


def _preset_name(value: object, info: ValidationInfo) -> str:
    name = printable(value)
    known = tuple(dict.fromkeys([*Context.of(info).presets, *presets.names()]))
    if name not in known:
        raise invalid(f"unknown preset {got(value)}; there are {', '.join(known)}", suggestion=suggest(name, known))
    return name


def read_preset(value: object) -> tuple[Description, dict[str, Any]]:
    """Return a preset of the user's own, and its fields in the form that sources merge their overrides into.

    It may lack its base_url, which then comes with a source. Raises PydanticCustomError and ValidationError.
    """
    if not isinstance(value, Mapping):
        raise invalid(f"expected a mapping with keys such as url, paths and states, got {got(value)}")
    faults = unknown_keys(list(value), tuple(Preset.model_fields), {})
    written = {key: item for key, item in value.items() if key in Preset.model_fields}
    merged, more = _merge({"headers": BEARER}, written) if "headers" not in written else _merge({}, written)
    faults += more
    try:
        description = Description.model_validate(merged)
    except ValidationError as exc:
        raise refusal(carry(exc) + faults) from exc
    usable = description if description.base_url else description.model_copy(update={"base_url": "https://base"})
    faults += _clashes(description, written) + _template_faults(usable, written)
    if faults:
        raise refusal(faults)
    return description, merged


def _describe(value: dict[str, Any], info: ValidationInfo) -> Description:
    """Merge the overrides into the preset and check the result."""
    own = Context.of(info).presets
    try:
        name = _preset_name(value.get("preset", "generic"), info)
        base = own[name] if name in own else presets.raw(name)
    except PydanticCustomError:  # reported at the key `preset`
        base = None
    if base is None:
        return Description.model_construct(url="", states={})
    overrides = {key: item for key, item in value.items() if key != "preset"}
    if "preset" not in value and overrides.keys().isdisjoint(("base_url", "url")):
        message = f"required, but missing; there are {', '.join(dict.fromkeys([*own, *presets.names()]))}"
        raise refusal([detail(("preset",), invalid(message))])
    merged, faults = _merge(base, overrides)
    try:
        description = Description.model_validate(merged)
    except ValidationError as exc:
        raise refusal(carry(exc) + faults) from exc
    faults += _clashes(description, overrides) + _template_faults(description, overrides)
    faults += _poll_faults(description, overrides.get("poll"))
    if faults:
        raise refusal(faults)
    return description


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
            header_name(name)
        except PydanticCustomError as exc:
            faults.append(detail(("headers", name, "[key]"), exc))
        try:
            if item is not None:
                added[name] = printable(item)
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
    for phase, states in description.states.items():
        for state in states:
            other = phases.setdefault(state, phase)
            if other != phase:
                at = phase if phase in overrides.get("states", {}) else other
                message = f'{got(state)} is listed under "{other}" and "{phase}"; a state has one phase'
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
    for location, template in templates:
        try:
            extra = (*description.variables, *_EXTRA.get(location[0], ()))
            used |= _placeholders(template, extra)
        except PydanticCustomError as exc:
            faults.append(detail(location, exc))
    if faults:
        return faults
    if "base_url" in used and not description.base_url:
        return [detail(("base_url",), invalid("required by the url, but not set"))]
    if used.isdisjoint({"id", "+id"}):
        faults.append(detail(("url",), invalid("the task's id is used nowhere; put {id} into the url or a header")))
    address = _fill(description)
    at = "base_url" if "base_url" in overrides and "url" not in overrides else "url"
    try:
        check_http(SecretUrl(address))
    except ValueError:
        message = "expected an address that begins with http:// or https://, names a host and has no fragment (#...)"
        faults.append(detail((at,), invalid(message)))
    else:
        authorized = any(name.lower() == "authorization" for name in description.headers)
        if "@" in urlsplit(address).netloc and authorized:
            message = "a user name and password do not go together with the header Authorization; set that to null"
            faults.append(detail((at,), invalid(message)))
    return faults


def _placeholders(template: str, extra: Sequence[str] = ()) -> set[str]:
    """List the placeholders of the template; `extra` are those that it may have beside the usual ones."""
    names = (*_PLACEHOLDERS, *extra)
    known = ", ".join(f"{{{name}}}" for name in names if name != "+id")
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as exc:
        raise invalid(f"braces do not match; write {{{{ and }}}} for braces, or one of {known}") from exc
    for _, name, form, conversion in parts:
        if name is not None and (name not in names or form or conversion):
            raise invalid(f"a template may use {known} only", suggestion=suggest(name, names))
    return {name for _, name, _, _ in parts if name is not None}


def _fill(description: Preset) -> str:
    values = dict.fromkeys(description.variables, "x") | {"base_url": description.base_url, "+id": "id"}
    return description.url.format(**values | {"id": "id", "token": "token"})


def default_source(names: Collection[str], marked: Sequence[str]) -> str | None:
    """Return the source of watches that name none: the one marked `default`, or the only one."""
    return next(iter(marked or (names if len(names) == 1 else ())), None)


class Backoff(Section):
    """Waits between attempts to connect: random below a bound that doubles from `initial` to `max`."""

    initial: PositiveDuration = Field(default=1.0, description="bound of the first wait")
    max: PositiveDuration = Field(default=60.0, description="bound of the longest wait")

    def impossible(self) -> Iterator[Impossible]:
        """Refuse a `max` below `initial`."""
        if self.max < self.initial:
            key = "max" if "max" in self.model_fields_set else "initial"
            yield Impossible(key=key, keys=frozenset({"initial", "max"}), message="max is shorter than initial")


class SourceConfig(Section):
    """An upstream that reports task states. Any field of the preset may stand here too, and overrides it."""

    preset: Annotated[
        str, BeforeValidator(_preset_name), WithJsonSchema({"type": "string", "examples": list(presets.names())})
    ] = Field(default="generic", description="built-in description of the provider")
    token: Secret | None = Field(default=None, description="credential; fills {token} in the preset's headers and url")
    default: Boolean = Field(default=False, description="used by watches that name no source")
    max_streams: Whole = Field(default=2000, description="streams open at a time; other watches wait for their turn")
    connect_rate: Positive = Field(default=200.0, description="new connections per second")
    connect_timeout: PositiveDuration = Field(
        default=10.0, description="for the name lookup, the connection and the response's head"
    )
    idle_timeout: PositiveDuration = Field(
        default=90.0, description="a stream that is silent for longer is opened again"
    )
    backoff: Backoff = Field(default=Backoff(), description="waits between attempts to connect")
    not_found_grace: Duration = Field(default=60.0, description="how long the upstream may not know a new task")
    give_up_after: Duration = Field(default=3600.0, description="how long the upstream may refuse the credentials")
    deadline: PositiveDuration = Field(default=86400.0, description="longest duration of a watch")
    result_timeout: PositiveDuration = Field(
        default=120.0, description="how long the result of a finished task is asked for, where that takes a request"
    )
    stall_after: PositiveDuration | None = Field(
        default=None, description="send watch.stalled after so long without a change"
    )
    failing_after: PositiveDuration = Field(
        default=300.0, description="after so long without an answer, operators get source.failing"
    )
    max_event: EventSize = Field(default=MAX_EVENT, description="longest snapshot that is read, from 1KiB to 64MiB")
    proxy: ProxyUrl | None = Field(default=None, description="http://[USER:PASSWORD@]HOST:PORT; null: none")
    ca_file: CaFile | None = Field(
        default=None, description="PEM file of authorities to trust in place of the system's"
    )
    description: Annotated[Description, BeforeValidator(_describe)] = Field(
        description="the preset with what is overridden"
    )
    _authorities: str | None = PrivateAttr(default=None)  # digest of `ca_file`, which is renewed under its old name

    def model_post_init(self, _context: Any) -> None:
        """Store a digest of the file, so that a source with new authorities compares unequal to the earlier one."""
        self._authorities = None if self.ca_file is None else digest(self.ca_file)

    @property
    def authorities(self) -> str | None:
        """Return a value that changes with `ca_file` and its contents."""
        return self._authorities

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """List the keys as users write them: ours and the preset's."""
        return (*(key for key in cls.model_fields if key != "description"), *Preset.model_fields)

    @classmethod
    def arrange(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Collect the preset's fields under `description`."""
        overrides = {key: item for key, item in value.items() if key in Preset.model_fields}
        own = {key: item for key, item in value.items() if key not in overrides}
        preset = {"preset": value["preset"]} if "preset" in value else {}
        return own | {"description": {**preset, **overrides}}

    def impossible(self) -> Iterator[Impossible]:
        """Refuse a URL that needs a token where there is none. A header without its token is just left out."""
        if self.token is None and "token" in _placeholders(self.description.url, tuple(self.description.variables)):
            message = "required by {token} in the url, but missing"
            yield Impossible(key="token", keys=frozenset({"token"}), message=message)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the keys as users write them."""
        reference = handler(core)
        schema = handler.resolve_ref_schema(reference)
        preset = handler.resolve_ref_schema(handler(Preset.__pydantic_core_schema__))
        schema["properties"].pop("description", None)
        for key, item in preset["properties"].items():
            about = {"description": f"overrides `{key}` of the preset"}
            written = about | {name: part for name, part in item.items() if name != "default"}
            schema["properties"].setdefault(key, written)
        schema["required"] = [key for key in schema.get("required", []) if key != "description"]
        return reference
