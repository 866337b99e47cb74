"""The head of an HTTP reply: where it ends, a form of it that every parser takes, and its fields. Pure.

RFC 9112 lets a client accept more than strict parsers do. A head that cannot be understood is left to the parser, whose
error says why; its status may be readable all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

MAX_HEADER = 64 << 10  # bytes of the status line and of each header: policies, cookies and traces are long
MAX_HEADERS = 1000
MAX_HEAD = 256 << 10  # bytes of a head
REDIRECTS = frozenset({301, 302, 303, 307, 308})  # statuses (RFC 9110 section 15.4)
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))  # ASCII characters that a request line can carry (RFC 9112 section 3)
SHORT_HEAD = 4000  # bytes; so short a head breaks no limit, since a header has four bytes at least

_END = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]+)[ \t]+([0-9]{3})(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)
_STATUS = re.compile(rb"HTTP/[0-9](?:\.[0-9]+)?[ \t]+([1-9][0-9]{2})(?:[ \t][^\n]*|\r)?\n", re.IGNORECASE)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_CONTROLS = bytes(0x20 if code != 0x09 and (code < 0x20 or code == 0x7F) else code for code in range(256))
_LENGTH, _CODING = b"content-length", b"transfer-encoding"


class Fields(Mapping[str, str]):
    """The header fields of a head, read when they are first asked for. Names are in lower case; the first value counts.

    Lines that are no field are left out.
    """

    __slots__ = ("_found", "_head")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._found: dict[str, list[str]] | None = None

    def values_of(self, name: str) -> list[str]:
        """Return all values of a field, in their order."""
        if self._found is None:
            if name.encode() not in self._head.lower():  # most questions are about fields that are not there
                return []
            self._found = _fields(self._head)
        return self._found.get(name, [])

    def __getitem__(self, name: str) -> str:
        found = self.values_of(name)
        if not found:
            raise KeyError(name)
        return found[0]

    def __iter__(self) -> Iterator[str]:
        self.values_of("")
        return iter(self._found or ())

    def __len__(self) -> int:
        return sum(1 for _ in self)


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


def status_of(head: bytes) -> int | None:
    """Return the status, whatever follows it; None if there is no complete status line (RFC 9112 section 4)."""
    match = _STATUS.match(head.lstrip(b"\r\n"))
    return None if match is None else int(match[1])


def is_interim(head: bytes) -> bool:
    """Return whether another head follows this one (RFC 9110 section 15.2)."""
    status = status_of(head)
    return status is not None and 100 <= status < 200 and status != 101


def broken_limit(head: bytes) -> str | None:
    """Return which limit a head breaks, in words; None if it keeps to all."""
    if len(head) > MAX_HEAD:
        return f"the head is larger than {MAX_HEAD} bytes"
    lines = _LINE_END.split(head.strip(b"\r\n"))
    if len(lines) > MAX_HEADERS + 1:
        return f"the head has more than {MAX_HEADERS} headers"
    return f"a header is longer than {MAX_HEADER} bytes" if max(map(len, lines)) > MAX_HEADER else None


def normalised(head: bytes) -> bytes:
    """Return a head that means the same.

    An unknown minor version becomes 1.1 (RFC 9110 section 2.5). White space before a colon goes, and so do lines that
    are no header. A header in several lines becomes one, and control characters in it become spaces (RFC 9112 sections
    2.2 and 5.2). Equal values of Content-Length become one (RFC 9110 section 8.6), and none beside Transfer-Encoding
    (RFC 9112 section 6.3). A Transfer-Encoding that names no coding goes.
    """
    status, *lines = _lines(head)
    lines = [line for line in map(_header, lines) if line]
    names = [line.partition(b":")[0].lower() for line in lines]
    if _CODING in names:
        lines = [line for line, name in zip(lines, names, strict=True) if name != _CODING or _codes(line)]
        names = [line.partition(b":")[0].lower() for line in lines]
    if _LENGTH in names:
        lines = _one_length(lines, names)
    return b"\r\n".join([_status_line(status), *lines, b"", b""])


def is_framed_twice(head: bytes) -> bool:
    """Return whether a head has both a length and a coding: what follows the reply cannot be trusted then."""
    names = {line.partition(b":")[0].strip().lower() for line in _lines(head)[1:]}
    return {_LENGTH, _CODING} <= names


def ends_with_connection(fields: Fields) -> bool:
    """Return whether the body of a reply with these fields ends with the connection (RFC 9112 section 6.3)."""
    codings = [coding.strip().lower() for value in fields.values_of("transfer-encoding") for coding in value.split(",")]
    return codings[-1] != "chunked" if codings else "content-length" not in fields


def _lines(head: bytes) -> list[bytes]:
    """Return the lines up to the first blank one; a continued line is one with its beginning."""
    lines: list[bytes] = []
    for line in _LINE_END.split(head.lstrip(b"\r\n")):
        if not line:
            break
        if line[:1] not in (b" ", b"\t"):
            lines.append(line)
        elif len(lines) > 1:
            lines[-1] += b" " + line.strip(b" \t")
    return lines


def _fields(head: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in map(_header, _lines(head)[1:]):
        if line:
            name, _, value = line.partition(b":")
            found.setdefault(name.decode().lower(), []).append(value.decode("utf-8", "replace").strip(" \t"))
    return found


def _status_line(line: bytes) -> bytes:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        return line
    version = b"HTTP/1.0 " if match[1] == b"0" else b"HTTP/1.1 "
    return version + match[2] + (b" " + match[3] if match[3] else b"")


def _header(line: bytes) -> bytes:
    name, colon, value = line.partition(b":")
    name = name.rstrip(b" \t")
    return name + colon + value.translate(_CONTROLS) if colon and _NAME.fullmatch(name) else b""


def _codes(line: bytes) -> bool:
    return line.partition(b":")[2].strip(b" \t").lower() not in (b"", b"identity")


def _one_length(lines: list[bytes], names: list[bytes]) -> list[bytes]:
    others = [line for line, name in zip(lines, names, strict=True) if name != _LENGTH]
    if _CODING in names:
        return others
    given = [line.partition(b":")[2] for line, name in zip(lines, names, strict=True) if name == _LENGTH]
    values = {value.strip(b" \t") for part in given for value in part.split(b",")}
    return [*others, b"Content-Length: " + values.pop()] if len(values) == 1 else lines
