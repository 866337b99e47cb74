"""A watch as users write it: an id, or a mapping. The same model reads YAML, HTTP bodies and queue messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from notifier.config.endpoint import EndpointName, SourceName
from notifier.config.problems import carry, detail, error, refusal
from notifier.config.section import Context, Section
from notifier.config.types import JsonValue, TaskId, Text
from notifier.core.model import NewWatch

NO_SOURCE = "no source is configured; a watch needs one under `sources`"


class WatchConfig(Section):
    """A task to follow."""

    id: TaskId = Field(description="the provider's id of the task, exactly as given by it; best in quotes")
    source: SourceName = Field(description="name of the source; needed where there are several and no default")
    endpoints: Annotated[tuple[EndpointName, ...], AfterValidator(lambda names: tuple(dict.fromkeys(names)))] | None = (
        Field(default=None, description="names of the endpoints to tell; null: all whose match accepts the watch")
    )
    labels: dict[Text, Text] = Field(default={}, description="texts to match, filter and show by")
    metadata: JsonValue = Field(default=None, description="any JSON value; sent along with every event")

    def to_new_watch(self) -> NewWatch:
        """Return the watch as the store takes it."""
        return NewWatch(
            source=self.source, id=self.id, labels=self.labels, metadata=self.metadata, endpoints=self.endpoints
        )

    @classmethod
    def missing(cls) -> str:
        """Say what a watch looks like."""
        return "an id in quotes or a mapping with the key id"

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as users write it: the source may be left out."""
        reference = handler(core)
        handler.resolve_ref_schema(reference)["required"] = ["id"]
        return reference


def read_watch(value: Any, *, default: str | None, context: Context) -> WatchConfig:
    """Read a watch; `default` is the source of one that names none. Raises pydantic.ValidationError."""
    if not isinstance(value, Mapping) and not isinstance(value, list | tuple) and value is not None:
        value = {"id": value}
    if not isinstance(value, Mapping) or value.get("source") is not None:
        return WatchConfig.model_validate(value, context=context)
    if default is not None:
        return WatchConfig.model_validate({**value, "source": default}, context=context)
    names = context.sources or ()
    message = f"say which: there are {', '.join(names)}; or mark one with `default: true`" if names else NO_SOURCE
    faults = [detail(("source",), error(message))]
    try:  # what else is wrong with it?
        WatchConfig.model_validate({**value, "source": "any"}, context=replace(context, sources=None))
    except ValidationError as exc:
        faults = carry(exc) + faults
    raise refusal(faults)
