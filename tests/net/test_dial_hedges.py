"""A dial whose SYN is lost, on real sockets and a clock that the test moves.

A listener whose backlog is full drops SYNs, as a network may. Once it has room again, the kernel would send the
lost one after a second; no test waits for that, so what connects is a hedge.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net import dial
from meshtx.net.dial import HEDGES, LONGEST, DialFailed, DialFailure, Dialler, HedgeOutcome
from meshtx.net.sockets import SocketOptions
from meshtx.net.transports import Client
from meshtx.wire.address import Address
from tests.garbage import hold_collector, living
from tests.net.stepped import SteppedReactor

WON, LOST, FAILED = HedgeOutcome.WON, HedgeOutcome.LOST, HedgeOutcome.FAILED
MOMENT = 0.001


class Ends(Protocol):
    """Counts what its life has."""

    transport: ITCPTransport

    def __init__(self) -> None:
        self.made = 0
        self.then: Callable[[], None] = lambda: None

    def connectionMade(self) -> None:
        self.made += 1
        self.then()


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = SteppedReactor()
        self.outcomes: list[HedgeOutcome] = []
        self.end = Ends()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(self.listener.close)
        self.address = Address.of(*self.listener.getsockname())
        self.addCleanup(self.nothing_is_left)

    def nothing_is_left(self) -> None:
        self.reactor.turn()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def full(self) -> socket.socket:
        """Fill the backlog, so that SYNs are lost until `room`."""
        waiting = socket.create_connection(self.listener.getsockname())
        self.addCleanup(waiting.close)
        return waiting

    def room(self) -> None:
        """Empty the backlog."""
        accepted, _ = self.listener.accept()
        self.addCleanup(accepted.close)

    def dial(self, timeout: float = 3.0, hedges: tuple[float, ...] = HEDGES) -> None:
        dialler = Dialler(self.reactor, SocketOptions(), timeout, hedges=hedges, hedged=self.outcomes.append)
        self.dialling = dialler.dial(self.address, self.end)
        self.reactor.turn()
        self.reactor.turn()

    def pass_(self, seconds: float) -> None:
        """Let time pass; what begins then has sent its SYN, and what has an answer has heard it."""
        self.reactor.advance(seconds)
        self.reactor.turn()
        self.reactor.turn()

    def attempts(self) -> int:
        """Count the sockets that are connecting or connected."""
        return len(self.reactor.readers | self.reactor.writers)

    def ports(self) -> set[int]:
        """Return the ports that they have."""
        return {client.socket.getsockname()[1] for client in self.reactor.readers}  # type: ignore[attr-defined]

    def failed(self) -> DialFailed:
        failure = self.failureResultOf(self.dialling, DialFailed)
        assert isinstance(failure.value, DialFailed)
        self.assertEqual((self.attempts(), self.end.made), (0, 0))
        return failure.value

    def connected(self) -> None:
        """See the protocol connected once, by the only socket that is left."""
        self.assertIs(self.successResultOf(self.dialling), self.end)
        self.assertEqual((self.end.made, self.attempts()), (1, 1))
        accepted, peer = self.listener.accept()
        self.addCleanup(accepted.close)
        self.assertEqual(peer[1], self.end.transport.getHost().port)
        self.end.transport.abortConnection()
        self.reactor.turn()


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


class HedgeTests(Case):
    def test_a_connection_that_comes_about_at_once_needs_none(self) -> None:
        self.dial()
        self.connected()
        self.assertEqual((self.outcomes, self.reactor.getDelayedCalls()), ([], []))

    def test_a_lost_syn_is_hedged_after_200_ms(self) -> None:
        self.full()
        self.dial()
        self.room()
        self.pass_(HEDGES[0] - MOMENT)
        self.assertEqual((self.attempts(), self.end.made), (1, 0))
        self.pass_(MOMENT)
        self.assertEqual(self.outcomes, [WON])
        self.connected()

    def test_a_second_is_hedged_after_450_ms_and_each_attempt_has_a_port_of_its_own(self) -> None:
        self.full()
        self.dial()
        self.pass_(HEDGES[0])
        self.assertEqual((self.attempts(), len(self.ports())), (2, 2))
        self.pass_(HEDGES[1] - HEDGES[0] - MOMENT)
        self.assertEqual(self.attempts(), 2)
        self.room()
        self.pass_(MOMENT)
        self.assertEqual(self.outcomes, [LOST, WON])
        self.connected()

    def test_the_first_may_still_win(self) -> None:
        self.dial_without_hearing()
        self.pass_(0)
        self.assertEqual(self.outcomes, [LOST])
        self.connected()

    def test_of_two_that_connect_at_once_one_has_the_protocol_and_the_server_sees_the_other_reset(self) -> None:
        self.listener.listen(5)
        self.dial_without_hearing()
        self.reactor.advance(0)  # the hedge's SYN is sent: both are connected, and nobody has heard of it
        self.reactor.turn()
        self.assertEqual((len(self.outcomes), self.end.made, self.attempts()), (1, 1, 1))
        ours = self.end.transport.getHost().port
        for _ in range(2):
            accepted, peer = self.listener.accept()
            self.addCleanup(accepted.close)
            if peer[1] != ours:
                with self.assertRaises(ConnectionResetError):
                    accepted.recv(1)
        self.end.transport.abortConnection()
        self.reactor.turn()

    def dial_without_hearing(self) -> None:
        """Dial, with an answer that is there and was not heard of when the hedge is due."""
        dialler = Dialler(self.reactor, SocketOptions(), 3.0, hedged=self.outcomes.append)
        self.dialling = dialler.dial(self.address, self.end)
        self.reactor.advance(0)
        self.reactor.advance(HEDGES[0])

    def test_what_the_kernel_had_to_send_again_is_told_of_the_winner(self) -> None:
        told: list[int] = []
        for again in (0, 2):
            self.patch(dial, "retransmits", lambda sock, again=again: again if sock.fileno() >= 0 else -1)
            dialler = Dialler(self.reactor, SocketOptions(), 3.0, retransmitted=told.append)
            self.end = Ends()
            self.dialling = dialler.dial(self.address, self.end)
            self.reactor.turn()
            self.reactor.turn()
            self.connected()
        self.assertEqual(told, [2])

    def test_losers_leave_no_descriptor(self) -> None:
        self.full()
        before = descriptors()
        self.dial()
        self.pass_(HEDGES[0])
        self.assertEqual(descriptors(), before + 2)
        self.room()
        self.pass_(HEDGES[1] - HEDGES[0])
        self.assertEqual(descriptors(), before + 2)  # the winner, and what `room` has accepted
        self.connected()

    def test_a_dialler_without_hedges_makes_none(self) -> None:
        self.full()
        self.dial(hedges=())
        self.pass_(3 - MOMENT)
        self.assertEqual(self.attempts(), 1)
        self.pass_(MOMENT)
        self.assertEqual((self.failed().reason, self.outcomes), (DialFailure.TIMED_OUT, []))


class EndTests(Case):
    def test_it_gives_up_after_its_timeout(self) -> None:
        self.full()
        self.dial(timeout=0.3)
        self.pass_(0.3 - MOMENT)
        self.assertEqual(self.attempts(), 2)
        self.pass_(MOMENT)
        failed = self.failed()
        self.assertEqual((failed.reason, failed.detail), (DialFailure.TIMED_OUT, "no answer in time"))
        self.assertEqual(self.outcomes, [FAILED])

    def test_one_that_has_given_up_leaves_no_cycle(self) -> None:
        self.full()
        hold_collector(self)
        others = living(dial._Race)
        self.dial(timeout=0.1)
        self.pass_(0.1)
        self.failed()
        del self.dialling
        self.assertEqual(living(dial._Race, others), {})

    def test_it_waits_for_as_long_as_it_is_told(self) -> None:
        self.full()
        self.dial(timeout=LONGEST)
        self.pass_(HEDGES[0])
        self.pass_(HEDGES[1] - HEDGES[0])
        self.pass_(LONGEST - HEDGES[1] - MOMENT)
        self.assertEqual(self.attempts(), 3)
        self.pass_(MOMENT)
        self.assertEqual((self.failed().reason, self.outcomes), (DialFailure.TIMED_OUT, [FAILED, FAILED]))

    def test_a_refusal_is_told_at_once_and_nothing_more_is_tried(self) -> None:
        self.listener.close()
        self.dial()
        self.assertEqual((self.failed().reason, self.reactor.getDelayedCalls()), (DialFailure.REFUSED, []))

    def test_a_refused_hedge_is_a_refusal_though_the_first_attempt_has_no_answer(self) -> None:
        waiting = self.full()
        self.dial()
        waiting.close()
        self.listener.close()
        self.pass_(HEDGES[0])
        self.assertEqual((self.failed().reason, self.outcomes), (DialFailure.REFUSED, [FAILED]))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_an_unreachable_host_is_one_though_the_first_attempt_has_no_answer(self) -> None:
        self.full()
        self.dial()
        self.cannot_make_sockets(errno.EHOSTUNREACH)
        self.pass_(HEDGES[0])
        self.assertEqual((self.failed().reason, self.outcomes), (DialFailure.UNREACHABLE, [FAILED]))

    def test_a_hedge_that_this_host_cannot_make_harms_nothing(self) -> None:
        for number in (errno.EMFILE, errno.EADDRNOTAVAIL):
            self.full()
            self.dial()
            undo = self.cannot_make_sockets(number)
            self.pass_(HEDGES[0])
            self.assertEqual((self.attempts(), self.outcomes), (1, [FAILED]))
            self.assertNoResult(self.dialling)
            undo()
            self.room()
            self.pass_(HEDGES[1] - HEDGES[0])
            self.assertEqual(self.outcomes, [FAILED, WON])
            self.connected()
            self.outcomes.clear()
            self.end = Ends()

    def cannot_make_sockets(self, number: int) -> Callable[[], None]:
        def refuse(_: Client) -> socket.socket:
            raise OSError(number, os.strerror(number))

        return self.patch(Client, "createInternetSocket", refuse).restore

    def test_cancelling_closes_every_attempt(self) -> None:
        self.full()
        self.dial()
        self.pass_(HEDGES[0])
        self.dialling.cancel()
        self.failureResultOf(self.dialling, CancelledError)
        self.assertEqual((self.attempts(), self.reactor.getDelayedCalls()), (0, []))
        self.room()
        self.pass_(LONGEST)
        self.assertEqual((self.end.made, self.outcomes), (0, [FAILED]))

    def test_cancelling_in_the_last_moment_closes_the_connection_and_counts_its_hedge_once(self) -> None:
        self.end.then = lambda: self.dialling.cancel()  # noqa: PLW0108 - there is none yet
        self.full()
        self.dial()
        self.room()
        self.pass_(HEDGES[0])
        self.failureResultOf(self.dialling, CancelledError)
        self.assertEqual((self.outcomes, self.attempts()), ([WON], 0))
