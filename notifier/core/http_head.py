"""The head of an HTTP reply, put into the form that every parser takes. Pure.

RFC 9112 lets a client accept more than strict parsers do. A head that cannot be understood is left to the parser, whose
error says why.
"""

from __future__ import annotations

import re

_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9]+(?= [0-9]{3}(?:[ \r\n]|$))", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/[0-9.]+ +([0-9]{3})", re.IGNORECASE)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def find_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index behind the head's blank line, looking from `start`; -1 if it is not there yet.

    Empty lines before the status line belong to the head (RFC 9112 section 2.2).
    """
    begin = len(data) - len(data.lstrip(b"\r\n"))
    match = _END.search(data, max(start, begin))
    return -1 if match is None else match.end()


def may_begin(data: bytes | bytearray) -> bool:
    """Return whether the data may be the beginning of a head."""
    beginning = bytes(data.lstrip(b"\r\n")[:5]).upper()
    return b"HTTP/".startswith(beginning)


def is_interim(head: bytes) -> bool:
    """Return whether another head follows this one (RFC 9110 section 15.2)."""
    match = _STATUS.match(head.lstrip(b"\r\n"))
    return match is not None and match[1].startswith(b"1") and match[1] != b"101"


def normalised(head: bytes) -> bytes:
    """Return a head that means the same.

    An unknown minor version becomes 1.1 (RFC 9110 section 2.5). White space before a colon goes, and so do lines that
    are no header. Equal values of Content-Length become one (RFC 9110 section 8.6), and none beside Transfer-Encoding
    (RFC 9112 section 6.3).
    """
    status, *lines = head.lstrip(b"\r\n").splitlines()
    lines = [line for line in map(_header, lines) if line]
    names = [line.partition(b":")[0].lower() for line in lines]
    if b"content-length" in names:
        lines = _one_length(lines, names)
    return b"\r\n".join([_version(status), *lines, b"", b""])


def _version(status: bytes) -> bytes:
    match = _STATUS_LINE.match(status)
    if match is None or match[0] in (b"HTTP/1.0", b"HTTP/1.1"):
        return status
    return b"HTTP/1.1" + status[match.end() :]


def _header(line: bytes) -> bytes:
    if line[:1] in (b" ", b"\t"):  # the rest of the header before it
        return line
    name, colon, value = line.partition(b":")
    name = name.rstrip(b" \t")
    return name + colon + value if colon and _NAME.fullmatch(name) else b""


def _one_length(lines: list[bytes], names: list[bytes]) -> list[bytes]:
    others = [line for line, name in zip(lines, names, strict=True) if name != b"content-length"]
    if b"transfer-encoding" in names:
        return others
    given = [line.partition(b":")[2] for line, name in zip(lines, names, strict=True) if name == b"content-length"]
    values = {value.strip(b" \t") for part in given for value in part.split(b",")}
    return [*others, b"Content-Length: " + values.pop()] if len(values) == 1 else lines
