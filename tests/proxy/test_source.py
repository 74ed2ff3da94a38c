"""Where a connection comes from: the table, row by row."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.ranges import Networks, Ranges
from meshtx.observe.flow import Known
from meshtx.proxy.source import Evidence, Source, classify, of_leg
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Open
from meshtx.wire.proxy_header import NOBODY, ProxyHeader
from tests.net.certificates import VOTING, WEB


def networks(*texts: str) -> Networks:
    return Networks(map(ip_network, texts))


DIRECTORY = Ranges(nodes=networks("10.0.0.0/24", "10.1.0.1/32"), pods=networks("10.1.0.0/16"))
OPTIONS = Ranges(balancers=networks("10.0.9.0/24", "10.1.9.9/32"))
KNOWN = (DIRECTORY, OPTIONS)
CLIENT = Address.parse("203.0.113.7:999")
POD, NODE, BALANCER, STRANGER = (Address.parse(f"{each}:4") for each in ("10.1.0.2", "10.0.0.9", "10.0.9.1", "8.8.8.8"))


def row(source: Source) -> tuple[Known, bool, bool]:
    return source.known, source.may_be_meshed, source.probes


class ClassifyTests(SynchronousTestCase):
    def assertRow(
        self, source: Source, evidence: Evidence, known: Known, *, may_be_meshed: bool, probes: bool, client: Address
    ) -> None:
        self.assertEqual(source, Source(source.peer, client, evidence))
        self.assertEqual((source.known, source.may_be_meshed, source.probes), (known, may_be_meshed, probes))

    def test_the_header_of_a_declared_balancer_tells_a_client(self) -> None:
        source = classify(BALANCER, KNOWN, ProxyHeader(CLIENT, POD))
        self.assertRow(
            source,
            Evidence.HEADER_OF_A_CLIENT,
            Known.PROXY_HEADER,
            may_be_meshed=False,
            probes=False,
            client=CLIENT,
        )

    def test_the_header_of_a_declared_balancer_tells_none(self) -> None:
        source = classify(POD, KNOWN, NOBODY)
        self.assertRow(source, Evidence.HEADER_OF_NOBODY, Known.OBSCURED, may_be_meshed=False, probes=True, client=POD)

    def test_a_balancer(self) -> None:
        source = classify(BALANCER, KNOWN)
        self.assertRow(source, Evidence.BALANCER, Known.OBSCURED, may_be_meshed=False, probes=True, client=BALANCER)

    def test_a_node(self) -> None:
        source = classify(NODE, KNOWN)
        self.assertRow(source, Evidence.NODE, Known.OBSCURED, may_be_meshed=False, probes=True, client=NODE)

    def test_a_bridge_and_a_balancer_among_the_pods_are_what_they_are(self) -> None:
        told = [classify(Address.parse(each), KNOWN).evidence for each in ("10.1.0.1:4", "10.1.9.9:4")]
        self.assertEqual(told, [Evidence.NODE, Evidence.BALANCER])

    def test_a_pod(self) -> None:
        source = classify(POD, KNOWN)
        self.assertRow(source, Evidence.POD, Known.DIRECT, may_be_meshed=True, probes=False, client=POD)

    def test_another_where_pods_are_known(self) -> None:
        source = classify(STRANGER, KNOWN)
        self.assertRow(source, Evidence.OUTSIDE, Known.DIRECT, may_be_meshed=False, probes=False, client=STRANGER)

    def test_another_where_none_are(self) -> None:
        source = classify(STRANGER, (OPTIONS, Ranges()))
        self.assertRow(source, Evidence.ANYBODY, Known.DIRECT, may_be_meshed=True, probes=False, client=STRANGER)


class HiddenTests(SynchronousTestCase):
    def test_a_service_may_be_what_hides_who_comes_from_a_node_or_a_balancer(self) -> None:
        hidden = {each for each in Evidence if Source(POD, POD, each).hidden}
        self.assertEqual(hidden, {Evidence.NODE, Evidence.BALANCER})

    def test_that_one_does_changes_no_row(self) -> None:
        for evidence in Evidence:
            source = Source(POD, CLIENT, evidence)
            explained = source.explained("shop/web")
            self.assertEqual((explained.hidden_by, explained.explained("")), ("shop/web", source))
            self.assertEqual(row(explained), row(source))


class LegTests(SynchronousTestCase):
    PEER = classify(POD, KNOWN)

    def asked(self, source: Address | None, *gateways: object, known: str = "direct") -> Source:
        return of_leg(self.PEER, WEB, Open(80, "", source, known), gateways)  # type: ignore[arg-type]

    def test_a_gateway_carries_the_address_of_others(self) -> None:
        source = self.asked(CLIENT, WEB)
        self.assertEqual(source, Source(POD, CLIENT, Evidence.GATEWAY))
        self.assertEqual((source.known, source.probes), (Known.MESH, False))

    def test_a_gateway_to_which_the_client_is_obscured_says_so(self) -> None:
        source = self.asked(NODE, WEB, known="obscured")
        self.assertEqual(source, Source(POD, NODE, Evidence.GATEWAY_OF_NOBODY))
        self.assertEqual((source.known, source.probes), (Known.OBSCURED, False))

    def test_other_words_of_a_gateway_change_nothing(self) -> None:
        for word in ("direct", "proxy_header", "", "told_by_a_bird"):
            self.assertEqual(self.asked(CLIENT, WEB, known=word), Source(POD, CLIENT, Evidence.GATEWAY))

    def test_a_gateways_loopback_address_is_nobodys_here(self) -> None:
        loopback = Address.parse("127.0.0.1:4")
        self.assertEqual(self.asked(loopback, WEB), self.PEER)
        peer = classify(Address.parse("127.0.0.2:4"), KNOWN)
        told = of_leg(peer, WEB, Open(80, "", loopback), {WEB})
        self.assertEqual(told, Source(peer.peer, loopback, Evidence.GATEWAY))

    def test_nobody_else_is_believed(self) -> None:
        self.assertEqual(self.asked(CLIENT), self.PEER)
        self.assertEqual(self.asked(CLIENT, VOTING), self.PEER)

    def test_of_its_own_address_every_peer_is(self) -> None:
        own = Address(POD.ip, 5555)
        self.assertEqual(self.asked(own), Source(POD, own, Evidence.POD))
        self.assertEqual(self.asked(own, VOTING), Source(POD, own, Evidence.POD))
        self.assertEqual(self.asked(own, WEB), Source(POD, own, Evidence.GATEWAY))

    def test_a_gateway_that_tells_none(self) -> None:
        self.assertEqual(self.asked(None, WEB), self.PEER)

    def test_what_hides_the_peer_is_of_a_client_that_a_gateway_tells_nothing(self) -> None:
        node = classify(NODE, KNOWN).explained("shop/web")
        own = Address(NODE.ip, 5555)
        self.assertEqual(of_leg(node, VOTING, Open(80, "", own), {WEB}).hidden_by, "shop/web")
        self.assertEqual(of_leg(node, VOTING, Open(80, "", CLIENT), {WEB}).hidden_by, "shop/web")
        for known in ("direct", "obscured"):
            self.assertEqual(of_leg(node, WEB, Open(80, "", CLIENT, known), {WEB}).hidden_by, "")
