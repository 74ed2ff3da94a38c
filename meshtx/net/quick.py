"""Quick transports: the same as `meshtx.net.transports`, with less work for each chunk.

    kernel ──▶ one buffer for all connections ──▶ protocol.dataReceived
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
from twisted.python.failure import Failure

from meshtx.net.transports import Client, ResetUnlessWhole, Server

SIZE = 2**17
"""Bytes read at once. Less costs bulk 10 %, more is not in the cache any more."""

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

    _channel: Channel | None = None
    _last: Callable[[], bool] | None = None

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
                    return main.CONNECTION_DONE
            else:
                size = self.socket.recv_into(_BUFFER)
                if not size:
                    return main.CONNECTION_DONE
                data = bytes(_VIEW[:size])
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        self.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        """Send at once, if nothing waits; keep what the kernel does not take."""
        if not data or not self.connected or self._writeDisconnected or self._aborting:
            return
        if self._tempDataBuffer or self.dataBuffer:
            super().write(data)
            return
        sent = self.writeSomeData(data)
        if sent == len(data):
            if self.producer is not None and not self.streamingProducer:
                self.startWriting()  # it is asked for more once this has gone
        else:
            super().write(data[sent:] if isinstance(sent, int) else data)  # a loss shows at the next attempt as well

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
        """End, and let go of what leads back here."""
        super().connectionLost(reason)
        self.__dict__.pop("doRead", None)
        self._channel = self._last = None

    # The end of what a channel has to say.

    @property
    def all_sent(self) -> bool:
        """Nothing that was written waits here."""
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

    def _unsent(self) -> int:
        return super()._unsent() + (self._last is not None)


class QuickServer(QuickTransport, Server):
    """The transport of an accepted connection."""


class QuickClient(QuickTransport, Client):
    """The transport of a dialled connection."""
