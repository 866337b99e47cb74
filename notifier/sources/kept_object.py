"""A file that is sent to a bucket when it is whole. Imported only where results are kept in one.

The data is written to a file without a name, in the directory of temporary files; the client library sends it in
parts where it is large, from threads.
"""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from typing import IO

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from notifier.runtime.threads import beside, surely
from notifier.sources.archive import MAX_FETCHES
from notifier.sources.kept_file import NotKept, step

CONNECT, READ = 10.0, 60.0  # seconds
_PASSING = frozenset({"InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"})


class S3Place:
    """A bucket, and the key to it."""

    def __init__(
        self, *, host: str, secure: bool, region: str, bucket: str, prefix: str, access_key: str, secret_key: str
    ) -> None:
        """Reach `bucket` at a host with its port; names in it begin with `prefix`."""
        http = urllib3.PoolManager(
            maxsize=MAX_FETCHES, timeout=urllib3.Timeout(connect=CONNECT, read=READ), retries=False
        )
        self._client = Minio(
            host, access_key=access_key, secret_key=secret_key, secure=secure, region=region, http_client=http
        )
        self._bucket = bucket
        self._prefix = prefix

    def file(self, name: str) -> KeptObject:
        """Return an object to be written."""
        return KeptObject(self._client, self._bucket, f"{self._prefix}{name}")


class KeptObject:
    """One object to be written. Its methods raise NotKept, or OSError without a thread."""

    def __init__(self, client: Minio, bucket: str, name: str) -> None:
        self._client = client
        self._bucket = bucket
        self._name = name
        self._file: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Return where it is, once it is finished."""
        return f"s3://{self._bucket}/{self._name}"  # as tools of S3 read it, which decode nothing

    async def open(self) -> None:
        """Create the file. Raises NotKept."""
        created = beside(_temporary, name="archive open")
        try:
            self._file = await asyncio.shield(created)
        except asyncio.CancelledError:
            created.add_done_callback(_abandon)
            raise

    async def write(self, data: bytes) -> None:
        """Write on. Raises NotKept."""
        assert self._file is not None
        await beside(partial(_write, self._file, data), name="archive write")

    async def finish(self) -> None:
        """Send the file. Raises NotKept."""
        await beside(self._send, name="archive send")

    async def discard(self) -> None:
        """Remove the file; what was sent stays."""
        file, self._file = self._file, None
        if file is not None:
            await surely(file.close, name="archive discard")

    def _send(self) -> None:
        file = self._file
        assert file is not None
        with step("the temporary file cannot be written"):
            size = file.tell()
            file.seek(0)  # which writes what the buffer holds
        try:
            self._client.put_object(self._bucket, self._name, file, size)  # type: ignore[arg-type]  # any readable
        except S3Error as exc:
            raise NotKept(f"the bucket refuses it: {exc.code}", passing=exc.code in _PASSING) from exc
        except (ServerError, InvalidResponseError, urllib3.exceptions.HTTPError) as exc:
            raise NotKept(f"the bucket cannot be reached: {type(exc).__name__}", passing=True) from exc


def _temporary() -> IO[bytes]:
    with step("a temporary file cannot be created"):
        return tempfile.TemporaryFile()


def _abandon(created: asyncio.Future[IO[bytes]]) -> None:
    """Close a file that was created after its writer had been cancelled."""
    if not created.cancelled() and created.exception() is None:
        surely(created.result().close, name="archive discard")


def _write(file: IO[bytes], data: bytes) -> None:
    with step("the temporary file cannot be written"):
        file.write(data)
