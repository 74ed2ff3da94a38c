from __future__ import annotations

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli import unit
from meshtx.services import units


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(units, "_script", "/opt/meshtx/bin/{}".format)

    def printed(self, *arguments: str) -> str:
        result = CliRunner().invoke(unit.command, arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def test_each_is_printed_with_what_the_readme_names(self) -> None:
        for arguments, part in (
            (["proxy"], "meshproxy --config=/etc/meshtx/proxy.toml --token-file=%d/token"),
            (["proxy", "--certificate-files"], "meshproxy --config=/etc/meshtx/proxy.toml\n"),
            (["identity"], "LoadCredential=tls.key:/etc/meshtx/ca/issuer/tls.key\n"),
            (["identity", "--ca", "/ca", "--config", "/i.toml"], "token.pub --config=/i.toml\n"),
        ):
            self.assertIn(part, self.printed(*arguments))
        self.assertEqual(self.printed("sysusers"), units.SYSUSERS)

    def test_the_redirect_takes_the_options_of_redirect_apply(self) -> None:
        for arguments, part in (
            ([], "redirect apply --proxy-uid 2102\n"),
            (["--skip-inbound", "22,8080"], "redirect apply --proxy-uid 2102 --skip-inbound 22,8080\n"),
            (["--proxy-mark=77", "--table", "mesh"], "redirect apply --proxy-mark=77 --table mesh\n"),
        ):
            self.assertIn(part, self.printed("redirect", *arguments))
        self.assertIn("redirect remove --table mesh\n", self.printed("redirect", "--table", "mesh"))

    def test_rules_that_could_not_be_applied_are_refused_when_they_are_printed(self) -> None:
        for wrong in (["--skip-inbound", "ssh"], ["--proxy-user", "a"], ["--inbound-port", "0"], ["more"]):
            self.assertNotEqual(CliRunner().invoke(unit.command, ["redirect", *wrong]).exit_code, 0)
