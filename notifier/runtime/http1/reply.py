"""Reads the replies of one connection, one after another: bytes in, status and pieces of the body out. No I/O.

llhttp (httptools) parses what arrives, in its strict form. A head that it refuses is put into the form that it takes
(`core.http_head`); one that it refuses even then is `BadHead`. A short and complete head, which most replies have, goes
to llhttp together with the body behind it, and nothing else looks at it unless somebody asks for its fields.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from notifier.core import http_head
from notifier.core.http_head import MAX_HEAD, MAX_HEADER, SHORT_HEAD, Fields
from notifier.runtime.http1.faults import BadHead, BrokenFraming, CutShort, HttpFault, Lost

MAX_INTERIM = 32  # interim replies (1xx) before a reply
_BEGINNING = b"HTTP/"
_FINAL = b"HTTP/1.1 ", b"23456789"  # how nearly every final reply begins, and the first digit of its status
_STOPPED = (HttpParserError, HttpParserUpgrade)  # the latter behind a 101
_WITHOUT_BODY = frozenset({101, 204, 304})  # RFC 9110 sections 15.2.2, 15.3.5 and 15.4.5


class ReplyReader:
    """The reply that is under way, and the parser of all replies of its connection."""

    __slots__ = (
        "_head",
        "_interim",
        "_odd",
        "_parser",
        "_stray",
        "_until_closed",
        "keeps",
        "over",
        "pieces",
        "size",
        "status",
    )

    def __init__(self) -> None:
        self.over = True  # the reply is complete, or none was asked for
        self.keeps = True  # once it is over: the connection can carry another one
        self.status = 0  # 0: the head is not complete
        self.pieces: list[bytes] = []  # of the body, not taken yet
        self.size = 0  # bytes of them
        self._head: bytes | bytearray = b""  # as received, or in the form that was accepted
        self._interim = 0
        self._odd = False  # the connection is not used again, whatever the reply says
        self._until_closed = False  # the head, which is forgotten, said that the body ends with the connection
        self._stray = False  # the rest of a former reply may come first
        self._renew()

    def begin(self) -> None:
        """Expect a reply."""
        self._stray = bool(self.status)
        self.over = False
        self.keeps = False
        self.status = self.size = self._interim = 0
        self.pieces = []
        self._head = b""
        self._odd = self._until_closed = False

    @property
    def fields(self) -> Fields:
        """Return the fields of the head."""
        return Fields(bytes(self._head))

    def take(self) -> bytes:
        """Return the body as far as it came and was not taken yet."""
        pieces, self.pieces, self.size = self.pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def forget_head(self) -> None:
        """Free the memory of the head, which nobody asks for any more."""
        self._until_closed = http_head.ends_with_connection(self.fields)
        self._head = b""

    def feed(self, data: bytes) -> None:
        """Read on. Raises BadHead or BrokenFraming; nothing more can be read then."""
        if not self.status:
            end = -1
            if data[:9] == _FINAL[0] and data[9:10] in _FINAL[1] and not self._head:
                end = data.find(b"\r\n\r\n", 10, SHORT_HEAD)
            if end < 0:
                self._feed_head(data)
                return
            self._head = data[: end + 4]
        elif self.over:
            self.keeps = False
            return
        try:
            self._parser.feed_data(data)
        except _STOPPED as exc:
            if self.over:
                self.keeps = False  # the fault lies behind the reply
            elif self.status:
                raise BrokenFraming(str(exc)) from None
            else:
                self._renew()
                self._head = b""
                self._feed_head(data)

    def finish(self) -> HttpFault | None:
        """Return what the end of the connection means for the reply under way; None if it is complete now."""
        if self.over:
            return None
        if not self.status:
            return Lost(None, begun=bool(self._head))
        if self._until_closed or (self._head and http_head.ends_with_connection(self.fields)):
            self.over = True
            return None
        return CutShort("the connection was closed within the reply")

    def free(self) -> None:
        """Let go of the parser, which holds this reader in turn. Nothing can be read any more."""
        del self._parser

    def on_message_begin(self) -> None:
        """Do what the parser asks for: called at the first byte of each reply, so also of one too many."""
        if self.over:
            self.keeps = False

    def on_headers_complete(self) -> None:
        """Do what the parser asks for."""
        if self.over:
            return
        self.status = status = self._parser.get_status_code()
        if status in _WITHOUT_BODY:
            self.over = True
            self.keeps = not self._announces_body() and not self._odd and self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Do what the parser asks for."""
        if not self.over:
            self.pieces.append(body)
            self.size += len(body)

    def on_message_complete(self) -> None:
        """Do what the parser asks for."""
        if not self.over:
            self.over = True
            self.keeps = not self._odd and self._parser.should_keep_alive()

    def _announces_body(self) -> bool:
        """Return whether more may follow a reply that has no body."""
        fields = self.fields
        return self.status == 101 or fields.get("content-length", "0") != "0" or "transfer-encoding" in fields

    def _renew(self) -> None:
        self._parser = HttpResponseParser(self)
        # RFC 9112 section 2.2 allows line ends without CR; blanks behind the size of a chunk are an old server's.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)

    def _feed_head(self, data: bytes) -> None:
        """Read a head that is long, in pieces, interim or odd."""
        known = max(0, len(self._head) - 3)  # of the blank line, the beginning may be there
        head = self._head = bytearray(self._head) if isinstance(self._head, bytes) else self._head
        head += data
        while True:
            if not http_head.may_begin(head):
                if not self._skips_stray():
                    return
                head, known = self._head, 0
            end = http_head.find_end(head, known)
            if end < 0:
                if len(head) > MAX_HEAD or len(head) - head.rfind(b"\n") > MAX_HEADER + 1:
                    raise BadHead(http_head.broken_limit(bytes(head)) or "the head is too large", bytes(head))
                return
            if not http_head.is_interim(bytes(head[:end])):
                break
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise BadHead(f"more than {MAX_INTERIM} interim replies", b"")
            del head[:end]
            known = 0
            if not head:
                return
        self._take(bytes(head[:end]), bytes(head[end:]))

    def _skips_stray(self) -> bool:
        """Drop bytes of a former reply, for example the body of a 204, which a server must not send."""
        assert isinstance(self._head, bytearray)
        if not self._stray:
            raise BadHead("it does not begin like a reply", bytes(self._head))
        start = self._head.find(_BEGINNING)
        self._odd = True
        del self._head[: start if start >= 0 else -len(_BEGINNING) + 1]
        return start >= 0

    def _take(self, head: bytes, rest: bytes) -> None:
        reason = http_head.broken_limit(head)
        if reason is None and http_head.status_of(head) is None:
            reason = "it has no status"
        if reason is not None:
            raise BadHead(reason, head + rest)
        self._head = head
        try:
            self._parser.feed_data(head)
        except _STOPPED:
            if not self.status:
                self._take_odd(head, rest)
        if rest:
            self.feed(rest)

    def _take_odd(self, head: bytes, rest: bytes) -> None:
        self._renew()
        self._head = http_head.normalised(head)
        self._odd = self._odd or http_head.is_framed_twice(head)
        try:
            self._parser.feed_data(self._head)
        except _STOPPED as exc:
            if not self.status:
                raise BadHead(str(exc), head + rest) from None
