"""Networks, as users write them."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.network import parse_network


class NetworkTests(SynchronousTestCase):
    def test_a_network_of_either_family(self) -> None:
        self.assertEqual(parse_network("10.0.0.0/8"), ip_network("10.0.0.0/8"))
        self.assertEqual(parse_network("fd00::/8"), ip_network("fd00::/8"))

    def test_an_address_is_a_network_of_one(self) -> None:
        self.assertEqual(parse_network("10.0.0.9"), ip_network("10.0.0.9/32"))
        self.assertEqual(parse_network("::ffff:10.0.0.9"), ip_network("10.0.0.9/32"))

    def test_what_is_none(self) -> None:
        for text in ("", "host", " 10.0.0.9", "10.0.0.1/8", "10.0.0.0/33", "::ffff:10.0.0.0/104"):
            self.assertRaises(ValueError, parse_network, text)
