"""An accepted connection whose first bytes are awaited: on a transport in memory and a clock that stands still."""

from __future__ import annotations

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.arrival import Arrival
from meshtx.wire.client_hello import Hello, NotTls
from tests.pki.made import VOTING
from tests.proxy.peers import hello


class Heir(Protocol):
    """Takes a transport over."""

    given: object = None

    def connectionMade(self) -> None:
        self.given = self.transport


class ArrivalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.seen: list[object] = []
        self.transport = StringTransport()
        self.arrival = Arrival(lambda arrival: arrival.sniff(self.seen.append), self.clock, 10.0)
        self.arrival.gone = lambda: self.seen.append("gone")
        self.arrival.makeConnection(self.transport)

    def test_a_hello_is_seen_with_its_last_byte(self) -> None:
        for byte in hello()[:-1]:
            self.arrival.dataReceived(bytes([byte]))
        self.assertEqual((self.seen, self.arrival.begun), ([], True))
        self.arrival.dataReceived(hello()[-1:])
        [seen] = self.seen
        assert isinstance(seen, Hello)
        self.assertEqual((seen.sni, self.arrival.held), (str(VOTING), hello()))

    def test_what_is_no_tls_is_seen_with_its_first_byte(self) -> None:
        self.arrival.dataReceived(b"G")
        self.assertEqual((self.seen, self.arrival.held, self.arrival.begun), ([NotTls()], b"G", False))

    def test_nothing_in_time(self) -> None:
        self.clock.advance(9.9)
        self.assertEqual(self.seen, [])
        self.clock.advance(0.1)
        self.assertEqual((self.seen, self.arrival.begun), ([None], False))

    def test_what_is_seen_is_told_once(self) -> None:
        self.arrival.dataReceived(b"G")
        self.arrival.dataReceived(b"ET")
        self.clock.advance(20)
        self.assertEqual((self.seen, self.arrival.held), ([NotTls()], b"GET"))

    def test_an_heir_gets_the_transport_and_the_deadline_is_gone(self) -> None:
        self.arrival.dataReceived(b"G")
        heir = Heir()
        self.arrival.become(heir)
        self.assertIs(heir.given, self.transport)
        self.assertIs(self.transport.protocol, heir)  # type: ignore[attr-defined]
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_loss_is_told_and_nothing_is_left(self) -> None:
        self.arrival.connectionLost()
        self.assertEqual((self.seen, self.clock.getDelayedCalls()), (["gone"], []))

    def test_a_loss_after_it_was_released_is_not_told(self) -> None:
        self.arrival.release()
        self.arrival.connectionLost()
        self.assertEqual((self.seen, self.clock.getDelayedCalls()), ([], []))
