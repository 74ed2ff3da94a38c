"""The one dialler: a connection to an address, or the reason why there is none, within a deadline."""

from __future__ import annotations

import errno
import os
from enum import StrEnum
from typing import Any

from twisted.internet import error, tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector, IProtocol
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from meshtx.errors import PeerError
from meshtx.net.sockets import SocketOptions
from meshtx.net.transports import Client
from meshtx.wire.address import Address

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""No way there: no route, the router or a neighbour says so, or this host lacks the address family."""


class DialFailure(StrEnum):
    """Why there is no connection."""

    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    OTHER = "other"


class DialFailed(PeerError):
    """There is no connection to `address`.

    :param detail: for a person: what the system said.
    """

    def __init__(self, address: Address, reason: DialFailure, detail: str) -> None:
        super().__init__(f"connecting to {address}: {detail}")
        self.address = address
        self.reason = reason
        self.detail = detail


class Dialler:
    """Connects protocols to addresses.

    :param reactor: `IReactorFDSet` and `IReactorTime`. (Any: a reactor has no one type.)
    :param timeout: seconds for a connection to come about.
    """

    def __init__(self, reactor: Any, options: SocketOptions, timeout: float) -> None:
        self._reactor = reactor
        self._options = options
        self._timeout = timeout

    def dial(self, address: Address, protocol: IProtocol) -> Deferred[IProtocol]:
        """Connect the protocol.

        :returns: fires with the protocol once its `connectionMade` has returned; cancelling it gives up.
        :raises DialFailed: in the Deferred; the protocol is then not connected.
        """
        deferred: Deferred[IProtocol] = Deferred(lambda _: connector.give_up())
        outcome = _Outcome(address, protocol, deferred)
        connector = _Connector(address.host, address.port, outcome, self._timeout, None, self._reactor)
        connector.options, connector.outcome = self._options, outcome
        connector.connect()
        return deferred


class _Connector(tcp.Connector):
    """Makes our transports; hears from them when the protocol is connected."""

    options: SocketOptions
    outcome: _Outcome

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)

    def connected(self) -> None:
        """The transport says: the protocol has it."""
        self.outcome.succeed()

    def give_up(self) -> None:
        """Stop connecting; the Deferred's own cancellation says so."""
        self.outcome.forget()
        self.disconnect()


class _Outcome(ClientFactory[Any]):  # Any: a factory of any protocol
    """Gives the protocol to the transport, and the outcome to the Deferred, once."""

    noisy = False

    def __init__(self, address: Address, protocol: IProtocol, deferred: Deferred[IProtocol]) -> None:
        self._address = address
        self._protocol = protocol
        self._deferred: Deferred[IProtocol] | None = deferred

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002
        return self._protocol

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002
        self._fail(reason)

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002
        self._fail(reason)  # the protocol's connectionMade raised: it never worked. Else: told already

    def succeed(self) -> None:
        deferred = self.forget()
        if deferred is not None:
            deferred.callback(self._protocol)

    def forget(self) -> Deferred[IProtocol] | None:
        deferred, self._deferred = self._deferred, None
        return deferred

    def _fail(self, failure: Failure) -> None:
        deferred = self.forget()
        if deferred is not None:
            why = failure.value
            deferred.errback(DialFailed(self._address, _reason(why), _detail(why)))


def _reason(why: BaseException | None) -> DialFailure:
    match why:
        case error.ConnectionRefusedError():
            return DialFailure.REFUSED
        case error.TimeoutError() | error.TCPTimedOutError():
            return DialFailure.TIMED_OUT
        case error.ConnectError(osError=number) if number in _UNREACHABLE:
            return DialFailure.UNREACHABLE
        case _:
            return DialFailure.OTHER


def _detail(why: BaseException | None) -> str:
    match why:
        case error.TimeoutError():
            return "no answer in time"
        case error.ConnectError(osError=int(number)):
            return os.strerror(number)
        case _:
            return str(why)
