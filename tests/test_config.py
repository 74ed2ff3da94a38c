"""Configuration: three sources, one declaration, and mistakes told in one sentence."""

import os
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

from meshtx.config import (
    Endpoint,
    Forward,
    IdentityConfig,
    ProxyConfig,
    load,
    settings,
)
from meshtx.errors import ConfigError
from meshtx.pki.name import Name
from meshtx.proxy.introduction import Extra
from meshtx.proxy.policy import Mode
from meshtx.wire.address import Address
from tests.config_case import BOT, PEM, WEB, ConfigCase


class TestSources(ConfigCase):
    def test_defaults(self) -> None:
        config = load(ProxyConfig, self.proxy(), {})
        self.assertEqual(
            config,
            ProxyConfig(
                name=Name.parse(WEB),
                identity_address=Endpoint("identity.mesh", 8080),
                trust_anchors=PEM,
                token_file=self.folder / "token",
                directory_file=self.folder / "mesh.toml",
                inbound_listen=(Address.of("0.0.0.0", 4143),),
                outbound_listen=(Address.of("127.0.0.1", 4140),),
                tap_listen=Address.of("0.0.0.0", 4190),
                admin_listen=Address.of("0.0.0.0", 4191),
                inbound_policy=Mode.ALL_UNAUTHENTICATED,
                detectors=("http/1.1", "h2"),
                handshake_timeout=10.0,
                connect_timeout=3.0,
                tcp_user_timeout=30.0,
                directory_timeout=5.0,
                drain_timeout=30.0,
            ),
        )

    def test_nobody_may_tap_or_read_metrics_unless_told_so(self) -> None:
        config = load(ProxyConfig, self.proxy(), {})
        self.assertEqual(
            (config.tap_identity, config.metrics_identity, config.inbound_allow, config.admin_plaintext_metrics),
            ((), (), (), False),
        )

    def test_the_identity_services_defaults(self) -> None:
        config = load(IdentityConfig, self.identity(), {})
        self.assertEqual(
            config,
            IdentityConfig(
                listen=Address.of("0.0.0.0", 8080),
                admin_listen=Address.of("0.0.0.0", 9990),
                control_namespace="meshtx",
                trust_domain="cluster.local",
                issuer=self.folder,
                lifetime=timedelta(hours=24),
                validator="local",
                token_key_file=self.folder / "token.pub",
            ),
        )
        self.assertEqual(str(config.own_name), "meshtx-identity.meshtx.serviceaccount.identity.meshtx.cluster.local")

    def test_the_name_is_an_option(self) -> None:
        name = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"
        self.assertEqual(load(IdentityConfig, self.identity(name=name), {}).own_name, Name.parse(name))

    def test_flags_win_over_environment_over_file(self) -> None:
        file = self.file("proxy.toml", 'connect_timeout = "1s"\ndrain_timeout = "1s"\nhandshake_timeout = "1s"')
        environ = {"MESHTX_PROXY_DRAIN_TIMEOUT": "2s", "MESHTX_PROXY_HANDSHAKE_TIMEOUT": "2s"}
        config = load(ProxyConfig, self.proxy(handshake_timeout="3s"), environ, file)
        self.assertEqual((config.connect_timeout, config.drain_timeout, config.handshake_timeout), (1.0, 2.0, 3.0))

    def test_the_environment_names_the_file(self) -> None:
        file = self.file("proxy.toml", "mark = 1")
        self.assertEqual(load(ProxyConfig, self.proxy(), {"MESHTX_PROXY_CONFIG": str(file)}).mark, 1)

    def test_tomls_own_kinds(self) -> None:
        file = self.file(
            "proxy.toml",
            "admin_plaintext_metrics = true\nmark = 0x4143\nconnect_timeout = 1.5\n"
            f'tap_identity = ["{WEB}", "{BOT}"]\ninbound_listen = "0.0.0.0:1, [::]:1"',
        )
        config = load(ProxyConfig, self.proxy(), {}, file)
        self.assertEqual(
            (config.admin_plaintext_metrics, config.mark, config.connect_timeout, config.tap_identity),
            (True, 0x4143, 1.5, (Name.parse(WEB), Name.parse(BOT))),
        )
        self.assertEqual(config.inbound_listen, (Address.of("0.0.0.0", 1), Address.of("::", 1)))

    def test_an_empty_list_is_one(self) -> None:
        config = load(ProxyConfig, self.proxy(directory_file=""), {"MESHTX_PROXY_OUTBOUND_LISTEN": ""})
        self.assertEqual(config.outbound_listen, ())

    def test_a_path_is_where_the_program_was_started(self) -> None:
        relative = Path(self.mktemp())
        relative.write_text("x")
        config = load(ProxyConfig, self.proxy(token_file=str(relative)), {})
        self.assertEqual(config.token_file, Path.cwd() / relative)

    def test_every_setting_is_a_field_and_every_field_a_setting(self) -> None:
        for config in (ProxyConfig, IdentityConfig):
            self.assertEqual([each.key for each in settings(config)], [each.name for each in fields(config)])


class TestUnknown(ConfigCase):
    def test_a_key_of_the_file(self) -> None:
        file = self.file("proxy.toml", 'inbound_lisen = "x"')
        hint = self.assertMistake(ProxyConfig, {}, f"{file}: inbound_lisen", "unknown key", file=file)
        self.assertEqual(hint, "did you mean 'inbound_listen'?")

    def test_a_variable_of_the_environment(self) -> None:
        environ = {"MESHTX_PROXY_INBOUND_LISEN": "x"}
        hint = self.assertMistake(
            ProxyConfig, {}, "MESHTX_PROXY_INBOUND_LISEN", "unknown environment variable", environ
        )
        self.assertEqual(hint, "did you mean 'MESHTX_PROXY_INBOUND_LISTEN'?")

    def test_what_kubernetes_says_of_a_service_called_meshtx_identity_is_not_ours(self) -> None:
        environ = {
            "MESHTX_IDENTITY_SERVICE_HOST": "10.0.0.1",
            "MESHTX_IDENTITY_SERVICE_PORT": "8080",
            "MESHTX_IDENTITY_SERVICE_PORT_GRPC": "8080",
            "MESHTX_IDENTITY_PORT": "tcp://10.0.0.1:8080",
            "MESHTX_IDENTITY_PORT_8080_TCP_ADDR": "10.0.0.1",
            "MESHTX_PROXY_NAME": "another program's",
        }
        self.assertEqual(load(IdentityConfig, self.identity(), environ).listen, Address.of("0.0.0.0", 8080))

    def test_nor_is_what_it_says_of_one_whose_name_begins_like_ours(self) -> None:
        """Anybody may call a Service so in a namespace whose pods have sidecars."""
        link = {"MESHTX_PROXY_X_SERVICE_HOST": "10.0.0.1", "MESHTX_PROXY_X_PORT_80_TCP": "tcp://10.0.0.1:80"}
        load(ProxyConfig, self.proxy(), link)
        self.assertMistake(
            ProxyConfig, {}, "MESHTX_PROXY_X_PORT_80_TCP", "unknown environment variable", dict([link.popitem()])
        )

    def test_no_setting_is_taken_for_a_service(self) -> None:
        """Else a misspelt one would pass unseen, or a real one be Kubernetes' to set."""
        for config in (ProxyConfig, IdentityConfig):
            for each in settings(config):
                self.assertNotRegex(each.key.upper(), r"^(SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_\d.*)$")


class TestValues(ConfigCase):
    def test_each_mistake_names_the_place_and_a_value_that_is_right(self) -> None:
        zone = "has a zone, and only addresses that need none are taken"
        for key, text, problem in (
            ("inbound_listen", "4143", "'4143' is not ADDRESS:PORT"),
            ("tap_listen", "localhost:4190", "'localhost' does not appear to be an IPv4 or IPv6 address"),
            ("tap_listen", "0.0.0.0:65536", "port 65536 is outside 0-65535"),
            ("identity_address", "identity.mesh:x", "'x' is no port"),
            ("identity_address", "identity.mesh:0", "'0' is no port"),
            ("identity_address", "10.0.0:8080", "'10.0.0' does not appear to be an IPv4 or IPv6 address"),
            ("outbound_forward", "127.0.0.1:1", "'127.0.0.1:1' has no '='"),
            ("outbound_forward", "127.0.0.1:1=10.0.0.2:0", "'10.0.0.2:0': nobody listens on port 0"),
            ("identity_address", "127.0.0.1:0", "'127.0.0.1:0': nobody listens on port 0"),
            ("identity_address", "a..b:80", "'a..b' does not appear to be an IPv4 or IPv6 address"),
            ("identity_address", f"{'a' * 64}:80", f"{'a' * 64!r} does not appear to be an IPv4 or IPv6 address"),
            ("inbound_listen", "[fe80::1%eth0]:80", f"'fe80::1%eth0' {zone}"),
            ("node_networks", "fe80::1%eth0", f"'fe80::1%eth0' {zone}"),
            ("node_networks", "fe80::1%eth0/128", f"'fe80::1%eth0/128' {zone}"),
            ("proxy_protocol_from", "fe80::1%eth0=80", f"'fe80::1%eth0' {zone}"),
            ("detectors", "h2 x", "'h2 x' holds white space"),
            ("max_undecided", "9" * 19, "a number of 19 digits is too large"),
            ("max_undecided", "1.0", "'1.0' is no whole number"),
            ("proxy_protocol_from", "8080", "'8080' has no '=' and no port behind it"),
            ("proxy_protocol_from", "10.0.0.1/8=80", "10.0.0.1/8 has host bits set"),
            ("proxy_protocol_to", "http", "'http' is no port and no range of ports"),
            ("proxy_protocol_tlvs", "sni", "'sni' is none of alpn, authority, identity"),
            ("name", "web", "'web' is not SA.NS.serviceaccount.identity.CONTROL-NS.TRUST-DOMAIN"),
            ("inbound_policy", "all", "'all' is none of all-unauthenticated, all-authenticated, listed"),
            ("connect_timeout", "soon", "'soon' is no duration"),
            ("connect_timeout", "-1", "'-1' is no duration"),
            ("connect_timeout", "0s", "'0s' is no time at all"),
            ("connect_timeout", "inf", "'inf' is no duration"),
            ("mark", "0", "'0' is outside 1-0xffffffff"),
            ("mark", "4294967296", "'4294967296' is outside 1-0xffffffff"),
            ("admin_plaintext_metrics", "maybe", "'maybe' is neither true nor false"),
            ("trust_anchors", "MIIB", "it holds no '-----BEGIN CERTIFICATE-----'"),
        ):
            variable = f"MESHTX_PROXY_{key.upper()}"
            hint = self.assertMistake(ProxyConfig, {}, variable, problem, environ={variable: text})
            self.assertTrue(hint.startswith("write "), hint)

    def test_a_duration_that_is_too_long_or_too_short(self) -> None:
        """No date could be computed from it."""
        for text in ("36525d1s", "99999999999d", "9" * 400):
            hint = self.assertMistake(
                IdentityConfig, self.identity(lifetime=text), "--lifetime", f"{text!r} is longer than 100 years"
            )
            self.assertEqual(hint, "write DURATION, such as 24h")
        load(IdentityConfig, self.identity(lifetime="36525d"), {})
        self.assertMistake(IdentityConfig, self.identity(lifetime="14s"), "lifetime", "shorter than 15 s")

    def test_a_path_with_a_nul(self) -> None:
        self.assertMistake(ProxyConfig, self.proxy(token_file="a\0b"), "--token-file", "the path holds a NUL")

    def test_an_empty_value_is_a_value(self) -> None:
        """Above all it is not the default: an unset shell variable must not open anything."""
        for key in ("inbound_policy", "name", "tap_listen", "mark", "token_file", "admin_plaintext_metrics"):
            variable = f"MESHTX_PROXY_{key.upper()}"
            error = self.assertRaises(ConfigError, load, ProxyConfig, {}, {variable: ""})
            self.assertEqual(error.key, variable)
        self.assertRaises(ConfigError, load, IdentityConfig, self.identity(), {"MESHTX_IDENTITY_VALIDATOR": ""})
        error = self.assertRaises(ConfigError, load, ProxyConfig, self.proxy(), {"MESHTX_PROXY_CONFIG": ""})
        self.assertEqual(error.key, "MESHTX_PROXY_CONFIG")

    def test_durations(self) -> None:
        for text, seconds in (("90s", 90), ("1h30m", 5400), ("2d", 172800), ("0.5s", 0.5), ("15", 15), ("1.5", 1.5)):
            config = load(ProxyConfig, self.proxy(drain_timeout=text), {})
            self.assertEqual(config.drain_timeout, seconds, text)

    def test_words_for_yes_and_no(self) -> None:
        for text, meant in (("true", True), ("Yes", True), ("on", True), ("1", True), ("false", False), ("NO", False)):
            config = load(ProxyConfig, self.proxy(admin_plaintext_metrics=text), {})
            self.assertIs(config.admin_plaintext_metrics, meant)

    def test_endpoints_and_forwards_print_as_they_are_written(self) -> None:
        for text in ("identity.mesh:8080", "10.0.0.1:8080", "[fd00::1]:8080", "localhost:1"):
            self.assertEqual(str(Endpoint.parse(text)), text)
        self.assertEqual(str(Forward.parse("127.0.0.1:1=[fd00::1]:2")), "127.0.0.1:1=[fd00::1]:2")

    def test_balancers_and_whom_they_lead_to(self) -> None:
        flags = self.proxy(proxy_protocol_from="10.0.0.0/24=8080,fd00::9=80-90", proxy_protocol_to="8080,90-99")
        config = load(ProxyConfig, flags, {"MESHTX_PROXY_PROXY_PROTOCOL_TLVS": ""})
        self.assertEqual([str(each) for each in config.proxy_protocol_from], ["10.0.0.0/24=8080", "fd00::9/128=80-90"])
        self.assertEqual([str(each) for each in config.proxy_protocol_to], ["8080", "90-99"])
        self.assertEqual(config.proxy_protocol_tlvs, ())

    def test_no_balancer_is_believed_and_no_workload_told_unless_told_so(self) -> None:
        config = load(ProxyConfig, self.proxy(), {})
        self.assertEqual((config.proxy_protocol_from, config.proxy_protocol_to), ((), ()))
        self.assertEqual(config.proxy_protocol_tlvs, tuple(Extra))

    def test_a_table_is_no_value(self) -> None:
        file = self.file("proxy.toml", "[mark]")
        self.assertMistake(ProxyConfig, {}, f"{file}: mark", "{} is no text, number or list", file=file)


class TestFiles(ConfigCase):
    def test_a_configuration_file_that_is_not_there(self) -> None:
        file = self.folder / "none.toml"
        self.assertMistake(ProxyConfig, {}, str(file), "no such file or directory", file=file)

    def test_a_configuration_file_that_is_no_toml(self) -> None:
        file = self.file("proxy.toml", "x")
        for text in ("x", "x = " + "9" * 5_000, "x = " + "[" * 100_000):
            file.write_text(text)
            error = self.assertRaises(ConfigError, load, ProxyConfig, {}, {}, file)
            self.assertEqual((error.key, error.hint), (str(file), "correct the TOML there"))

    def test_a_byte_order_mark_says_nothing(self) -> None:
        file = self.file("proxy.toml", '\ufeffdrain_timeout = "1s"\r\n')
        self.assertEqual(load(ProxyConfig, self.proxy(), {}, file).drain_timeout, 1.0)

    def test_a_file_s_content_in_the_place_of_its_path_is_told_in_one_line(self) -> None:
        error = self.assertRaises(ConfigError, load, ProxyConfig, {}, {"MESHTX_PROXY_TRUST_ANCHORS_FILE": PEM})
        self.assertIn("CERTIFICATE-----\\nMIIB\\n-----END", str(error))
        self.assertNotIn("\n", str(error))
        file = self.file("proxy.toml", '"a\\nb" = 1')
        self.assertIn(": a\\nb: unknown key", str(self.assertRaises(ConfigError, load, ProxyConfig, {}, {}, file)))

    def test_every_file_must_be_there_at_the_start(self) -> None:
        keys = [(config, each.key) for config in (ProxyConfig, IdentityConfig) for each in settings(config)]
        keys = [(config, key) for config, key in keys if key.endswith(("_file", "_folder")) or key == "issuer"]
        self.assertEqual(len(keys), 12)
        for config, key in keys:
            path = self.folder / "none"
            hint = self.assertMistake(
                config, {key: str(path)}, "--" + key.replace("_", "-"), f"{path}: no such file or directory"
            )
            self.assertEqual(hint, "name one that exists and that this user may read")

    def test_a_file_that_may_not_be_read(self) -> None:
        self.patch(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        token = self.folder / "token"
        token.touch()
        self.patch(os, "geteuid", lambda: 2102)
        problem = f"{token}: permission denied to user 2102"
        hint = self.assertMistake(ProxyConfig, {"token_file": str(token)}, "--token-file", problem)
        self.assertEqual(
            hint, f"run 'chown 2102 {token}' as root, and let that user enter its folder, or name another file"
        )
