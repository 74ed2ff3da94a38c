"""The directory's document: what it may say, and how a mistake in it is told."""

import json
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.document import parse
from meshtx.directory.target import Meshed, PortFacts, Target
from meshtx.errors import ConfigError
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.name import Name
from meshtx.wire.address import Address

WEB = Name.parse("web.emojivoto.serviceaccount.identity.meshtx.cluster.local")
VOTING = Name.parse("voting.emojivoto.serviceaccount.identity.meshtx.cluster.local")

FULL = f"""
opaque_ports = [3306]
skip_inbound_ports = ["4567-4568"]
skip_outbound_ports = [25]

[mesh]
networks = ["10.1.0.0/16", "fd00::/64"]

[[workload]]
addresses = ["10.1.0.2", "fd00::2"]
identity = "{WEB}"
authority = "web-svc.emojivoto"
inbound_port = 14143
opaque_ports = [6379, "7000-7002"]
skip_ports = [9100]

[[workload]]
addresses = ["10.1.7.0/24"]
identity = "{VOTING}"

[[workload]]
addresses = ["10.1.7.64/26"]
authority = "legacy"
"""


def address(text: str) -> Address:
    return Address.parse(text)


def workload(**values: object) -> str:
    return json.dumps({"workload": [{"addresses": ["10.1.0.2"], **values}]})


class TestFind(SynchronousTestCase):
    table = parse(FULL, "mesh.toml")

    def target(self, text: str) -> Target:
        return self.table.find(address(text))

    def test_a_meshed_workload_has_its_name_and_the_place_of_its_proxy(self) -> None:
        self.assertEqual(
            self.target("10.1.0.2:80"),
            Target(address("10.1.0.2:80"), "web-svc.emojivoto", Meshed(WEB, address("10.1.0.2:14143"))),
        )

    def test_the_same_workload_answers_at_its_ipv6_address(self) -> None:
        self.assertEqual(
            self.target("[fd00::2]:80"),
            Target(address("[fd00::2]:80"), "web-svc.emojivoto", Meshed(WEB, address("[fd00::2]:14143"))),
        )

    def test_what_is_behind_the_proxy_port_defaults_to_linkerds(self) -> None:
        self.assertEqual(
            self.target("10.1.7.9:80"), Target(address("10.1.7.9:80"), "", Meshed(VOTING, address("10.1.7.9:4143")))
        )

    def test_the_longest_prefix_wins_even_when_it_is_not_meshed(self) -> None:
        self.assertEqual(
            self.target("10.1.7.65:80"),
            Target(address("10.1.7.65:80"), "legacy", NoTls(NoTlsReason.NOT_DISCOVERED)),
        )

    def test_an_address_in_the_mesh_without_an_entry_is_not_meshed(self) -> None:
        self.assertEqual(
            self.target("10.1.0.3:80"), Target(address("10.1.0.3:80"), "", NoTls(NoTlsReason.NOT_DISCOVERED))
        )

    def test_numbers_of_the_two_ip_versions_are_not_mixed_up(self) -> None:
        self.assertEqual(
            self.target("[::a01:2]:80"), Target(address("[::a01:2]:80"), "", NoTls(NoTlsReason.NOT_DISCOVERED))
        )

    def test_skipped_ports_are_plaintext_and_say_so(self) -> None:
        for text in ("10.1.0.2:9100", "10.1.7.9:4568", "10.1.0.2:25", "192.0.2.1:25"):
            self.assertEqual(self.target(text).security, NoTls(NoTlsReason.PORT_SKIPPED), text)

    def test_the_ports_beside_a_skipped_range_are_not_skipped(self) -> None:
        for port in (4566, 4569):
            self.assertEqual(self.target(f"10.1.7.9:{port}").security, Meshed(VOTING, address("10.1.7.9:4143")))

    def test_opaque_ports_of_all_and_of_one(self) -> None:
        opaque = {text: self.target(text).opaque for text in ("10.1.7.9:3306", "10.1.0.2:7001", "10.1.7.9:7001")}
        self.assertEqual(opaque, {"10.1.7.9:3306": True, "10.1.0.2:7001": True, "10.1.7.9:7001": False})

    def test_own_ports(self) -> None:
        facts = [
            self.table.own_port(address(f"10.1.0.2:{port}"))
            for port in (80, 6379, 9100, 4567, 25)  # 25 is skipped on the way out only
        ]
        self.assertEqual(
            facts, [PortFacts(), PortFacts(opaque=True), PortFacts(skipped=True), PortFacts(skipped=True), PortFacts()]
        )

    def test_a_document_may_say_that_nobody_is_meshed(self) -> None:
        for text in ("workload = []", '{"workload": []}'):
            found = parse(text, "mesh.toml").find(address("10.1.0.2:80"))
            self.assertEqual(found.security, NoTls(NoTlsReason.NOT_DISCOVERED))

    def test_json_says_the_same(self) -> None:
        table = parse(workload(identity=str(WEB)), "mesh.json")
        self.assertEqual(table.find(address("10.1.0.2:80")).security, Meshed(WEB, address("10.1.0.2:4143")))

    def test_a_look_up_does_not_walk_the_entries(self) -> None:
        """Each prefix length in use costs one look-up, however many entries have it."""
        hosts = [f"10.{a}.{b}.1" for a in range(20) for b in range(100)]
        table = parse(json.dumps({"workload": [{"addresses": hosts, "identity": str(WEB)}]}), "mesh.json")
        self.assertEqual(len(table), 2000)
        self.assertEqual({bits: len(found) for bits, found in table._entries[4].items()}, {0: 2000})
        self.assertEqual(table.find(address("10.19.99.1:80")).security, Meshed(WEB, address("10.19.99.1:4143")))

    def test_the_order_of_the_entries_does_not_matter(self) -> None:
        nets = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3"]
        for seed in range(10):
            Random(seed).shuffle(nets)
            entries = [{"addresses": [net], "authority": net} for net in nets]
            table = parse(json.dumps({"workload": entries}), "mesh.json")
            found = [
                table.find(address(f"{ip}:1")).authority for ip in ("10.1.2.3", "10.1.2.4", "10.1.3.4", "10.2.3.4")
            ]
            self.assertEqual(found, ["10.1.2.3", "10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8"])


class TestMistakes(SynchronousTestCase):
    def assertMistake(self, text: str, message: str) -> None:
        error = self.assertRaises(ConfigError, parse, text, "mesh.toml")
        self.assertEqual(str(error), message)

    def test_an_identity_that_is_no_name_names_the_entry(self) -> None:
        self.assertMistake(
            workload(identity="web.emojivoto"),
            "mesh.toml: workload 1 (web.emojivoto): identity: 'web.emojivoto' is not "
            "SA.NS.serviceaccount.identity.CONTROL-NS.TRUST-DOMAIN; write the name that its certificate has",
        )

    def test_an_empty_identity_is_no_name_either(self) -> None:
        error = self.assertRaises(ConfigError, parse, workload(identity=""), "mesh.toml")
        self.assertIn("workload 1", error.key)

    def test_a_wildcard_is_no_name(self) -> None:
        self.assertRaises(ConfigError, parse, workload(identity=str(WEB).replace("web", "*")), "mesh.toml")

    def test_unknown_keys_name_the_nearest_known_one(self) -> None:
        for text, key, nearest in (
            ("[mehs]", "mesh.toml: mehs", "did you mean 'mesh'?"),
            ("[mesh]\nnetwork = []", "mesh.toml: mesh: network", "did you mean 'networks'?"),
            (workload(identiy="x"), "mesh.toml: workload 1 (['10.1.0.2']): identiy", "did you mean 'identity'?"),
        ):
            error = self.assertRaises(ConfigError, parse, text, "mesh.toml")
            self.assertEqual((error.key, error.problem, error.hint), (key, "unknown key", nearest))

    def test_a_key_that_resembles_none_lists_all(self) -> None:
        error = self.assertRaises(ConfigError, parse, "[mesh]\nzzz = 1", "mesh.toml")
        self.assertEqual(error.hint, "known: networks, nodes, pods, balancers")

    def test_the_same_prefix_twice(self) -> None:
        for second in ("10.1.0.2", "10.1.0.2/32", "::ffff:10.1.0.2"):
            self.assertMistake(
                json.dumps({"workload": [{"addresses": ["10.1.0.2"]}, {"addresses": [second], "identity": str(WEB)}]}),
                f"mesh.toml: workload 2 ({WEB}): addresses: 10.1.0.2/32 is there twice; keep one of the two",
            )

    def test_a_workload_outside_the_meshs_networks(self) -> None:
        text = '[mesh]\nnetworks = ["10.1.0.0/16", "fd00::/64"]\n[[workload]]\naddresses = ["10.2.0.1"]'
        self.assertMistake(
            text,
            "mesh.toml: workload 1 (['10.2.0.1']): addresses: 10.2.0.1/32 is outside mesh.networks; "
            "correct it, or add its network there",
        )

    def test_an_emptied_document_does_not_mean_plaintext(self) -> None:
        for text in ("", "\n# nothing\n", "{}", "opaque_ports = [25]", '[mesh]\nnetworks = ["10.0.0.0/8"]'):
            self.assertMistake(
                text, "mesh.toml: workload: there is none; list them, or write workload = [] if nobody is meshed"
            )

    def test_a_workload_without_addresses(self) -> None:
        error = self.assertRaises(ConfigError, parse, workload(addresses=[]), "mesh.toml")
        self.assertEqual(error.problem, "there are none")

    def test_values_of_the_wrong_kind(self) -> None:
        for text, problem in (
            ("mesh = 1", "is no table"),
            ("workload = [1]", "is no list of tables"),
            ("workload = {}", "is no list of tables"),
            ("opaque_ports = 80", "80 is no list"),
            ("opaque_ports = [0]", "0 is no port"),
            ("opaque_ports = [65536]", "65536 is no port"),
            ("opaque_ports = [true]", "True is no port"),
            ('opaque_ports = ["80-"]', "'' is no port"),
            ('opaque_ports = ["x"]', "'x' is no port"),
            ('opaque_ports = ["90-80"]', "'90-80' is no range of ports"),
            (workload(authority=1), "1 is no text"),
            (workload(inbound_port="x"), "'x' is no port"),
            (workload(addresses=[1]), "1 is no text"),
            (workload(addresses=["web"]), "'web' does not appear to be an IPv4 or IPv6 address"),
            (workload(addresses=["10.1.0.2/24"]), "10.1.0.2/24 has host bits set"),
            (workload(addresses=["::ffff:10.1.0.0/112"]), "::ffff:10.1.0.0/112 is IPv4 inside IPv6"),
        ):
            error = self.assertRaises(ConfigError, parse, text, "mesh.toml")
            self.assertEqual(error.problem, problem, text)

    def test_an_authority_that_no_leg_can_be_opened_with(self) -> None:
        for authority in ("web shop", "w\u00e9b", "web\n", "w" * 321):
            error = self.assertRaises(ConfigError, parse, workload(authority=authority), "mesh.toml")
            self.assertEqual(error.problem, f"{authority!r} is none")
        parse(workload(authority="w" * 320), "mesh.toml")

    def test_text_that_is_neither_toml_nor_json(self) -> None:
        endless = ("x = " + "[" * 100_000, '{"mesh": ' + "[" * 100_000, "x = " + "9" * 5_000)
        for text in ("[mesh", "{", '{"mesh": {}, "mesh": {}}', *endless):
            error = self.assertRaises(ConfigError, parse, text, "mesh.toml")
            self.assertEqual((error.key, error.hint), ("mesh.toml", "correct it there"))
