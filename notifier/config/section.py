"""The base of every section of the configuration: strict keys, all faults at once, and the context of a value."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails

from notifier.config.problems import UNKNOWN_KEY, carry, detail, got, invalid, refusal, suggest
from notifier.config.reading import digest

if TYPE_CHECKING:
    from notifier.config.settings import CallbacksConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchVariables:
    """The variables that watches of a source may give, and those that they have to."""

    allowed: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The surroundings that a value may depend on, passed through pydantic's validation context."""

    directory: Path = Path()  # relative paths start here
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    sources: tuple[str, ...] | None = None  # the names that may be used; None: any
    endpoints: tuple[str, ...] | None = None
    presets: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)  # the user's; None: it has faults
    variables: Mapping[str, WatchVariables] = field(default_factory=dict)  # of the sources' watches; not listed: any
    callbacks: CallbacksConfig | None = None  # the rules for a watch's callback; None: any URL may be given
    read: dict[Path, str | None] = field(
        default_factory=dict
    )  # the files that values were read from, with their digests

    def note(self, path: Path) -> None:
        """Record a file and its digest just before it is read."""
        if path not in self.read:
            self.read[path] = digest(path)

    @staticmethod
    def of(info: ValidationInfo) -> Context:
        """Return the context of a validation; by default one that knows only the environment."""
        return info.context if isinstance(info.context, Context) else Context()


def unknown_keys(keys: list[Any], known: tuple[str, ...], elsewhere: Mapping[str, str]) -> list[InitErrorDetails]:
    """Return an error for each unknown key; `elsewhere` holds messages for keys that belong to another section."""
    errors = []
    for key in keys:
        if key in known:
            continue
        hint = None if key in elsewhere else suggest(str(key), known)
        fault = invalid(elsewhere.get(key, UNKNOWN_KEY), suggestion=hint)
        errors.append(detail((str(key), "[key]"), fault))
    return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Impossible:
    """Values that are valid on their own but not together."""

    key: str  # the key where it is reported
    keys: frozenset[str]  # all keys concerned; it is not reported if one of them has its own fault
    message: str


class Section(BaseModel):
    """A mapping with fixed keys. An unknown key does not hide other faults."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    elsewhere: ClassVar[Mapping[str, str]] = {}  # keys that belong to other sections, with a message for each

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """List the keys as users write them."""
        return tuple(cls.model_fields)

    @classmethod
    def arrange(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Convert the mapping that users write into the fields."""
        return value

    @classmethod
    def misplaced(cls, value: Mapping[str, Any]) -> Mapping[str, str]:
        """Return messages for unknown keys that probably belong elsewhere."""
        del value
        return {}

    @classmethod
    def missing(cls) -> str:
        """Describe a mapping of this kind, for messages."""
        return f"a mapping with keys such as {', '.join(cls.keys()[:3])}"

    @model_validator(mode="wrap")
    @classmethod
    def _strict(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise invalid(f"expected {cls.missing()}, got {got(value)}")
        known = cls.keys()
        faults = unknown_keys(list(value), known, {**cls.misplaced(value), **cls.elsewhere})
        arranged = cls.arrange({key: item for key, item in value.items() if key in known})
        try:
            section = handler(arranged)
        except ValidationError as exc:
            faulty = {str(entry["loc"][0]) for entry in exc.errors() if entry["loc"]}
            raise refusal(carry(exc) + cls._pairs(arranged, handler, faulty) + faults) from exc
        faults += section._impossible()
        if faults:
            raise refusal(faults)
        return section

    def impossible(self) -> Iterator[Impossible]:
        """List combinations of values that are not allowed."""
        yield from ()

    def _impossible(self, faulty: Set[str] = frozenset()) -> list[InitErrorDetails]:
        return [
            detail((pair.key,), invalid(pair.message)) for pair in self.impossible() if faulty.isdisjoint(pair.keys)
        ]

    @classmethod
    def _pairs(
        cls, arranged: dict[str, Any], handler: ModelWrapValidatorHandler[Self], faulty: set[str]
    ) -> list[InitErrorDetails]:
        """Look for impossible combinations among the valid keys."""
        try:
            section = handler({key: item for key, item in arranged.items() if key not in faulty})
        except ValidationError:  # a required key is among the faulty ones
            return []
        return section._impossible(faulty)
