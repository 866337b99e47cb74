"""Copies of results: the directory or bucket where they are kept, and the limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from notifier.config.problems import got, invalid
from notifier.config.secret import HttpUrl, Secret, SecretUrl
from notifier.config.section import Impossible, Section
from notifier.config.settings import IPNetwork, network
from notifier.config.types import Boolean, PositiveDuration, Printable, printable

_SIZE = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>KiB|MiB|GiB|TiB)?", re.ASCII)
_UNITS = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_FILE_SIZE = WithJsonSchema({"anyOf": [{"type": "string", "examples": ["500MiB", "2GiB"]}, {"type": "integer"}]})


def _file_size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.fullmatch(printable(value))
    if found is None or not int(found["number"]):
        raise invalid(f"expected a size such as 500MiB or 2GiB, got {got(value)}")
    return int(found["number"]) * _UNITS[found["unit"]]


_PLACE = WithJsonSchema({"type": "string", "examples": ["file:///var/lib/notifier/results", "s3://bucket/results"]})
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_AMAZON = SecretUrl("https://s3.amazonaws.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket of S3 or a service like it, and the beginning of the names in it."""

    name: str
    prefix: str  # empty, or ends with a slash

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}"


def _place(value: object) -> Path | Bucket:
    if isinstance(value, Path | Bucket):
        return value
    text = printable(value)
    parts = urlsplit(text)
    if parts.scheme not in ("file", "s3") or parts.query or parts.fragment:
        raise invalid("expected a directory such as file:///var/lib/notifier/results, or s3://bucket/prefix")
    if parts.scheme == "s3":
        if not _BUCKET.fullmatch(parts.netloc):
            raise invalid(f"expected a bucket's name, such as s3://bucket/prefix, got {got(value)}")
        prefix = parts.path.strip("/")  # as tools of S3 read it, which decode nothing
        return Bucket(name=parts.netloc, prefix=f"{prefix}/" if prefix else "")
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or "\0" in str(path):
        raise invalid("expected an absolute path, such as file:///var/lib/notifier/results")
    return path


class S3Config(Section):
    """The service of a bucket."""

    endpoint: HttpUrl = Field(default=_AMAZON, description="URL of the service; its host alone is used")
    region: Printable = Field(default="us-east-1", description="of the bucket")
    access_key: Secret | None = Field(default=None, description="id of the key; required with s3://")
    secret_key: Secret | None = Field(default=None, description="the key itself; required with s3://")


class ArchiveConfig(Section):
    """Copies of results, which providers keep for hours or days."""

    to: Annotated[Path | Bucket, PlainValidator(_place), PlainSerializer(str), _PLACE] | None = Field(
        default=None,
        description="file:///PATH of a directory, or s3://BUCKET/PREFIX; null: nothing is kept",
    )
    s3: S3Config = Field(default=S3Config(), description="of a bucket: its service and key")
    max_bytes: Annotated[int, BeforeValidator(_file_size), _FILE_SIZE] = Field(
        default=1 << 30, description="of one result, such as 500MiB; a larger one is not kept"
    )
    timeout: PositiveDuration = Field(
        default=120.0, description="for all results of a task; its completion is told after that at the latest"
    )
    allow_networks: tuple[
        Annotated[IPNetwork, PlainValidator(network), PlainSerializer(str), WithJsonSchema({"type": "string"})],
        ...,
    ] = Field(default=(), description="private networks that results may be fetched from")
    allow_http: Boolean = Field(default=False, description="fetch http:// as well as https://")

    def impossible(self) -> Iterator[Impossible]:
        """Refuse a bucket without a key."""
        if isinstance(self.to, Bucket) and (self.s3.access_key is None or self.s3.secret_key is None):
            message = "with s3:// it needs `access_key` and `secret_key`"
            yield Impossible(key="s3", keys=frozenset({"s3", "to"}), message=message)
