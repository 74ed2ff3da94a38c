"""Which addresses are whose."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.document import parse
from meshtx.directory.ranges import Networks, Ranges
from meshtx.errors import ConfigError


class NetworksTests(SynchronousTestCase):
    def test_an_address_is_in_one_of_them_or_in_none(self) -> None:
        networks = Networks(map(ip_network, ("10.1.0.0/16", "10.2.0.0/16", "10.9.9.9/32", "fd00::/64")))
        inside = ("10.1.255.255", "10.2.0.1", "10.9.9.9", "fd00::1")
        outside = ("10.3.0.1", "10.9.9.8", "fd00:0:0:1::1", "::a01:1")
        self.assertEqual([ip_address(each) in networks for each in inside + outside], [True] * 4 + [False] * 4)
        self.assertTrue(networks)

    def test_none_at_all(self) -> None:
        self.assertFalse(Networks())
        self.assertNotIn(ip_address("10.1.0.1"), Networks())
        self.assertIn(ip_address("10.1.0.1"), Networks([ip_network("0.0.0.0/0")]))


class DocumentTests(SynchronousTestCase):
    def ranges(self, mesh: str) -> Ranges:
        return parse(f"workload = []\n[mesh]\n{mesh}", "mesh.toml").ranges

    def test_they_are_in_the_document(self) -> None:
        ranges = self.ranges('nodes = ["10.0.0.0/24", "10.1.0.1"]\npods = ["10.1.0.0/16"]\nbalancers = ["10.0.9.0/24"]')
        asked = [ip_address(each) for each in ("10.0.0.7", "10.1.0.1", "10.1.0.2", "10.0.9.1")]
        self.assertEqual([each in ranges.nodes for each in asked], [True, True, False, False])
        self.assertEqual([each in ranges.pods for each in asked], [False, True, True, False])
        self.assertEqual([each in ranges.balancers for each in asked], [False, False, False, True])

    def test_without_them_nothing_is_known(self) -> None:
        ranges = self.ranges("")
        self.assertFalse(ranges.nodes or ranges.pods or ranges.balancers)

    def test_one_that_is_wrong_is_named(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.ranges('nodes = ["10.0.0.1/8"]')
        self.assertIn("mesh.toml: mesh: nodes", str(caught.exception))
