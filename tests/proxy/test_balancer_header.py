"""A declared balancer's header: on a transport in memory and a clock that stands still."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Refusal
from meshtx.proxy.balancer_header import BalancerHeader
from meshtx.proxy.work import Refused
from meshtx.wire.address import Address
from meshtx.wire.proxy_header import ProxyHeader

LINE = b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443\r\n"
HEADER = ProxyHeader(Address.parse("192.0.2.7:56324"), Address.parse("203.0.113.1:443"))


class BalancerHeaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.seen: list[object] = []
        self.stage = BalancerHeader(
            lambda header, rest: self.seen.append((header, rest)), self.refused, self.gone, self.clock, 10.0
        )
        self.transport = StringTransport()
        self.stage.makeConnection(self.transport)

    def refused(self, why: Refused) -> None:
        self.seen.append((why.reason, why.detail))

    def gone(self) -> None:
        self.seen.append("gone")

    def check_over(self, *seen: object) -> None:
        """Nothing that comes later is told, and nothing waits for time to pass."""
        self.stage.dataReceived(LINE)
        self.clock.advance(20)
        self.stage.connectionLost()
        self.assertEqual((self.seen, self.clock.getDelayedCalls()), (list(seen), []))

    def test_a_header_byte_by_byte(self) -> None:
        for byte in LINE[:-1]:
            self.stage.dataReceived(bytes([byte]))
        self.assertEqual(self.seen, [])
        self.stage.dataReceived(LINE[-1:] + b"GET /")
        self.check_over((HEADER, b"GET /"))

    def test_what_is_no_header_is_refused_with_its_first_byte(self) -> None:
        self.stage.dataReceived(b"G")
        self.check_over((Refusal.PROXY_HEADER, "no PROXY header"))

    def test_silence_is_refused_in_the_end(self) -> None:
        self.clock.advance(9.9)
        self.assertEqual(self.seen, [])
        self.clock.advance(0.1)
        self.check_over((Refusal.PROXY_HEADER, "no PROXY header within 10 s"))

    def test_a_part_of_a_header_does_not_prolong_the_time(self) -> None:
        self.clock.advance(9)
        self.stage.dataReceived(LINE[:20])
        self.clock.advance(1)
        self.check_over((Refusal.PROXY_HEADER, "no PROXY header within 10 s"))

    def test_an_end_without_a_byte_is_a_question_whether_the_port_is_open(self) -> None:
        self.stage.connectionLost()
        self.check_over("gone")

    def test_an_end_within_the_header_is_refused(self) -> None:
        self.stage.dataReceived(LINE[:-1])
        self.stage.connectionLost()
        self.check_over((Refusal.PROXY_HEADER, "the connection ended within its PROXY header"))

    def test_it_is_refused_while_there_is_a_connection_to_reset(self) -> None:
        self.stage.dataReceived(LINE[:-1])
        self.stage.readConnectionLost()
        self.assertFalse(self.transport.disconnecting)
        self.check_over((Refusal.PROXY_HEADER, "the connection ended within its PROXY header"))

    def test_a_direction_that_ends_without_a_byte_ends_the_other(self) -> None:
        self.stage.readConnectionLost()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.seen, [])
