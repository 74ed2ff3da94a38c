"""Which balancers are declared to send a PROXY header."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.balancers import Balancer, sends_header
from meshtx.wire.address import parse_ip


class BalancerTests(SynchronousTestCase):
    def test_a_network_and_a_port(self) -> None:
        for text in ("10.0.0.0/24=8080", "10.0.0.9/32=8000-8010", "fd00::/64=443"):
            self.assertEqual(str(Balancer.parse(text)), text)

    def test_an_address_is_a_network_of_one(self) -> None:
        self.assertEqual(str(Balancer.parse(" 10.0.0.9 = 80 ")), "10.0.0.9/32=80")

    def test_what_is_none(self) -> None:
        for text in ("", "8080", "10.0.0.0/24", "=80", "10.0.0.0/24=", "10.0.0.1/24=80", "::ffff:10.0.0.0/120=80"):
            self.assertRaises(ValueError, Balancer.parse, text)

    def test_a_header_is_sent_from_a_declared_address_to_its_declared_port_alone(self) -> None:
        declared = [Balancer.parse("10.0.0.0/24=8080"), Balancer.parse("10.0.1.9=443-444"), Balancer.parse("::1=80")]
        expected = {
            ("10.0.0.1", 8080): True,
            ("::ffff:10.0.0.1", 8080): True,
            ("10.0.1.9", 444): True,
            ("::1", 80): True,
            ("10.0.0.1", 443): False,
            ("10.0.1.9", 8080): False,
            ("10.0.1.8", 443): False,
            ("192.0.2.1", 8080): False,
            ("::2", 80): False,
        }
        self.assertEqual({each: sends_header(declared, parse_ip(each[0]), each[1]) for each in expected}, expected)
        self.assertFalse(sends_header([], parse_ip("10.0.0.1"), 8080))
