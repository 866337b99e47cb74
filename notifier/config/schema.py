"""The JSON Schema of the configuration file as users write it, for editors and `notifier schema`."""

from __future__ import annotations

from functools import cache
from typing import Any

from notifier.config.model import Config
from notifier.config.types import VARIABLE, write_duration

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BARE_WATCH = [{"type": "string", "minLength": 1, "maxLength": 512}, {"type": "integer", "minimum": 0}]
_ABOUT = ("title", "description", "examples", "default")


def json_schema() -> dict[str, Any]:
    """Return the schema of the file (draft 2020-12)."""
    schema = Config.model_json_schema(mode="validation")
    properties: dict[str, Any] = schema["properties"]
    watches = properties["watches"]
    watches["items"] = {"title": "Watch", "anyOf": [*_BARE_WATCH, watches["items"]]}
    for key, part in properties.items():
        part.setdefault("title", _title(key))
        properties[key] = _either(_as_written(part), {"type": "null"})  # a section that holds only comments
    for name, definition in schema["$defs"].items():
        for key, part in definition.get("properties", {}).items():
            part.setdefault("title", _title(key))
            definition["properties"][key] = _as_written(_either(part, VARIABLE) if "enum" in part else part)
            if name == "Paths":
                definition["properties"][key].setdefault("description", f"JMESPath expression of `{key}`")
    return {"$schema": DIALECT, **schema, "title": "Configuration of notifier"}


@cache
def known_keys() -> frozenset[str]:
    """Return the name of every key that some section has."""
    schema = Config.model_json_schema(mode="validation")
    parts = [schema, *schema["$defs"].values()]
    return frozenset(key for part in parts for key in part.get("properties", ()))


def _either(part: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Accept the values of either schema; the key's description and default stay at the top."""
    about = {key: part[key] for key in _ABOUT if key in part}
    return about | {"anyOf": [{key: value for key, value in part.items() if key not in about}, other]}


def _as_written(part: dict[str, Any]) -> dict[str, Any]:
    """Write the default as users would; sections have their own defaults."""
    default = part.get("default")
    patterns = [option.get("pattern", "") for option in [part, *part.get("anyOf", []), part.get("items", {})]]
    patterns += [option.get("pattern", "") for option in part.get("items", {}).get("anyOf", [])]
    if isinstance(default, dict):
        return {key: value for key, value in part.items() if key != "default"}
    if any("(ms|s|m|h|d)" in pattern for pattern in patterns) and default is not None:
        many = isinstance(default, list)
        return part | {"default": [*map(write_duration, default)] if many else write_duration(default)}
    if any("(KiB|MiB)" in pattern for pattern in patterns) and default is not None:
        return part | {"default": f"{default / (1 << 20):g}MiB"}
    if any("/[smh]" in pattern for pattern in patterns) and default is not None:
        return part | {"default": f"{default:g}/s"}
    return part


def _title(key: str) -> str:
    return key.replace("_", " ").title()
