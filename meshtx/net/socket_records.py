"""The record layer on the socket itself: OpenSSL reads and writes it, no cipher text passes through Python.

    kernel ──▶ SSL_read ──▶ QuickTransport.doRead ──▶ TlsProtocol      `read`, in place of `open`
    kernel ◀── SSL_write ◀── QuickTransport.write ◀── TlsTransport     `send`, in place of `seal`

A `RecordLayer` whose `seal` and `open` leave the bytes alone, and the `Channel` of its transport. It has to have the
socket from the first byte on, and OpenSSL's own functions: by pyOpenSSL's public calls a read on a socket does not end
before the application has a byte, and a peer that sends nothing but key updates would keep everybody else waiting.
Where a private name is missing, memory BIOs do it (`meshtx.net.records`).
"""

from __future__ import annotations

from typing import Protocol

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from meshtx.net import openssl
from meshtx.net.contexts import on_socket, peer_check
from meshtx.net.failures import TlsError, TlsFailure, translate
from meshtx.net.quick import SIZE, QuickTransport
from meshtx.net.records import RECORD, Close

EOF = -1
"""What pyOpenSSL has in the place of errno where TCP has ended without close_notify."""


class TakesHeads(Protocol):
    """Who gets what is read."""

    def take_head(self, plain: memoryview, size: int) -> int:
        """Take the beginning of so many bytes, which come next; return how long it was."""


class SocketRecords:
    """On the socket of a transport.

    An unusual result is judged by pyOpenSSL, as its public call would: calling that again would find another error,
    or none, for the socket tells each only once.

    :param connection: one of `Contexts` on which nothing has happened.
    :param transport: gives up its socket: nothing has been read from it.
    """

    above: TakesHeads | None = None
    """Says how many bytes at the beginning of a long read are not to be copied, for they were taken."""

    def __init__(self, connection: SSL.Connection, transport: QuickTransport) -> None:
        self.connection = on_socket(connection, transport.getHandle())
        self.transport = transport
        self._check = peer_check(connection)
        self._ssl = openssl.handles(self.connection).ssl
        openssl.read_stepwise(self._ssl)
        self._shaken = False
        self._late: SSL.Error | None = None
        self.ended: Close | TlsError | None = None

    # The record layer.

    def handshake(self, cipher: bytes) -> bool:  # noqa: ARG002 - OpenSSL fetches it
        """Step, as far as the socket goes."""
        try:
            if not self._step():
                return False
        except SSL.WantWriteError:
            self.transport.when_writable(self._go_on)
            return False
        except SSL.Error as error:
            self.ended = self._check.refused or _failed(error)
            raise self.ended from error
        except Exception:
            self.ended = TlsError(TlsFailure.OTHER, "a defect of ours")  # so that what comes is read, and dropped
            raise
        self._shaken = True
        return True

    def _step(self) -> bool:
        """Go on with the handshake; say whether it is complete.

        :raises SSL.Error: it failed, or the socket takes no more.
        """
        done: int = openssl.ssl_do_handshake(self._ssl)
        if done != 1 and openssl.ssl_get_error(self._ssl, done) != openssl.WANT_READ:
            self._judge(done)
        return done == 1

    def _go_on(self) -> bool:
        self.transport.protocol.dataReceived(b"")
        return True

    def seal(self, data: bytes) -> bytes:
        """Return them as they are: the transport sends by `send`."""
        return data

    def open(self, cipher: bytes) -> bytes:
        """Return them as they are: the transport has read them by `read`."""
        return cipher

    def drain(self) -> bytes:
        """Return nothing: OpenSSL has sent it itself."""
        return b""

    def close_notify(self) -> bytes:
        """Shut down our direction, once everything is sent."""
        if not (self.transport.all_sent and self._shut()):
            self.transport.when_writable(self._shut)
        return b""

    def _shut(self) -> bool:
        try:
            self.connection.shutdown()
        except SSL.WantWriteError:
            return False
        except SSL.Error:
            return True  # it is broken: the transport finds that out by itself
        return True

    # The channel.

    def read(self) -> bytes | None:
        """Return plain bytes, none in the handshake; ``None`` if TCP has ended.

        They are of one record, and of more as long as they are whole ones: a peer that sends in bulk fills them.
        """
        if not self._shaken or self.ended is not None:
            return b"" if self.ended is None else self._read_on()
        ssl = self._ssl
        read = openssl.ssl_read(ssl, openssl.BUFFER, RECORD)
        if 0 < read < RECORD:
            plain: bytes = openssl.VIEW[:read]
            return plain
        got = max(read, 0)
        if read == RECORD:
            for slot in openssl.SLOTS:
                read = openssl.ssl_read(ssl, slot, RECORD)
                if read != RECORD:
                    break
                got += RECORD
            if 0 < read < RECORD:
                got += read
        taken = self.above.take_head(openssl.VIEW, got) if got > RECORD and self.above is not None else 0
        plain = openssl.VIEW[taken:got]
        if read <= 0 and openssl.ssl_get_error(ssl, read) != openssl.WANT_READ:
            return self._unusual(plain, read)
        return plain

    def _unusual(self, plain: bytes, read: int) -> bytes | None:
        """Judge a result; what was read before it comes first."""
        try:
            self._judge(read)
        except SSL.Error as error:
            if not plain:
                return self._nothing(self._late or error)
            if isinstance(error, SSL.SysCallError):  # the socket stays readable: the next read finds it
                self._late = error.with_traceback(None)  # whose frames lead back here
            else:
                self._nothing(error)  # it does not
        return plain

    def _nothing(self, error: SSL.Error) -> bytes | None:
        """Take why there are no bytes."""
        match error:
            case SSL.ZeroReturnError():
                self.ended = Close.NOTIFIED
            case SSL.WantWriteError():
                self.ended = TlsError(TlsFailure.OTHER, "the peer asks for key updates and does not read")
            case SSL.SysCallError() if error.args[0] == EOF:
                return None
            case SSL.SysCallError():
                raise ConnectionError(*error.args) from error
            case _:
                self.ended = translate(error)
        return b""

    def _read_on(self) -> bytes | None:
        """Drop what comes behind the end of TLS, and see that of TCP."""
        return b"" if self.transport.getHandle().recv(SIZE) else None

    def send(self, data: bytes | memoryview) -> int:
        """Seal and send by one call a record, as far as the socket takes them."""
        size, ssl = len(data), self._ssl
        if size <= RECORD and type(data) is bytes:
            sent: int = openssl.ssl_write(ssl, data, size)
            if sent == size:
                return sent
        else:
            sent = openssl.ssl_write(ssl, openssl.pointer(data), size)
        start, done = openssl.pointer(data), max(sent, 0)
        while sent > 0 and done < size:
            sent = openssl.ssl_write(ssl, start + done, size - done)
            done += max(sent, 0)
        if sent <= 0:
            self._stopped(sent)
        return done

    def _judge(self, result: int) -> None:
        openssl.handles(self.connection).judge(self._ssl, result)

    def _stopped(self, sent: int) -> None:
        if openssl.ssl_get_error(self._ssl, sent) == openssl.WANT_WRITE:
            return
        try:
            self._judge(sent)
        except SSL.Error as error:
            raise ConnectionError(str(error)) from error


def _failed(error: SSL.Error) -> TlsError:
    """Return why a handshake failed, in the words that it has on every transport."""
    if not isinstance(error, SSL.SysCallError):
        return translate(error)
    if error.args[0] == EOF:
        return TlsError(TlsFailure.TRUNCATED, "the peer closed in the handshake")
    return TlsError(TlsFailure.OTHER, f"in the handshake: {ConnectionLost()}")
