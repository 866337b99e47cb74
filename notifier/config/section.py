"""What every section of the configuration has in common: strict keys, all faults at once, the file's surroundings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails

from notifier.config.problems import carry, detail, got, invalid, refusal, suggest
from notifier.config.reading import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a value may depend on besides itself; passed through pydantic's validation context."""

    directory: Path = Path()  # relative paths start here
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    sources: tuple[str, ...] | None = None  # the names that may be referred to; None: any
    endpoints: tuple[str, ...] | None = None
    callback_refusal: Callable[[str], str | None] | None = None  # what speaks against a callback's URL; None: not asked
    read: dict[Path, str | None] = field(default_factory=dict)  # every file that a value was read from, and its digest

    def note(self, path: Path) -> None:
        """Take note of a file that is about to be read."""
        if path not in self.read:
            self.read[path] = digest(path)

    @staticmethod
    def of(info: ValidationInfo) -> Context:
        """Return the validation's context, or one that knows the environment only."""
        return info.context if isinstance(info.context, Context) else Context()


def unknown_keys(keys: list[Any], known: tuple[str, ...], elsewhere: Mapping[str, str]) -> list[InitErrorDetails]:
    """Report each key that is not known; `elsewhere` says where some of them belong."""
    found = []
    for key in keys:
        if key in known:
            continue
        hint = None if key in elsewhere else suggest(str(key), known)
        fault = invalid(elsewhere.get(key, "unknown key"), suggestion=hint)
        found.append(detail((str(key), "[key]"), fault))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Impossible:
    """Values that are well each, but not together."""

    key: str  # where it is reported
    keys: frozenset[str]  # all that are part of it; if one has a fault of its own, that is enough
    message: str


class Section(BaseModel):
    """A mapping with fixed keys. An unknown one hides no other fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    elsewhere: ClassVar[Mapping[str, str]] = {}  # known keys of other sections, and what to say of them here

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """List the keys as users write them."""
        return tuple(cls.model_fields)

    @classmethod
    def arrange(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Bring what users write into the shape of the fields."""
        return value

    @classmethod
    def missing(cls) -> str:
        """Say what a mapping of this kind looks like."""
        return f"a mapping with keys such as {', '.join(cls.keys()[:3])}"

    @model_validator(mode="wrap")
    @classmethod
    def _strict(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise invalid(f"expected {cls.missing()}, got {got(value)}")
        known = cls.keys()
        faults = unknown_keys(list(value), known, cls.elsewhere)
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
        """List the pairs of values that cannot be."""
        yield from ()

    def _impossible(self, faulty: Set[str] = frozenset()) -> list[InitErrorDetails]:
        return [
            detail((pair.key,), invalid(pair.message)) for pair in self.impossible() if faulty.isdisjoint(pair.keys)
        ]

    @classmethod
    def _pairs(
        cls, arranged: dict[str, Any], handler: ModelWrapValidatorHandler[Self], faulty: set[str]
    ) -> list[InitErrorDetails]:
        """Look for impossible pairs among the keys that are well."""
        try:
            section = handler({key: item for key, item in arranged.items() if key not in faulty})
        except ValidationError:  # a required key is among the faulty ones
            return []
        return section._impossible(faulty)
