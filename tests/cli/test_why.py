"""`meshtx why`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.why import command
from meshtx.errors import ConfigError

MESH = """
skip_outbound_ports = [25]
[[workload]]
addresses = ["10.1.0.2"]
identity = "web.shop.serviceaccount.identity.meshtx.cluster.local"
authority = "web.shop"
opaque_ports = [5432]
[[workload]]
addresses = ["10.1.0.8"]
"""


class WhyTests(SynchronousTestCase):
    """What is said of a destination."""

    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.file.write_text(MESH)

    def why(self, *arguments: str) -> str:
        result = CliRunner().invoke(command, [*arguments, "--directory-file", str(self.file)], catch_exceptions=False)
        return result.output

    def test_a_meshed_destination_is_named(self) -> None:
        self.assertEqual(
            self.why("10.1.0.2:80"),
            "dst=10.1.0.2:80 authority=web.shop tls=true peer=web.shop.serviceaccount.identity.meshtx.cluster.local"
            " via=10.1.0.2:4143\n",
        )

    def test_an_unmeshed_destination_gets_its_reason_and_a_hint(self) -> None:
        """The hint is as true of an address without an entry as of one whose entry has no identity."""
        for address in ("10.1.0.9", "10.1.0.8"):
            self.assertEqual(
                self.why(f"{address}:5432"),
                f"dst={address}:5432 tls=not_provided_by_service_discovery\n"
                f"  No entry of {self.file} gives {address} an identity; give it one there.\n",
            )

    def test_a_skipped_port_is_told(self) -> None:
        self.assertIn("tls=port_skipped", self.why("10.1.0.2:25"))

    def test_an_opaque_port_is_told(self) -> None:
        self.assertIn(" opaque=true tls=true ", self.why("10.1.0.2:5432"))

    def test_programs_get_json(self) -> None:
        web = {
            "authority": "web.shop",
            "tls": "true",
            "peer": "web.shop.serviceaccount.identity.meshtx.cluster.local",
            "via": "10.1.0.2:4143",
        }
        for destination, facts in (
            ("10.1.0.2:80", {**web, "opaque": False}),
            ("10.1.0.2:5432", {**web, "opaque": True}),
            ("10.1.0.9:80", {"authority": None, "opaque": False, "tls": "not_provided_by_service_discovery"}),
        ):
            said = json.loads(self.why(destination, "-o", "json"))
            self.assertEqual(said, {"dst": destination, **facts})

    def test_what_is_no_address_is_a_usage_error(self) -> None:
        self.assertIn("is not ADDRESS:PORT", self.why("web"))

    def test_a_missing_file_is_one_sentence(self) -> None:
        self.file.unlink()
        with self.assertRaisesRegex(ConfigError, "name a directory file that can be read"):
            self.why("10.1.0.2:80")

    def test_a_file_that_is_no_text_is_one_sentence(self) -> None:
        self.file.write_bytes(b"\xff\xfe")
        with self.assertRaisesRegex(ConfigError, "write it in UTF-8"):
            self.why("10.1.0.2:80")
