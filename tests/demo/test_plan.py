"""Who is in the demo's mesh, as its sidecars and its verdict are told."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo import needs, plan
from meshtx.demo.plan import BOT, EMOJI, OUTSIDE, VOTING, WEB
from meshtx.directory import document
from meshtx.directory.target import Meshed
from meshtx.errors import ConfigError
from meshtx.wire.address import Address

ADDRESSES = {name: f"10.1.0.{last}" for name, last in plan.ADDRESSES.items()}


class PlanTests(SynchronousTestCase):
    def test_the_directory_knows_the_meshed_and_no_others(self) -> None:
        table = document.parse(plan.directory(ADDRESSES, (WEB, EMOJI), 4321), "mesh.toml")
        for workload in (WEB, EMOJI, VOTING, OUTSIDE):
            target = table.find(Address(ip_address(ADDRESSES[workload.name]), 80))
            expected = workload.identity if workload in {WEB, EMOJI} else None
            found = target.security.name if isinstance(target.security, Meshed) else None
            self.assertEqual(found, expected)

    def test_who_asks_whom(self) -> None:
        pairs = [(pair.client.name, pair.server.name, pair.meshed) for pair in plan.pairs(ADDRESSES)]
        self.assertEqual(
            pairs,
            [("vote-bot", "web", True), ("outside", "web", False), ("web", "emoji", True), ("web", "voting", True)],
        )
        self.assertEqual(plan.asked_by(WEB), [EMOJI, VOTING])
        self.assertEqual((plan.asked_by(BOT), plan.asked_by(EMOJI)), ([WEB], []))

    def test_the_examples_are_found_or_missed_in_one_sentence(self) -> None:
        self.assertTrue((plan.examples() / "web.py").is_file())
        self.patch(plan, "__file__", "/nowhere/meshtx/demo/plan.py")
        self.patch(plan.sysconfig, "get_path", lambda _name: "/nowhere")
        self.assertRaisesRegex(ConfigError, "^demo: the example services are neither in .*; install", plan.examples)


class NeedsTests(SynchronousTestCase):
    def test_all_is_there(self) -> None:
        needs.check(["curl"])

    def test_what_is_missing_is_named_with_its_packages(self) -> None:
        self.patch(needs.shutil, "which", lambda program, path: None if program in {"nft", "ip"} else program)
        error = self.assertRaises(ConfigError, needs.check, ["curl", "ip", "nft"])
        self.assertEqual(str(error), "demo: needs ip, nft; install iproute2, nftables")

    def test_without_grpcio(self) -> None:
        self.patch(needs, "find_spec", lambda _name: None)
        error = self.assertRaises(ConfigError, needs.check, ["curl"])
        self.assertEqual(str(error), "demo: its services need grpcio; install meshtx[demo]")
