"""The record layer: plain bytes to TLS records and back. It moves no bytes and knows no transport.

Two implementations over a connection with memory BIOs, alike in every outcome: one by pyOpenSSL's
public calls, one that calls OpenSSL directly where it is hot (a third of the CPU time a KiB) and
goes back to the public calls for whatever is not plain data. `records` chooses.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from OpenSSL import SSL

from meshtx.net import openssl
from meshtx.net.contexts import peer_check
from meshtx.net.failures import TlsError, TlsFailure, translate

RECORD = 2**14
"""Plain bytes in one record (RFC 8446, section 5.1)."""

MUTE = 4 * RECORD
"""Cipher bytes in succession that may give no plain one. They are tickets and key updates: OpenSSL goes through all
that are here before anybody else has a turn, and those of one read can keep it for a quarter of a second."""


class Close(Enum):
    """The peer's orderly end."""

    NOTIFIED = "close_notify"


class RecordLayer(Protocol):
    """What the pump needs of TLS: a handshake, then `seal` and `open`.

    After each call but `drain`, what `drain` returns must be sent, in particular after one that
    raised: it is the alert that tells the peer why.
    """

    ended: Close | TlsError | None
    """Why `open` gives no more bytes: looked at after each call of it."""

    def handshake(self, cipher: bytes) -> bool:
        """Take bytes from the peer (none at first) and go on; say whether the handshake is complete.

        :raises TlsError: it failed.
        """

    def seal(self, data: bytes) -> bytes:
        """Return the records for these bytes.

        :raises TlsError: the connection is broken.
        """

    def open(self, cipher: bytes) -> bytes:
        """Return the plain bytes that these complete; it may be none. Ignored once `ended` is set."""

    def close_notify(self) -> bytes:
        """Return the records that end our direction; nothing can be sealed afterwards.

        :raises TlsError: the connection is broken.
        """

    def drain(self) -> bytes:
        """Return what TLS itself wants sent: flights of the handshake, alerts, answers to key updates."""


class PublicRecords:
    """A `RecordLayer` by pyOpenSSL's public calls.

    :param connection: one of `Contexts`, with memory BIOs.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self._check = peer_check(connection)
        self._mute = 0
        self.ended: Close | TlsError | None = None

    def handshake(self, cipher: bytes) -> bool:
        """Step; a refusal of ours carries the reason of our own check, not OpenSSL's summary of it."""
        if cipher:
            self._connection.bio_write(cipher)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise self._check.refused or translate(error) from error
        return True

    def seal(self, data: bytes) -> bytes:
        """Encrypt everything, and fetch it with whatever else is to be sent."""
        parts = []
        for start in range(0, len(data), RECORD):  # record by record: a memory BIO never gives back what it grew to
            try:
                self._connection.sendall(data[start : start + RECORD])
            except SSL.Error as error:
                raise translate(error) from error
            parts.append(self.drain())
        return b"".join(parts)

    def open(self, cipher: bytes) -> bytes:
        """Decrypt until OpenSSL wants more."""
        parts: list[bytes] = []
        for start in range(0, len(cipher) or 1, RECORD):
            if self.ended is None:
                before = len(parts)
                self._open_some(cipher[start : start + RECORD], parts)
                self._weigh(len(cipher[start : start + RECORD]), spoke=len(parts) > before)
        return b"".join(parts)

    def _weigh(self, size: int, *, spoke: bool) -> None:
        """Count what has come since the last plain byte, and end it where that is too much.

        :param spoke: some have come with these.
        """
        self._mute = 0 if spoke else self._mute + size
        if self._mute > MUTE and self.ended is None:
            self.ended = TlsError(TlsFailure.OTHER, "the peer sends key updates and nothing else")

    def _open_some(self, cipher: bytes, parts: list[bytes]) -> None:
        if cipher:
            self._connection.bio_write(cipher)
        try:
            while True:
                parts.append(self._connection.recv(RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = Close.NOTIFIED
        except SSL.Error as error:
            self.ended = translate(error)

    def close_notify(self) -> bytes:
        """Shut down our direction; the peer's goes on (RFC 8446, section 6.1)."""
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            raise translate(error) from error
        return self.drain()

    def drain(self) -> bytes:
        """Read the outgoing memory BIO empty."""
        parts = []
        try:
            while True:
                parts.append(self._connection.bio_read(_SIZE))
        except SSL.WantReadError:
            return b"".join(parts)


_SIZE = 2**18
"""Bytes read from a memory BIO at once: more than a chunk of TCP, sealed."""


class FastRecords(PublicRecords):
    """A `RecordLayer` that spares pyOpenSSL's copies and its exception at the end of each loop.

    It touches three private handles of the connection and five functions of OpenSSL. Every unusual
    result goes back to the public call, which raises the right error and empties OpenSSL's error queue.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        super().__init__(connection)
        handles = openssl.handles(connection)
        self._ssl, self._into, self._from = handles.ssl, handles.into, handles.out

    def seal(self, data: bytes) -> bytes:
        """Encrypt up to one record in two calls of OpenSSL."""
        size = len(data)
        if size > RECORD:
            return b"".join([self.seal(data[start : start + RECORD]) for start in range(0, size, RECORD)])
        written = openssl.ssl_write(self._ssl, data, size)
        if written == size:
            return self.drain()
        if written <= 0:
            return super().seal(data)
        return self.drain() + self.seal(data[written:])  # the peer asked for shorter records (RFC 6066, section 4)

    def open(self, cipher: bytes) -> bytes:
        """Decrypt by one call a record, and one that finds no more."""
        if self.ended is not None:
            return b""
        size = len(cipher)
        if size > RECORD:
            return b"".join([self.open(cipher[start : start + RECORD]) for start in range(0, size, RECORD)])
        if size:
            openssl.bio_write(self._into, cipher, size)
        ssl = self._ssl
        read = openssl.ssl_read(ssl, openssl.BUFFER, RECORD)
        plain: bytes = openssl.VIEW[:read] if read > 0 else b""
        while read > 0:
            read = openssl.ssl_read(ssl, openssl.BUFFER, RECORD)
            if read > 0:
                plain += openssl.VIEW[:read]
        if openssl.ssl_get_error(ssl, read) != openssl.WANT_READ:
            plain += super().open(b"")
        self._weigh(size, spoke=bool(plain))
        return plain

    def drain(self) -> bytes:
        """Read the outgoing memory BIO, empty in nearly all cases but after `seal`."""
        size = openssl.bio_read(self._from, openssl.BUFFER, openssl.SIZE)
        if size <= 0:
            return b""
        drained: bytes = openssl.VIEW[:size]
        return drained if size < openssl.SIZE else drained + self.drain()


def records(connection: SSL.Connection) -> RecordLayer:
    """Return the fastest record layer that this pyOpenSSL allows."""
    return FastRecords(connection) if openssl.AVAILABLE else PublicRecords(connection)
