"""`meshtx redirect`: what it prints, and the rules that it makes of its options."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.redirect import command
from meshtx.errors import ConfigError
from meshtx.net import redirect
from meshtx.net.redirect import RedirectRules, render
from meshtx.wire.ports import PortRange


class RedirectTests(SynchronousTestCase):
    def run_command(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments)

    def test_every_option_reaches_the_rules(self) -> None:
        options = (
            "--inbound-port 1143 --outbound-port 1140 --proxy-uid 5 --proxy-gid 6 --proxy-mark 0x4d --own-ports 9001 "
            "--skip-inbound 22,8000-8099 --skip-outbound 53 --skip-sources 10.0.0.0/8,fd00::/8 "
            "--skip-destinations 192.0.2.1 --table other"
        )
        rules = RedirectRules(
            inbound_port=1143,
            outbound_port=1140,
            uid=5,
            gid=6,
            mark=0x4D,
            own_ports=(PortRange(9001, 9001),),
            skip_inbound=(PortRange(22, 22), PortRange(8000, 8099)),
            skip_outbound=(PortRange(53, 53),),
            skip_sources=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
            skip_destinations=(ip_network("192.0.2.1"),),
            table="other",
        )
        result = self.run_command("apply", "--dry-run", *options.split())
        self.assertEqual((result.exit_code, result.stdout), (0, render(rules)))
        spaced = self.run_command("apply", "--dry-run", *(each.replace(",", " , ") for each in options.split()))
        self.assertEqual(spaced.stdout, result.stdout)

    def test_the_defaults_are_those_of_the_rules(self) -> None:
        result = self.run_command("apply", "--dry-run", "--proxy-uid", "2102")
        self.assertEqual(result.stdout, render(RedirectRules(uid=2102)))

    def test_a_proxy_s_file_tells_its_ports_and_its_mark(self) -> None:
        file = Path(self.mktemp())
        file.write_text(
            'inbound_listen = ["0.0.0.0:1143", "[::]:1143"]\noutbound_listen = "127.0.0.1:1140"\n'
            'tap_listen = "0.0.0.0:9002"\nadmin_listen = "0.0.0.0:9001"\nmark = 0x4d\n'
            'token_file = "/not/here"\n'
        )
        own = (PortRange(9001, 9001), PortRange(9002, 9002))
        rules = RedirectRules(inbound_port=1143, outbound_port=1140, mark=0x4D, own_ports=own)
        result = self.run_command("apply", "--dry-run", "--config", str(file))
        self.assertEqual((result.exit_code, result.stdout), (0, render(rules)))
        rules = RedirectRules(inbound_port=1144, outbound_port=1140, mark=0x4D, own_ports=(PortRange(7, 7),))
        result = self.run_command("apply", "--dry-run", "--config", str(file), "--inbound-port=1144", "--own-ports=7")
        self.assertEqual(result.stdout, render(rules))

    def test_a_proxy_with_two_inbound_ports_or_none_is_no_one_s_to_be_led_to(self) -> None:
        file = Path(self.mktemp())
        for listeners, number in (('"0.0.0.0:1,0.0.0.0:2"', 2), ("[]", 0)):
            file.write_text(f"inbound_listen = {listeners}\n")
            error = self.run_command("apply", "--proxy-uid=5", "--dry-run", "--config", str(file)).exception
            self.assertIsInstance(error, ConfigError)
            self.assertIn(f"inbound_listen: {number} ports, and the redirect leads to one", str(error))

    def test_a_dry_run_changes_nothing_and_apply_does(self) -> None:
        applied: list[RedirectRules] = []
        self.patch(redirect, "apply", applied.append)
        self.run_command("apply", "--proxy-uid", "1", "--dry-run")
        self.assertEqual(applied, [])
        result = self.run_command("apply", "--proxy-uid", "1")
        self.assertEqual(
            (applied, result.stdout), ([RedirectRules(uid=1)], "table=meshtx inbound=4143 outbound=4140\n")
        )

    def test_an_option_that_cannot_be_read_is_a_usage_error(self) -> None:
        for option, value, problem in (
            ("--skip-inbound", "22,http", "'http' is no port and no range of ports"),
            ("--skip-sources", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
            ("--skip-sources", "::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104 is IPv4 inside IPv6"),
            ("--skip-sources", "fe80::1%eth0", "'fe80::1%eth0' has a zone"),
            ("--proxy-mark", "red", "'red' is no number"),
        ):
            result = self.run_command("apply", "--proxy-uid", "1", option, value)
            self.assertEqual(result.exit_code, 2)
            self.assertIn(problem, result.stderr)

    def test_rules_without_the_proxys_own_traffic_are_an_error_of_configuration(self) -> None:
        self.assertIsInstance(self.run_command("apply").exception, ConfigError)

    def test_show_and_remove_say_what_there_is_and_was(self) -> None:
        self.patch(redirect, "show", {"meshtx": "table inet meshtx {\n}\n"}.get)
        self.patch(redirect, "remove", {"meshtx": True}.get)
        for arguments, status, printed in (
            (["show"], 0, "table inet meshtx {\n}\n"),
            (["show", "--table", "other"], 1, "no redirect\n"),
            (["remove"], 0, "table=meshtx removed\n"),
            (["remove", "--table", "other"], 0, "no redirect\n"),
        ):
            result = self.run_command(*arguments)
            self.assertEqual((result.exit_code, result.stdout), (status, printed))
