"""A source: a provider's preset, its overrides, and the limits of its streams.

The fields of a preset stand beside the source's own keys. They are taken from `Preset` and not repeated here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

from notifier.config.description import Description, describe_source, placeholders, preset_name
from notifier.config.endpoint_keys import ProxyUrl
from notifier.config.identity import CaFile
from notifier.config.reading import digest
from notifier.config.secret import Secret
from notifier.config.section import Impossible, Section
from notifier.config.types import (
    Boolean,
    Duration,
    EventSize,
    Positive,
    PositiveDuration,
    Whole,
)
from notifier.core.eventstream import MAX_EVENT
from notifier.sources import preset as presets
from notifier.sources.preset import Preset


def default_source(names: Collection[str], marked: Sequence[str]) -> str | None:
    """Return the source of watches that name none: the one marked `default`, or the only one."""
    return next(iter(marked or (names if len(names) == 1 else ())), None)


_OF_BOTH = frozenset({"deadline", "stall_after", "idle_timeout", "max_event"})  # a source's own go before the preset's


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
        str, BeforeValidator(preset_name), WithJsonSchema({"type": "string", "examples": list(presets.names())})
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
    description: Annotated[Description, BeforeValidator(describe_source)] = Field(
        description="the preset with what is overridden"
    )
    _authorities: str | None = PrivateAttr(default=None)  # digest of `ca_file`, which is renewed under its old name

    def model_post_init(self, _context: Any) -> None:
        """Take over the preset's limits, and store a digest of the file.

        By that, a source with new authorities compares unequal to the earlier one.
        """
        self._authorities = None if self.ca_file is None else digest(self.ca_file)
        for key in _OF_BOTH - self.model_fields_set:
            if (value := getattr(self.description, key, None)) is not None:
                self.__dict__[key] = value  # the preset's, where the source has none of its own

    @property
    def authorities(self) -> str | None:
        """Return a value that changes with `ca_file` and its contents."""
        return self._authorities

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """List the keys as users write them: ours and the preset's."""
        own = [key for key in cls.model_fields if key != "description"]
        return tuple(dict.fromkeys([*own, *Preset.model_fields]))

    @classmethod
    def arrange(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Collect the preset's fields under `description`."""
        overrides = {key: item for key, item in value.items() if key in Preset.model_fields and key not in _OF_BOTH}
        own = {key: item for key, item in value.items() if key not in overrides}
        preset = {"preset": value["preset"]} if "preset" in value else {}
        return own | {"description": {**preset, **overrides}}

    def impossible(self) -> Iterator[Impossible]:
        """Refuse a URL that needs a token where there is none. A header without its token is just left out."""
        if self.token is None and "token" in placeholders(self.description.url, tuple(self.description.variables)):
            message = "required by {token} in the url, but missing"
            yield Impossible(key="token", keys=frozenset({"token"}), message=message)
        pair = (self.token.reveal() if self.token is not None else "a:b").partition(":")
        if not all(pair) and any("{jwt}" in value for value in self.description.headers.values()):
            message = "a header is signed by {jwt}, which takes a pair of keys: ACCESS:SECRET"
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
