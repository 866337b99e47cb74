"""Files that the configuration names: their paths start at its own directory, and they are tried when it is read."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from notifier.config.problems import error
from notifier.config.section import Context
from notifier.config.types import printable


def tried(value: Any, info: ValidationInfo, read: Callable[[Path], None]) -> Path:
    """Return where a file is, which `read` has tried."""
    if isinstance(value, Path):
        return value
    context = Context.of(info)
    path = context.directory / printable(value)
    context.note(path)
    try:
        if not path.is_file():  # a pipe might never begin
            raise error("no such file")
        read(path)
    except OSError as exc:
        raise error(f"cannot be read: {exc.strerror}") from exc
    return path


def _ca_file(value: Any, info: ValidationInfo) -> Path:
    return tried(value, info, _read_authorities)


def _read_authorities(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as exc:  # a kind of OSError
        raise error("holds no certificates in PEM form") from exc


CaFile = Annotated[Path, PlainValidator(_ca_file), WithJsonSchema({"type": "string", "minLength": 1})]
