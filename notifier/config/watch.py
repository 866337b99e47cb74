"""A watch as users write it: an id, or a mapping. One model reads YAML, HTTP bodies and queue messages.

Only HTTP and queues accept a watch's own URL (`callback_url`), under the rules for strangers. The owner of the
configuration can name endpoints instead, which may point anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

from notifier.config.endpoint_keys import EndpointName, SourceName
from notifier.config.problems import carry, detail, invalid, refusal, suggest
from notifier.config.secret import Secret, SecretUrl, signing
from notifier.config.section import Context, Impossible, Section
from notifier.config.types import JsonValue, TaskId, Text, is_json, is_text, task_id, text
from notifier.core.callback import MAX_URL, Callback
from notifier.core.model import NONE, NewWatch
from notifier.core.trace import MAX_TRACEPARENT, traceparent_fault
from notifier.sources.preset import MAX_VARIABLE, variable_fault

NO_SOURCE = "no source is configured; a watch needs one under `sources`"

# id, source, endpoints, labels, metadata, variables and traceparent of a valid watch
WatchRow = tuple[str, str, tuple[str, ...] | None, dict[str, str], Any, dict[str, str], str | None]

_ELSEWHERE = "comes with a watch by API or queue; in a configuration, name the URL under `endpoints`"


def _variable(value: object) -> str:
    if (fault := variable_fault(plain := text(value))) is not None:
        raise invalid(fault)
    return plain


def _fitting(given: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Refuse variables that the source's URL does not name, and a watch that lacks one."""
    source, context = info.data.get("source"), Context.of(info)
    wanted = context.variables.get(source) if isinstance(source, str) else None
    if wanted is None:
        return given
    faults = []
    for name in given.keys() - wanted.allowed:
        options = ", ".join(sorted(wanted.allowed))
        message = f"watches of {source} may give {options}" if options else f"watches of {source} have no variables"
        faults.append(detail((name, "[key]"), invalid(message, suggestion=suggest(name, wanted.allowed))))
    if missing := sorted(wanted.required - given.keys()):
        form = ", ".join(f"{name}: ..." for name in missing)
        message = f"the url of {source} names {', '.join(missing)}; add `variables: {{{form}}}` here or to the source"
        faults.append(detail((), invalid(message)))
    if faults:
        raise refusal(faults)
    return given


VariableValue = Annotated[
    str, BeforeValidator(_variable), WithJsonSchema({"type": "string", "maxLength": MAX_VARIABLE})
]


def _traceparent(value: object) -> str:
    if (fault := traceparent_fault(plain := text(value))) is not None:
        raise invalid(fault)
    return plain


_Traceparent = Annotated[
    str, BeforeValidator(_traceparent), WithJsonSchema({"type": "string", "maxLength": MAX_TRACEPARENT})
]


class WatchConfig(Section):
    """A task to follow."""

    elsewhere: ClassVar[Mapping[str, str]] = {"callback_url": _ELSEWHERE, "callback_secret": _ELSEWHERE}

    id: TaskId = Field(description="the provider's id of the task, unchanged, best in quotes")
    source: SourceName = Field(description="name of the source; needed where there are several and no default")
    endpoints: Annotated[tuple[EndpointName, ...], AfterValidator(lambda names: tuple(dict.fromkeys(names)))] | None = (
        Field(default=None, description="endpoints that receive its events; null: all whose match accepts the watch")
    )
    labels: dict[Text, Text] = Field(default={}, description="texts to match, filter and show by")
    metadata: JsonValue = Field(default=None, description="any JSON value; sent with every event")
    variables: Annotated[dict[Text, VariableValue], AfterValidator(_fitting)] = Field(
        default={},
        validate_default=True,
        description="values for what the source's url names beside the id; they go before the source's own",
    )

    traceparent: _Traceparent | None = Field(
        default=None, description="W3C Trace Context of who submitted the task; sent on with every callback"
    )

    def to_new_watch(self) -> NewWatch:
        """Return the watch in the store's form."""
        return NewWatch(
            source=self.source,
            id=self.id,
            labels=self.labels,
            metadata=self.metadata,
            endpoints=self.endpoints,
            variables=self.variables or NONE,
            traceparent=self.traceparent,
        )

    @property
    def row(self) -> WatchRow:
        """Return its values."""
        values = self.id, self.source, self.endpoints, self.labels, self.metadata
        return *values, self.variables, self.traceparent

    @classmethod
    def of_row(cls, row: WatchRow) -> WatchConfig:
        """Create the watch that has these values, which are valid."""
        task, source, endpoints, labels, metadata, variables, traceparent = row
        return cls.model_construct(
            id=task,
            source=source,
            endpoints=endpoints,
            labels=labels,
            metadata=metadata,
            variables=variables,
            traceparent=traceparent,
        )

    @classmethod
    def missing(cls) -> str:
        """Describe a watch, for messages."""
        return "an id in quotes or a mapping with the key id"

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as users write it: the source may be left out."""
        reference = handler(core)
        handler.resolve_ref_schema(reference)["required"] = ["id"]
        return reference


def _text_alone(value: object) -> object:
    """Refuse a reference to a file: the sender may be a stranger."""
    if not isinstance(value, str):
        raise invalid("expected text")
    return value


def _allowed(url: SecretUrl, info: ValidationInfo) -> SecretUrl:
    callbacks = Context.of(info).callbacks
    reason = None if callbacks is None else callbacks.refusal(url.reveal())
    if reason is not None:
        raise invalid(reason)
    return url


def _symmetric(secret: Secret) -> Secret:
    if not secret.reveal().startswith("whsec_"):
        raise invalid("expected a secret that begins with whsec_; `notifier secret new` makes one")
    return secret


_URL_SCHEMA = {"type": "string", "maxLength": MAX_URL}


class WatchRequest(WatchConfig):
    """A task to follow."""

    elsewhere: ClassVar[Mapping[str, str]] = {}

    callback_url: (
        Annotated[SecretUrl, BeforeValidator(_text_alone), AfterValidator(_allowed), WithJsonSchema(_URL_SCHEMA)] | None
    ) = Field(default=None, description="receives the watch's events beside the endpoints; never shown again")
    callback_secret: (
        Annotated[
            Secret,
            BeforeValidator(_text_alone),
            AfterValidator(_symmetric),
            AfterValidator(signing),
            WithJsonSchema({"type": "string"}),
        ]
        | None
    ) = Field(
        default=None, description="whsec_...; signs the requests to `callback_url`; null: `callbacks.secret` signs them"
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as clients write it: the source may be left out, or null."""
        reference = super().__get_pydantic_json_schema__(core, handler)
        source = handler.resolve_ref_schema(reference)["properties"]["source"]
        source["anyOf"] = [{"type": source.pop("type"), "minLength": source.pop("minLength")}, {"type": "null"}]
        source["default"] = None
        return reference

    def impossible(self) -> Iterator[Impossible]:
        """Refuse a secret without a URL."""
        if self.callback_secret is not None and self.callback_url is None:
            keys = frozenset({"callback_url", "callback_secret"})
            yield Impossible(key="callback_secret", keys=keys, message="needs a callback_url beside it")

    def to_new_watch(self) -> NewWatch:
        """Return the watch in the store's form."""
        watch = super().to_new_watch()
        if self.callback_url is None:
            return watch
        secret = None if self.callback_secret is None else self.callback_secret.reveal()
        return replace(watch, callback=Callback(url=self.callback_url.reveal(), secret=secret))


_USUAL = frozenset({"id", "source", "endpoints", "labels", "metadata"})


def usual(value: Any, default: str | None, context: Context) -> WatchRow | None:
    """Return the values of a watch that are all of the usual kinds, many times faster than the model; or None."""
    if type(value) is str:
        value = {"id": value}
    if type(value) is not dict or not value.keys() <= _USUAL or context.sources is None or context.endpoints is None:
        return None
    source = default if value.get("source") is None else value["source"]
    endpoints, labels, metadata = value.get("endpoints"), value.get("labels", {}), value.get("metadata")
    if not isinstance(source, str) or source not in context.sources:
        return None
    if (wanted := context.variables.get(source)) is not None and wanted.required:
        return None
    if endpoints is not None and not (type(endpoints) is list and all(name in context.endpoints for name in endpoints)):
        return None
    if type(labels) is not dict or not (all(map(is_text, labels)) and all(map(is_text, labels.values()))):
        return None
    if not is_json(metadata):
        return None
    try:
        task = task_id(value.get("id"))
    except PydanticCustomError:
        return None
    names = None if endpoints is None else tuple(dict.fromkeys(map(str, endpoints)))
    return task, str(source), names, labels, metadata, {}, None


def read_watch(
    value: Any, *, default: str | None, context: Context, model: type[WatchConfig] = WatchConfig
) -> WatchConfig:
    """Read a watch; `default` is the source of a watch that names none. Raises pydantic.ValidationError."""
    if not isinstance(value, Mapping) and not isinstance(value, list | tuple) and value is not None:
        value = {"id": value}
    if (row := usual(value, default, context)) is not None:
        return model.of_row(row)
    if not isinstance(value, Mapping) or value.get("source") is not None:
        return model.model_validate(value, context=context)
    if default is not None:
        return model.model_validate({**value, "source": default}, context=context)
    names = context.sources or ()
    message = f"say which: there are {', '.join(names)}; or mark one with `default: true`" if names else NO_SOURCE
    faults = [detail(("source",), invalid(message))]
    try:  # report its other faults too
        model.model_validate({**value, "source": "any"}, context=replace(context, sources=None))
    except ValidationError as exc:
        faults = carry(exc) + faults
    raise refusal(faults)
