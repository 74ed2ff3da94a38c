"""Our TCP transports: Twisted's own, armed to reset.

    accept or dial ──▶ armed ──▶ loseConnection, all bytes given to the kernel ──▶ disarmed, FIN
                             └─▶ anything else: abort, an error, an exception, the reactor's end, SIGKILL ──▶ RST

They are installed by the port of `meshtx.net.listen` and the attempts of `meshtx.net.dial`; every protocol
above them is an ordinary Twisted protocol. Half-close is Twisted's: a protocol that provides
`IHalfCloseableProtocol` hears of the peer's FIN by `readConnectionLost` and goes on writing.

A close that was asked for while bytes are unsent waits for them, at most `LINGER` seconds. The kernel gives
up earlier on a peer that takes nothing at all (see `meshtx.net.sockets`); this bound ends one that takes a
byte now and then.

A peer that has ended its direction may be lost before we have ended ours. Nothing is read then that would tell, and
nothing need be written for hours, so the socket is asked every `LOOKS` seconds.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any, cast

from twisted.internet import error, tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from meshtx.net.deadline import call_off
from meshtx.net.sockets import arm, disarm, prepared

INHERITED = sys.platform == "linux"
"""Accepted sockets have the options of the listening one (tcp_create_openreq_child copies them): none is set twice."""

LINGER = 300.0
"""Seconds that a closing connection may take to hand its last bytes (a few 100 KiB at most) to the kernel."""


LOOKS = 10.0
"""Seconds between two looks at a connection that is half closed. It has to be known lost first: see `sockets`."""


class ResetUnlessWhole(tcp.Connection):
    """A connection that ends with a FIN only if its end was asked for and everything was sent.

    Everything else closes the armed socket as it is, so that the peer sees a reset. `tcp.Connection` alone
    ends in order on an exception in a protocol and when the reactor stops, whatever is still unsent.
    """

    _whole = False
    _lingering: IDelayedCall | None = None
    _looking: IDelayedCall | None = None

    def readConnectionLost(self, reason: Failure) -> None:
        """Tell the protocol that the peer has ended its direction, and see if it is lost from now on.

        To Twisted's reactors a hang-up is such an end if there is nothing to read with it. That is how a reset may look
        for a moment, while the kernel is about it; behind the peer's FIN it is a broken pipe.
        """
        lost = self._error()
        if lost in {0, errno.EPIPE}:
            super().readConnectionLost(reason)
        if not lost:
            self._look_later()
        elif self.connected:
            self.connectionLost(Failure(error.ConnectionLost(os.strerror(lost))))

    def _look_later(self) -> None:
        if self.connected:
            self._looking = cast("IReactorTime", self.reactor).callLater(LOOKS, self._look)

    def _look(self) -> None:
        self._looking = None
        why = self.broken()
        if why is None:
            self._look_later()
        else:
            self.connectionLost(Failure(why))

    def broken(self) -> error.ConnectionLost | None:
        """Return that the connection is lost, if it is: the peer has reset it, or is gone."""
        lost = self._error()
        return error.ConnectionLost(os.strerror(lost)) if lost else None

    def _error(self) -> int:
        """Return what has become of the connection, which the kernel tells once: 0, or a number of `errno`."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def loseConnection(self) -> None:
        """Send what is left, then close in order."""
        super().loseConnection()
        if self.connected and self._unsent() and self._lingering is None:  # TLS above says so of a lost one, too
            self._lingering = cast("IReactorTime", self.reactor).callLater(LINGER, self.abortConnection)

    def unregisterProducer(self) -> None:
        """Forget the producer; a half-close that waited for it comes now. Twisted's own remembers only a close."""
        FileDescriptor.unregisterProducer(self)  # with no detour to Twisted's TLS, which ours never begin
        if self.connected and self._writeDisconnecting and not self._writeDisconnected:
            self.startWriting()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, in order or by a reset, and tell the protocol."""
        self._stop_lingering()
        call_off(self._looking)
        self._looking = None
        in_order = isinstance(reason.value, error.ConnectionDone) and not self._aborting
        self._whole = in_order and not self._unsent()
        super().connectionLost(reason)

    def _stop_lingering(self) -> None:
        if self._lingering is not None:
            call_off(self._lingering)
            self._lingering = None  # one that has come leads back here

    def _unsent(self) -> int:
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def _closeSocket(self, orderly: bool) -> None:
        if self._whole:
            disarm(self.socket)
        super()._closeSocket(orderly and self._whole)  # else no shutdown: its FIN would come before the reset


class Server(ResetUnlessWhole, tcp.Server):
    """The transport of an accepted connection; its `server` is a `meshtx.net.listen.Port`."""

    def __init__(self, sock: socket.socket, *args: Any) -> None:  # Any: Twisted's own arguments, passed on
        super().__init__(sock, *args)
        if INHERITED:
            return
        try:
            arm(sock, self.server.options)  # type: ignore[attr-defined]  # our own Port has them
        except OSError:  # macOS: the peer has reset it already. The accept loop must not end by it.
            self.abortConnection()


def _nothing() -> None:
    """Take the place of what reads and writes, where there is no connection."""


class _Done:
    """Stands for the connector of a client that is connected: nobody is left to be told."""

    def connectionLost(self, reason: Failure) -> None:
        """Nothing."""


_DONE = _Done()


class Client(ResetUnlessWhole, tcp.Client):
    """The transport of a dialled connection; its `connector` is one of `meshtx.net.dial`."""

    def createInternetSocket(self) -> socket.socket:
        """Return a socket that is marked and armed before it connects."""
        return prepared(socket.socket(self.addressFamily, self.socketType), self.connector.options)

    def resolveAddress(self) -> None:
        """Dial, unless it was given up before the reactor came to it."""
        if hasattr(self, "connector"):
            super().resolveAddress()

    def _connectDone(self) -> None:
        """Connect the protocol; what has dialled is done then, and is not kept for as long as that lasts."""
        if self.socket.getsockname()[:2] == self.realAddress[:2]:
            # Nobody listens, and the kernel's choice of a local port made the connection meet itself
            # (simultaneous open, RFC 9293, section 3.5): every byte would come back as an echo.
            self.failIfNotConnected(error.ConnectionRefusedError(errno.ECONNREFUSED))
            return
        connector = self.connector
        self._connect_protocol()
        connector.connected()
        if self.connected:
            self.connector = _DONE

    def _connect_protocol(self) -> None:
        super()._connectDone()

    def failIfNotConnected(self, err: Exception) -> None:
        """End what is no connection yet, and let go of what leads back here: until then both are `doConnect`."""
        super().failIfNotConnected(err)
        if not self.connected:
            self.doRead = self.doWrite = _nothing  # type: ignore[method-assign]  # the reactor may call one yet

    def connectionLost(self, reason: Failure) -> None:
        """End, and let go of the connector, which holds the protocol, which holds this transport."""
        was_connected = self.connected
        super().connectionLost(reason)
        if was_connected:
            del self.connector
