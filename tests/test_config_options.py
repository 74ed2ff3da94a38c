"""The options of the twistd commands, made from the declaration of their settings."""

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

from twisted.python import usage

from meshtx.config import ConfigOptions, IdentityConfig, ProxyConfig, load, options_class, settings
from meshtx.config_load import ProgramConfig
from meshtx.errors import ConfigError
from meshtx.pki.name import Name
from tests.config_case import BOT, WEB, ConfigCase


class TestOptions(ConfigCase):
    def options(self, config: type[ProgramConfig], environ: Mapping[str, str] = {}) -> ConfigOptions[ProgramConfig]:
        made = options_class(config)
        self.patch(made, "environ", environ)
        return made()

    def arguments(self, flags: Mapping[str, str]) -> list[str]:
        return [f"--{key.replace('_', '-')}={text}" for key, text in flags.items()]

    def test_help_lists_each_setting_with_its_variable_key_and_default(self) -> None:
        self.patch(usage.os, "environ", {"COLUMNS": "10000"})
        for config in (ProxyConfig, IdentityConfig):
            out = io.StringIO()
            with redirect_stdout(out):
                stopped = self.assertRaises(SystemExit, self.options(config).parseOptions, ["--help"])
            self.assertEqual(stopped.code, 0)
            lines = out.getvalue().splitlines()
            for each in settings(config):
                line = next(line for line in lines if line.strip().startswith((each.flag + "=", each.flag + " ")))
                default = f"; default {each.default}" if each.default else ""
                self.assertIn(f"[{each.variable}, TOML {each.key}{default}]", line)
                self.assertIn(each.help, line)
            self.assertIn(f"[{config.prefix}CONFIG]", out.getvalue())

    def test_version_is_ours(self) -> None:
        out = io.StringIO()
        with redirect_stdout(out):
            self.assertRaises(SystemExit, self.options(ProxyConfig).parseOptions, ["--version"])
        self.assertTrue(out.getvalue().startswith("meshtx "))

    def test_what_was_parsed_is_the_configuration(self) -> None:
        options = self.options(ProxyConfig)
        options.parseOptions(self.arguments(self.proxy()))
        self.assertEqual(options.config, load(ProxyConfig, self.proxy(), {}))

    def test_a_list_may_come_in_several_flags(self) -> None:
        options = self.options(ProxyConfig)
        repeated = [f"--tap-identity={WEB}", f"--tap-identity={BOT}", "--admin-plaintext-metrics"]
        options.parseOptions([*self.arguments(self.proxy()), *repeated])
        names = (Name.parse(WEB), Name.parse(BOT))
        expected = replace(load(ProxyConfig, self.proxy(), {}), tap_identity=names, admin_plaintext_metrics=True)
        self.assertEqual(options.config, expected)

    def test_the_last_of_several_flags_counts(self) -> None:
        options = self.options(IdentityConfig)
        options.parseOptions([*self.arguments(self.identity()), "--lifetime=1h", "--lifetime=2h"])
        self.assertEqual(options.config, load(IdentityConfig, self.identity(lifetime="2h"), {}))

    def test_a_file_by_flag(self) -> None:
        file = self.file("identity.toml", f'issuer = "{self.folder}"\nvalidator = "other"')
        options = self.options(IdentityConfig, {"MESHTX_IDENTITY_CONFIG": "/nowhere"})
        options.parseOptions([f"--config={file}"])
        self.assertEqual(options.config, load(IdentityConfig, {}, {}, file))

    def mistake(self, config: type[ProgramConfig], *arguments: str) -> str:
        """Return what a mistake ends the program with."""
        err = io.StringIO()
        with redirect_stderr(err), redirect_stdout(err):
            stopped = self.assertRaises(SystemExit, self.options(config).parseOptions, arguments)
        self.assertEqual(stopped.code, 2)
        return err.getvalue()

    def test_a_mistake_is_one_sentence_without_the_pages_of_help(self) -> None:
        for arguments in (["--lifetime=soon"], ["--lifetim=1h", "--issue"], ["surplus"], ["--unknown"], []):
            self.assertRegex(self.mistake(IdentityConfig, *arguments), r"\Ameshidentity: [^\n]+\n\Z")

    def test_a_misspelt_option_names_the_nearest(self) -> None:
        for argument, message in (
            ("--inbound-lisen=x", "option --inbound-lisen not recognized; did you mean '--inbound-listen'?"),
            ("--mark", "option --mark requires argument"),
        ):
            self.assertEqual(self.mistake(ProxyConfig, argument), f"meshproxy: {message}\n")

    def test_an_empty_file_name_is_a_mistake(self) -> None:
        said = self.mistake(ProxyConfig, *self.arguments(self.proxy()), "--config=")
        problem = "the path is empty; write FILE, such as /etc/meshtx/meshtx.toml"
        self.assertEqual(said, f"meshproxy: --config: {problem}\n")
        error = self.assertRaises(ConfigError, load, ProxyConfig, {}, {"MESHTX_PROXY_CONFIG": ""})
        self.assertEqual(str(error), f"MESHTX_PROXY_CONFIG: {problem}")

    def test_what_belongs_to_no_option_is_named(self) -> None:
        self.assertEqual(
            self.mistake(ProxyConfig, "--admin-plaintext-metrics", "true"),
            "meshproxy: 'true': belongs to no option; write --option=value, or --option for a flag\n",
        )
