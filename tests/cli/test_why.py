"""`meshtx why`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.why import command
from meshtx.errors import ConfigError

BOT = "vote-bot.shop.serviceaccount.identity.meshtx.cluster.local"
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
            " via=10.1.0.2:4143\n"
            "  The destination's policy is not known here; --config and --from judge by it.\n",
        )

    def judged(self, destination: str, *settings: str) -> tuple[int, str]:
        """Return status and answer with a proxy at the destination that was told so, for the client vote-bot."""
        config = Path(self.mktemp())
        config.write_text("\n".join(settings))
        arguments = ["--directory-file", str(self.file), "--config", str(config), "--from", BOT]
        result = CliRunner().invoke(command, [destination, *arguments])
        return result.exit_code, result.output

    def test_the_destination_s_policy_judges_as_its_proxy_would(self) -> None:
        listed = 'inbound_policy = "listed"'
        nameless = "policy all-authenticated, and the peer proved no name: no_tls_from_remote"
        for destination, settings, answer in (
            ("10.1.0.2:80", [], (0, " policy=allowed\n")),
            ("10.1.0.2:80", ['inbound_policy = "all-authenticated"'], (0, " policy=allowed\n")),
            ("10.1.0.2:80", [listed, f'inbound_allow = ["{BOT}"]'], (0, " policy=allowed\n")),
            ("10.1.0.2:80", [listed], (1, f" policy=denied reason=no_rule\n  {BOT} is not listed\n")),
            (
                "10.1.0.9:80",
                ['inbound_policy = "all-authenticated"'],
                (1, f" policy=denied reason=no_rule\n  {nameless}\n"),
            ),
        ):
            status, said = self.judged(destination, *settings)
            self.assertEqual((status, said.partition(" policy=")[2]), (answer[0], answer[1].partition(" policy=")[2]))

    def test_a_policy_is_asked_about_a_client(self) -> None:
        self.assertIn("--config and --from belong together", self.why("10.1.0.2:80", "--from", BOT))
        self.assertIn("--config and --from belong together", self.why("10.1.0.2:80", "--config", str(self.file)))

    def test_a_proxy_s_file_is_judged_by_its_keys(self) -> None:
        config = Path(self.mktemp())
        config.write_text("inbound_polici = 'listed'")
        with self.assertRaisesRegex(ConfigError, "did you mean 'inbound_policy'"):
            self.why("10.1.0.2:80", "--config", str(config), "--from", BOT)

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
