"""The one dialler: a connection to an address, or the reason why there is none, within a deadline.

A SYN that is lost costs its connection a whole second: only then does the kernel send it again. So a dial
that has no answer yet sends another, from a socket and so a port of its own, and the first answer wins:

    0 ms          200 ms            450 ms                       the deadline
    SYN ──────────┬─────────────────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ timed out
                  └ hedge: SYN ─────┼─ SYN-ACK ▶ the protocol's; the others are closed
                                    └ hedge: SYN

The port of its own also gets past a translation of addresses in which the first collided with another's. A
hedge that lost is closed before it is connected, as a rule: its SYN-ACK meets a reset, and the server's
application never hears of it. A refusal is an answer too, and ends the dial at once, as "unreachable" does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol
from twisted.python.failure import Failure

from meshtx.errors import PeerError
from meshtx.net.deadline import call_off
from meshtx.net.poller import FdSet
from meshtx.net.quick_ends import QuickClient
from meshtx.net.sockets import SocketOptions, retransmits
from meshtx.net.transports import Client
from meshtx.wire.address import Address

HEDGES = (0.2, 0.45)
"""Seconds after the first attempt at which another is made, unless there was an answer. With each tenth SYN
lost, one connection in a hundred waits for the second of them, one in a thousand longer."""

LONGEST = 8.0
"""Seconds that a dial may be given: the kernel has sent its third retry after 7, the next would go at 15."""

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


class HedgeOutcome(StrEnum):
    """What became of an attempt that was made beside the first."""

    WON = "won"
    """It is the connection."""
    LOST = "lost"
    """Another attempt is."""
    FAILED = "failed"
    """No attempt is, or this one could not be made."""


class Dialler:
    """Connects protocols to addresses.

    :param reactor: `IReactorFDSet` and `IReactorTime`. (Any: a reactor has no one type.)
    :param timeout: seconds for a connection to come about; more than `LONGEST` would bring little.
    :param hedges: seconds after the first attempt, ascending, at which another is made. None for dials that no
        network lies behind: on the way to this host's own workload a SYN is lost only if its backlog is full, and
        more of them would be the last thing that it needs.
    :param hedged: called with the outcome of each hedge.
    :param retransmitted: called with the number of SYNs that the kernel had sent again, if any, on a connection.
    """

    def __init__(
        self,
        reactor: Any,
        options: SocketOptions,
        timeout: float,
        *,
        hedges: Sequence[float] = HEDGES,
        hedged: Callable[[HedgeOutcome], None] = lambda _: None,
        retransmitted: Callable[[int], None] = lambda _: None,
    ) -> None:
        moments = (*(moment for moment in hedges if moment < timeout), timeout)
        self._terms = _Terms(reactor, options, moments, hedged, retransmitted)

    def dial(self, address: Address, protocol: IProtocol) -> Deferred[IProtocol]:
        """Connect the protocol.

        :returns: fires with the protocol once its `connectionMade` has returned; cancelling it gives up.
        :raises DialFailed: in the Deferred; the protocol is then not connected.
        """
        return _Race(address, protocol, self._terms).start()


@dataclass(frozen=True, slots=True)
class _Terms:
    """What is the same for all dials of a dialler.

    :param moments: seconds after the first attempt: of each hedge, and last of the deadline.
    """

    reactor: Any
    options: SocketOptions
    moments: Sequence[float]
    hedged: Callable[[HedgeOutcome], None]
    retransmitted: Callable[[int], None]


class _Attempt:
    """One socket that connects: of Twisted's connectors as much as our transports ask for.

    :param hedge: whether it was made beside an earlier one.
    """

    __slots__ = ("_race", "hedge", "options", "transport")

    def __init__(self, race: _Race, options: SocketOptions, *, hedge: bool) -> None:
        self.options = options
        self.hedge = hedge
        self.transport: Client | None = None
        self._race = race

    def connect(self, address: Address, reactor: Any) -> None:
        """Dial."""
        if isinstance(reactor, FdSet):
            self.transport = quick = QuickClient(address.host, address.port, None, self, reactor)
            quick.begin()
        else:
            self.transport = Client(address.host, address.port, None, self, reactor)

    def disconnect(self) -> None:
        """Close it, whatever has become of it."""
        if self.transport is not None:
            self.transport.failIfNotConnected(error.UserError())
            self.transport.loseConnection()

    # What the transport calls.

    def buildProtocol(self, _address: IAddress | None) -> IProtocol:
        """There is a connection; the others are closed before the protocol hears of it."""
        return self._race.won(self)

    def connected(self) -> None:
        """The protocol has it."""
        self._race.succeed()

    def connectionFailed(self, reason: Failure) -> None:
        """There is none."""
        self._race.failed(self, reason.value)

    def connectionLost(self, reason: Failure) -> None:
        """It is lost before it worked: the protocol's connectionMade raised."""
        self._race.fail(reason.value)


class _Race:
    """Attempts to connect one protocol: gives it to the first that succeeds, and the outcome to the Deferred, once.

    There is one delayed call at a time, for the next attempt or the deadline: a dial that needs no hedge pays
    for none.
    """

    def __init__(self, address: Address, protocol: IProtocol, terms: _Terms) -> None:
        self._address = address
        self._protocol: IProtocol | None = protocol
        self._terms = terms
        self._begun: float = terms.reactor.seconds()
        self._deferred: Deferred[IProtocol] | None = Deferred(lambda _: self._give_up())
        self._made = 0
        self._next: IDelayedCall | None = None
        self._running: list[_Attempt] = []
        self._winner: _Attempt | None = None

    def start(self) -> Deferred[IProtocol]:
        """Make the first attempt."""
        deferred = self._deferred
        assert deferred is not None
        self._attempt()
        return deferred

    def _attempt(self) -> None:
        """Send a SYN from a new socket, and come back when it has waited long enough."""
        terms, number = self._terms, self._made
        attempt = _Attempt(self, terms.options, hedge=number > 0)
        self._made += 1
        self._running.append(attempt)
        attempt.connect(self._address, terms.reactor)
        if self._running:
            wait = self._begun + terms.moments[number] - terms.reactor.seconds()
            self._next = terms.reactor.callLater(max(wait, 0), self._waited)

    def _waited(self) -> None:
        if self._made < len(self._terms.moments):
            self._attempt()
        else:
            self.fail(error.TimeoutError())

    def won(self, winner: _Attempt) -> IProtocol:
        """Close the losers, report what the network has cost, and return the protocol."""
        self._winner = winner
        waited = self._next is not None  # else the answer came at once
        self._settle()
        assert winner.transport is not None
        if waited:
            again = retransmits(winner.transport.getHandle())
            if again:
                self._terms.retransmitted(again)
        assert self._protocol is not None
        return self._protocol

    def succeed(self) -> None:
        """The protocol is connected."""
        deferred = self._forget()
        if deferred is not None:
            protocol, self._protocol, self._winner = self._protocol, None, None  # else they are kept in a cycle
            assert protocol is not None
            deferred.callback(protocol)

    def failed(self, attempt: _Attempt, why: BaseException | None) -> None:
        """One attempt has failed; the others may still succeed, unless it was the other side that said no."""
        if attempt not in self._running:
            return  # we closed it
        self._running.remove(attempt)
        if attempt.hedge:
            self._terms.hedged(HedgeOutcome.FAILED)
        if not self._running or _is_answer(why):
            self.fail(why)

    def fail(self, why: BaseException | None) -> None:
        """There will be no connection; nothing if the protocol has one."""
        deferred = self._forget()
        if deferred is not None:
            self._settle()
            self._winner = None
            deferred.errback(DialFailed(self._address, _reason(why), _detail(why)))

    def _give_up(self) -> None:
        """Close whatever there is; the Deferred's own cancellation says so."""
        self._forget()
        self._settle()
        winner, self._winner = self._winner, None
        if winner is not None:
            winner.disconnect()

    def _forget(self) -> Deferred[IProtocol] | None:
        deferred, self._deferred = self._deferred, None
        return deferred

    def _settle(self) -> None:
        """Try nothing more, and close what still runs, but for the winner."""
        call, self._next = self._next, None  # one that was made leads back here
        call_off(call)
        running, self._running = self._running, []
        for attempt in running:
            if attempt is not self._winner:
                attempt.disconnect()
            if attempt.hedge:
                self._terms.hedged(_outcome(attempt, self._winner))


def _outcome(attempt: _Attempt, winner: _Attempt | None) -> HedgeOutcome:
    if winner is None:
        return HedgeOutcome.FAILED
    return HedgeOutcome.WON if attempt is winner else HedgeOutcome.LOST


def _is_answer(why: BaseException | None) -> bool:
    """Say whether the network or the other side has answered; else it was this host that failed one socket."""
    ports_used_up = isinstance(why, error.ConnectError) and why.osError == errno.EADDRNOTAVAIL
    return _reason(why) in {DialFailure.REFUSED, DialFailure.UNREACHABLE} and not ports_used_up


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
