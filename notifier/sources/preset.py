"""The description of a provider as data: how to ask for a task, and how to read what comes back.

Built-in descriptions are the YAML files in `presets/`; any field may be overridden in a source's configuration.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import jmespath
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from notifier.core.model import Phase

_EVENT_NAME = re.compile(r"""(?<![\w"'`@])@event\b""")


def compilable(path: str) -> str:
    """Return a path as JMESPath: `@event`, the name of the stream's event, becomes the key of that name."""
    return _EVENT_NAME.sub('"@event"', path)


def _jmespath(expression: str) -> str:
    try:
        jmespath.compile(compilable(expression))
    except jmespath.exceptions.JMESPathError as exc:
        raise ValueError(f"not a JMESPath expression: {exc}") from exc
    return expression


Path = Annotated[str, AfterValidator(_jmespath)]


class Paths(BaseModel):
    """JMESPath expressions, applied to each snapshot; `@event` in them is the name of the stream's event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Path = "state"
    progress: Path | None = None
    eta: Path | None = None
    error_code: Path | None = None
    error_message: Path | None = None
    result: Path | None = None


class Preset(BaseModel):
    """How one provider reports a task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport: Literal["sse"] = "sse"
    method: Literal["GET", "POST"] = "GET"
    base_url: str | None = None
    url: str = Field(description="template: {base_url}, {id} (percent-encoded) and {token} are filled in")
    headers: dict[str, str] = Field(default_factory=dict, description="templates like url, {id} as written")
    framing: Literal["event", "line"] = "event"
    paths: Paths = Paths()
    states: dict[Phase, tuple[str, ...]] = Field(description="the provider's states under ours")
    failure_if_present: tuple[Path, ...] = ()
    state_events: tuple[str, ...] | None = Field(
        default=None, description="names of the events that carry a state; null: all events do"
    )
    end_event: str | None = Field(
        default=None, description="name of the event that ends the stream; it may be listed in `states`"
    )


def names() -> tuple[str, ...]:
    """List the built-in presets."""
    found = files("notifier.sources").joinpath("presets").iterdir()
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in found if entry.name.endswith(".yaml")))


@cache
def raw(name: str) -> dict[str, object]:
    """Return a built-in preset's fields as written. Raises KeyError for an unknown name."""
    if name not in names():
        raise KeyError(name)
    text = files("notifier.sources").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    fields: dict[str, object] = yaml.safe_load(text)
    return fields
