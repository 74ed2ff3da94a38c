from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Direction
from meshtx.observe.tap_match import BadMatch, Place, TapMatch
from meshtx.wire.address import Address
from tests.observe.cases import EMOJI, PLAIN, WEB, a_flow, a_request


class PlaceTests(SynchronousTestCase):
    def assertHolds(self, text: str, *addresses: str) -> None:
        place = Place.parse(text)
        known = ["10.1.0.4:80", "10.1.0.4:443", "10.1.9.9:80", "10.2.0.1:80", "[fd00::1]:80", "[fd00::2]:443"]
        held = [address for address in known if place.holds(Address.parse(address))]
        self.assertEqual(held, list(addresses))
        self.assertEqual(Place.parse(str(place)), place)

    def test_an_address_holds_all_its_ports(self) -> None:
        self.assertHolds("10.1.0.4", "10.1.0.4:80", "10.1.0.4:443")
        self.assertHolds("fd00::1", "[fd00::1]:80")

    def test_a_port_narrows_it(self) -> None:
        self.assertHolds("10.1.0.4:80", "10.1.0.4:80")
        self.assertHolds("[fd00::2]:443", "[fd00::2]:443")

    def test_a_network_holds_its_addresses(self) -> None:
        self.assertHolds("10.1.0.0/16", "10.1.0.4:80", "10.1.0.4:443", "10.1.9.9:80")
        self.assertHolds("fd00::/16", "[fd00::1]:80", "[fd00::2]:443")

    def test_what_is_no_place_is_refused_by_name(self) -> None:
        for text in (
            "",
            "web",
            "10.1.0.4:99999",
            "10.1.0.4/8",
            "[fd00::1]",
            "10.1.0.0/99",
            "10.1.0.4:",
            "fe80::1%eth0",
        ):
            error = self.assertRaises(BadMatch, Place.parse, text)
            self.assertIn(repr(text), str(error))


class TapMatchTests(SynchronousTestCase):
    def test_without_filters_everything_matches(self) -> None:
        match = TapMatch()
        self.assertTrue(match.flow(a_flow(security=None)))
        self.assertTrue(match.request(a_request()))
        self.assertFalse(match.requests_only)

    def test_a_flow_must_meet_every_filter_on_it(self) -> None:
        good = TapMatch(
            peer=WEB,
            direction=Direction.IN,
            sources=(Place.parse("10.9.0.0/16"), Place.parse("10.1.0.4")),
            destinations=(Place.parse("10.1.0.2:80"),),
        )
        self.assertTrue(good.flow(a_flow()))
        self.assertFalse(good.requests_only)
        for bad in (
            TapMatch(peer=EMOJI),
            TapMatch(direction=Direction.OUT),
            TapMatch(sources=(Place.parse("10.1.0.5"),)),
            TapMatch(destinations=(Place.parse("10.1.0.2:81"),)),
        ):
            self.assertFalse(bad.flow(a_flow()), bad)

    def test_a_peer_must_have_proved_its_name(self) -> None:
        self.assertFalse(TapMatch(peer=WEB).flow(a_flow(security=PLAIN)))
        self.assertFalse(TapMatch(peer=WEB).flow(a_flow(security=None)))

    def test_a_request_must_meet_every_filter_on_it(self) -> None:
        good = TapMatch(methods=frozenset({"GET", "POST"}), path_prefix="/api", authority="WEB:80")
        self.assertTrue(good.request(a_request()))
        for request in (
            a_request(method="PUT"),
            a_request(method="get"),
            a_request(path="/"),
            a_request(authority="web"),
        ):
            self.assertFalse(good.request(request), request)

    def test_each_filter_on_requests_leaves_out_connections_without_any(self) -> None:
        self.assertTrue(TapMatch(methods=frozenset({"GET"})).requests_only)
        self.assertTrue(TapMatch(path_prefix="/").requests_only)
        self.assertTrue(TapMatch(authority="web").requests_only)
