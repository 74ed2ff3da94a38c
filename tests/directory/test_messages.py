"""What a directory's messages mean, and that what means nothing is no answer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory import messages
from meshtx.directory.messages import BadMessage, Several
from meshtx.directory.target import Meshed, PortFacts, Target
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.name import Name
from meshtx.rpc.messages import directory_pb2 as pb
from meshtx.wire.address import Address, parse_ip
from tests.directory.told import EMOJI, VOTING, backend, endpoint, network, service, table, workload

PLAIN = NoTls(NoTlsReason.NOT_DISCOVERED)
AT = Address.parse("10.1.0.2:80")


class AnswerTests(SynchronousTestCase):
    def test_a_meshed_workload(self) -> None:
        meshed = Meshed(Name.parse(VOTING), Address.parse("10.1.0.2:4143"))
        self.assertEqual(messages.found(workload("10.1.0.2:80")), Target(AT, "", meshed))

    def test_what_is_said_of_its_bytes(self) -> None:
        told = messages.found(workload("10.1.0.2:80", "", "web:80", opaque=True))
        self.assertEqual(told, Target(AT, "web:80", PLAIN, opaque=True))

    def test_a_port_that_its_proxy_skips_is_plaintext_though_it_is_meshed(self) -> None:
        told = messages.found(workload("10.1.0.2:80", skipped=True))
        self.assertEqual(told, Target(AT, "", NoTls(NoTlsReason.PORT_SKIPPED)))

    def test_a_service(self) -> None:
        told = messages.found(service("10.96.0.1:80", backend("[fd00::2]:8080", EMOJI), backend("10.1.0.3:80", "")))
        authority = "voting.emojivoto.svc.cluster.local:80"
        there = Address.parse("[fd00::2]:8080")
        one = Target(there, authority, Meshed(Name.parse(EMOJI), Address(there.ip, 4143)))
        self.assertEqual(told, Several((one, Target(Address.parse("10.1.0.3:80"), authority, PLAIN))))

    def test_a_service_without_anybody(self) -> None:
        self.assertEqual(messages.found(service("10.96.0.1:80")), Several(()))

    def test_what_is_no_answer(self) -> None:
        """Each of them would be plaintext if it were one."""
        for message in (
            pb.Answer(address=endpoint("10.1.0.2:80")),
            pb.Answer(address=endpoint("10.1.0.2:80"), workload=pb.Backend()),
            pb.Answer(workload=pb.Backend(address=pb.Endpoint(ip=b"123", port=80))),
            pb.Answer(workload=pb.Backend(address=pb.Endpoint(ip=b"1234"))),
            pb.Answer(workload=pb.Backend(address=pb.Endpoint(ip=b"1234", port=65536))),
            pb.Answer(workload=pb.Backend(address=endpoint("10.1.0.2:80"), name=VOTING)),
            workload("10.1.0.2:80", "voting.emojivoto"),
            workload("10.1.0.2:80", authority="web shop"),
            workload("10.1.0.2:80", authority="w" * 321),
            service("10.96.0.1:80", backend("10.1.0.2:80"), pb.Backend()),
        ):
            self.assertRaises(BadMessage, messages.found, message)

    def test_addresses_go_there_and_back(self) -> None:
        for text in ("10.1.0.2:1", "[fd00::1]:65535"):
            self.assertEqual(messages.address(messages.endpoint(Address.parse(text))), Address.parse(text))
        mapped = pb.Endpoint(ip=bytes(10) + b"\xff\xff\x0a\1\0\2", port=80)
        self.assertEqual(messages.address(mapped), AT)


class FactsTests(SynchronousTestCase):
    def test_networks(self) -> None:
        told = table("1", "10.0.0.0/8", "fd00::/16")
        told.nodes.append(network("192.168.0.1/32"))
        told.pods.append(network("10.1.0.0/16"))
        told.balancers.append(network("192.168.9.0/24"))
        facts = messages.facts(told)
        known = [facts.holds(parse_ip(ip)) for ip in ("10.9.0.1", "fd00::1", "11.0.0.1", "fe80::1")]
        self.assertEqual(known, [True, True, False, False])
        ranges = facts.ranges
        self.assertTrue(parse_ip("192.168.0.1") in ranges.nodes and parse_ip("192.168.9.9") in ranges.balancers)
        self.assertTrue(parse_ip("10.1.2.3") in ranges.pods and parse_ip("10.2.2.3") not in ranges.pods)

    def test_who_says_of_no_network_that_it_is_the_meshs_is_asked_for_every_address(self) -> None:
        self.assertTrue(messages.facts(pb.Table(session="1")).holds(parse_ip("192.0.2.1")))

    def test_own_ports(self) -> None:
        told = table()
        told.own_opaque.add(first=3306, last=3307)
        told.own_skip_inbound.add(first=3307, last=3308)
        facts = messages.facts(told)
        self.assertEqual(facts.own_port(3306), PortFacts(opaque=True))
        self.assertEqual(facts.own_port(3307), PortFacts(opaque=True, skipped=True))
        self.assertEqual(facts.own_port(3308), PortFacts(skipped=True))
        self.assertEqual(facts.own_port(3309), PortFacts())

    def test_which_service_hides_clients_of_a_port(self) -> None:
        told = table()
        told.own_skip_inbound.add(first=9100, last=9100)
        told.own_hidden.add(port=8080, service="shop/web")
        told.own_hidden.add(port=9100, service="shop/metrics")
        facts = messages.facts(told)
        self.assertEqual(facts.own_port(8080), PortFacts(hidden_by="shop/web"))
        self.assertEqual(facts.own_port(9100), PortFacts(skipped=True, hidden_by="shop/metrics"))
        self.assertEqual(facts.own_port(80), PortFacts())

    def test_what_an_earlier_version_does_not_say_is_not_known_and_of_a_later_one_what_is_known_counts(self) -> None:
        told = table()
        told.own_opaque.add(first=3306, last=3306)
        later = pb.Table.FromString(told.SerializeToString() + b"\xa2\x06\x03new")  # field 100
        for each in (told, later):
            facts = messages.facts(each)
            self.assertEqual([facts.own_port(port) for port in (3306, 80)], [PortFacts(opaque=True), PortFacts()])

    def test_what_is_no_table(self) -> None:
        self.assertRaises(BadMessage, messages.session, pb.Table())
        for message in (
            pb.Table(mesh_networks=[pb.Network(ip=b"123", prefix=8)]),
            pb.Table(nodes=[pb.Network(ip=b"\x0a\0\0\1", prefix=8)]),
            pb.Table(pods=[pb.Network(ip=b"\x0a\0\0\0", prefix=33)]),
            pb.Table(mesh_networks=[pb.Network(ip=bytes(10) + b"\xff\xff\x0a\1\0\2", prefix=128)]),
            pb.Table(own_opaque=[pb.Ports(first=1, last=65536)]),
            pb.Table(own_skip_inbound=[pb.Ports(first=2, last=1)]),
            pb.Table(own_skip_inbound=[pb.Ports()]),
            pb.Table(own_hidden=[pb.HiddenPort(service="shop/web")]),
            pb.Table(own_hidden=[pb.HiddenPort(port=65536, service="shop/web")]),
        ):
            self.assertRaises(BadMessage, messages.facts, message)
