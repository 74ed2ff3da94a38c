"""Quick transports: the same as `meshtx.net.transports`, with less work for each chunk.

    kernel ──▶ one buffer for all connections ──▶ protocol.dataReceived     in bulk without it
    kernel ◀── at once, where nothing waits ◀──── write

What the kernel does not take at once goes Twisted's way: its buffer, its producers, its ends. They need a reactor
that watches by `meshtx.net.poller`, or has a `Poller` in it.

TLS may have the socket itself (`secure`): then a `Channel` reads and sends, and no cipher text passes through
Python. Bytes that somebody else is to read can be looked at first (`look`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet import main
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.net.poller import FdSet
from meshtx.net.sockets import disarm
from meshtx.net.transports import ResetUnlessWhole
from meshtx.wire.leg_frames import HEADER, MAX_FRAME

SIZE = 15 * MAX_FRAME - HEADER
"""Bytes read at once: with the head of a leg's frame they fill records; a short one at the end of each read would be a
packet and an event of its own. Each is a write on the other side, which wakes who reads there: half of it costs bulk a
tenth more. With the record that TLS may still hold it is below the 256 KiB that are kept of a connection that waits."""

bytearray(4 * SIZE)  # freed at once: glibc keeps twice as much from then on, and does not ask for it anew in each turn

_BUFFER = bytearray(SIZE)  # for all: every use copies out of it before anything else can run
_VIEW = memoryview(_BUFFER)


class Channel(Protocol):
    """Who reads and writes the socket in a transport's place."""

    def read(self) -> bytes | None:
        """Return what there is, which may be nothing yet; ``None`` if TCP has ended.

        :raises OSError: the connection is lost.
        """

    def send(self, data: bytes | memoryview) -> int:
        """Send, and return how many bytes were taken.

        :raises OSError: the connection is lost.
        """


class QuickTransport(ResetUnlessWhole):
    """A TCP transport that reads into one buffer, and sends at once."""

    log = Logger()
    logstr = "meshtx"
    reactor: FdSet
    _channel: Channel | None = None
    _last: Callable[[], bool] | None = None
    _ahead: bytes = b""
    _bulk = False  # the last read was full
    _reads = True  # what comes is to be read, as far as this was told
    _lost = False  # a write was told so: the kernel tells of a loss once, and to whoever reads then it is an end

    def secure(self, channel: Channel) -> None:
        """Read and write by a channel from now on; its reader hears also of reads that gave no bytes."""
        self._channel = channel

    def look(self, judge: Callable[[bytes], bool]) -> None:
        """Show what comes first before it is read.

        :param judge: says whether it is left in the kernel, for another protocol, or to be read now.
        """

        def look_first() -> ConnectionDone | ConnectionLost | None:
            try:
                size = self.socket.recv_into(_BUFFER, 0, socket.MSG_PEEK)
            except BlockingIOError:
                return None
            except OSError:  # told once: reading would see an end
                return main.CONNECTION_LOST
            del self.doRead
            return None if size and judge(bytes(_VIEW[:size])) else self.doRead()

        self.doRead = look_first  # type: ignore[method-assign]  # as Twisted has it while it connects

    def doRead(self) -> Any:  # Any: Twisted gives it no type that fits
        """Read once, and hand it on."""
        channel = self._channel
        try:
            if channel is not None:
                data = channel.read()
                if data is None:
                    return self._read_ended()
            else:
                # Without a copy if there is much: that takes room for all of it.
                data = self.socket.recv(SIZE) if self._bulk else bytes(_VIEW[: self.socket.recv_into(_BUFFER)])
                if not data:
                    return self._read_ended()
                if (len(data) == SIZE) is not self._bulk:  # of its own only where it ever was so
                    self._bulk = not self._bulk
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        self.protocol.dataReceived(data)
        return None

    def _read_ended(self) -> ConnectionDone | ConnectionLost | None:
        """Tell a protocol that knows half-close of the peer's end; to any other it is the end of all."""
        if self._lost:
            return main.CONNECTION_LOST
        half = IHalfCloseableProtocol(self.protocol, None)
        if half is None:
            return main.CONNECTION_DONE
        self.reactor.await_loss(self)
        half.readConnectionLost()
        return None

    def write(self, data: bytes | memoryview) -> None:
        """Send at once, if nothing waits; keep what the kernel does not take."""
        if not data or not self.connected or self._writeDisconnected or self._aborting:
            return
        if self._ahead:
            data, self._ahead = self._ahead + data, b""
        if self._tempDataBuffer or self.dataBuffer:
            super().write(bytes(data))
            return
        channel = self._channel
        try:
            sent = self.socket.send(data) if channel is None else channel.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # that shows at the next attempt to write as well
            sent, self._lost = 0, True
        if sent == len(data):
            if self.producer is not None and not self.streamingProducer:
                self.startWriting()  # it is asked for more once this has gone
        else:
            super().write(bytes(data[sent:]))

    def write_soon(self, data: bytes) -> None:
        """Send with what is written next, behind the events of this batch at the latest: a packet less to be sent."""
        if not self._ahead:
            self.reactor.behind(lambda: self.reactor.behind(self._go_ahead))  # behind what is read by then
        self._ahead += data

    def _go_ahead(self) -> None:
        if self._ahead:
            data, self._ahead = self._ahead, b""
            self.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write them joined."""
        self.write(b"".join(iovec))

    def writeSomeData(self, data: bytes | memoryview) -> int | ConnectionLost:
        """Give bytes to the kernel; Twisted's hook."""
        try:
            if self._channel is None:
                return self.socket.send(data)
            return self._channel.send(data) if data else 0
        except BlockingIOError:
            return 0
        except OSError:
            return main.CONNECTION_LOST

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, in order or by a reset, and tell the protocol; let go of what leads back here.

        The same as Twisted's, which asks about each thing once more on the way through its classes.
        """
        if hasattr(self, "socket"):
            self._stop_lingering()
            whole = isinstance(reason.value, ConnectionDone) and not self._aborting and not self._unsent()
            self.reactor.forget(self)
            self.connected, self.disconnected = False, True
            producer, self.producer = self.producer, None
            try:
                if producer is not None:
                    producer.stopProducing()
            finally:  # the kernel tells of what was forgotten until it is closed
                self._close(whole)
                protocol = self.protocol
                del self.protocol, self.socket, self.fileno
                self.__dict__.pop("doRead", None)
                self._channel = self._last = None
                protocol.connectionLost(reason)

    def _close(self, whole: bool) -> None:
        if whole:
            disarm(self.socket)
            if not self._writeDisconnected:
                try:  # noqa: SIM105  quicker so
                    self.socket.shutdown(socket.SHUT_RDWR)  # FIN even if something came that nobody has read
                except OSError:  # the peer has reset it: there is nobody to be told
                    pass
        self.socket.close()

    def resumeProducing(self) -> None:
        """Read on, unless it is being closed."""
        self._reads = True
        if self.connected and not self.disconnecting:
            self.reactor.addReader(self)

    # What would wait for the next events although nothing stands in its way is done behind these.

    def pauseProducing(self) -> None:
        """Read no more, until `resumeProducing`; both in one turn cost nothing."""
        self._reads = False
        self.reactor.pause(self)

    def loseConnection(self) -> None:
        """Send what is left, then close in order."""
        self._go_ahead()
        if self.connected and not self.disconnecting and not self._busy():
            self.disconnecting = True
            self.reactor.pause(self)
            self.reactor.behind(self._end)
        else:
            super().loseConnection()

    def loseWriteConnection(self) -> None:
        """Send what is left, then FIN."""
        self._go_ahead()
        self._writeDisconnecting = True
        if self._busy():
            self.startWriting()
        else:
            self.reactor.behind(self._end)

    def _busy(self) -> bool:
        """Say whether more is to be sent before the end: of what was written, or by a producer that waits."""
        waits = self.producer is not None and (self.producerPaused or not self.streamingProducer)
        return waits or self._unsent()

    def _end(self) -> None:
        """End as was asked for, unless something came to be said meanwhile: then when that is sent."""
        if not self.connected or self._aborting:
            return
        if self._busy():
            self.startWriting()
        elif self.disconnecting:
            self.connectionLost(Failure(ConnectionDone()))
        elif self._writeDisconnecting and not self._writeDisconnected:
            self._writeDisconnected = True
            self._closeWriteConnection()

    # The end of what a channel has to say.

    @property
    def all_sent(self) -> bool:
        """Nothing that was written waits here."""
        self._go_ahead()
        return not self.dataBuffer and not self._tempDataBuffer

    def when_writable(self, last: Callable[[], bool]) -> None:
        """Call when everything is sent and the socket takes more, again until it returns true.

        The connection does not end in order before that.
        """
        self._last = last
        self.startWriting()

    def doWrite(self) -> Any:  # as above
        """Write what waits, then do what was left for last."""
        why = super().doWrite()
        if why is None and self._last is not None and self.connected and self.all_sent:
            self._to_do()
        return why

    def _to_do(self) -> bool:
        """Do what was left for last; say whether it is still to do."""
        last, self._last = self._last, None
        if last is not None and not last():
            self.when_writable(last)
        return self._last is not None

    def _postLoseConnection(self) -> ConnectionDone | None:
        return None if self._to_do() else super()._postLoseConnection()

    def _closeWriteConnection(self) -> None:
        if self._to_do():
            self._writeDisconnected = False
        else:
            super()._closeWriteConnection()

    def _unsent(self) -> bool:
        return bool(self.dataBuffer or self._tempDataLen or self._ahead) or self._last is not None
