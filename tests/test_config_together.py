"""What the settings of a program must be together: what one needs, excludes or contradicts."""

from meshtx.config import (
    Endpoint,
    IdentityConfig,
    ProxyConfig,
    load,
    settings,
)
from meshtx.config_load import ProgramConfig
from meshtx.errors import ConfigError
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.kube.settings.injector import InjectorConfig
from meshtx.kube.settings.install import InstallConfig
from meshtx.net.dial import LONGEST
from meshtx.pki.name import Name
from tests.config_case import BOT, ConfigCase


class TestTogether(ConfigCase):
    def test_trust_anchors_are_needed_once(self) -> None:
        key = "trust_anchors, trust_anchors_file"
        self.assertMistake(ProxyConfig, self.proxy(trust_anchors=""), key, "neither is set")
        both = self.proxy(trust_anchors_file=str(self.file("ca.crt")))
        self.assertMistake(ProxyConfig, both, key, "both are set")

    def test_a_certificate_comes_from_somewhere(self) -> None:
        self.assertMistake(
            ProxyConfig,
            self.proxy(identity_address=""),
            "identity_address",
            "nothing says where the certificate comes from",
        )

    def test_the_identity_service_wants_a_name_and_a_token(self) -> None:
        for key in ("name", "token_file"):
            self.assertMistake(ProxyConfig, self.proxy(**{key: ""}), key, "not set")

    def test_a_certificate_from_files_has_two_and_no_service(self) -> None:
        files = {
            "certificate_file": str(self.file("web.crt")),
            "key_file": str(self.file("web.key")),
            "token_file": "",
            "identity_address": "",
            "name": "",
        }
        config = load(ProxyConfig, self.proxy(**files), {})
        self.assertEqual((config.certificate_file, config.key_file), (self.folder / "web.crt", self.folder / "web.key"))
        for key in ("certificate_file", "key_file"):
            self.assertMistake(ProxyConfig, self.proxy(**{**files, key: ""}), key, "not set")
        self.assertMistake(
            ProxyConfig,
            self.proxy(**{**files, "identity_address": "a:1"}),
            "certificate_file, identity_address",
            "both are set",
        )
        for key, path in (("token_file", str(self.file("token"))), ("key_folder", str(self.folder))):
            self.assertUnread(ProxyConfig, {**files, key: path}, key, "identity_address")

    def assertUnread(self, config: type[ProgramConfig], changes: dict[str, str], key: str, needs: str) -> None:
        flags = self.proxy(**changes) if config is ProxyConfig else self.identity(**changes)
        place = "--" + key.replace("_", "-")
        hint = self.assertMistake(config, flags, place, f"nothing reads it without {needs}")
        self.assertEqual(hint, f"set {needs}, or remove it")

    def test_only_the_listed_policy_reads_a_list(self) -> None:
        listed = load(ProxyConfig, self.proxy(inbound_policy="listed", inbound_allow=BOT), {})
        self.assertEqual(listed.inbound_allow, (Name.parse(BOT),))
        self.assertUnread(ProxyConfig, {"inbound_allow": BOT}, "inbound_allow", "inbound_policy=listed")

    def test_what_nothing_reads_is_refused_by_the_place_where_it_is_given(self) -> None:
        file = self.file("proxy.toml", 'directory_timeout = "1s"')
        problem = "nothing reads it without directory_address"
        self.assertMistake(ProxyConfig, self.proxy(), f"{file}: directory_timeout", problem, file=file)
        environ = {"MESHTX_PROXY_DIRECTORY_NAME": BOT}
        self.assertMistake(ProxyConfig, self.proxy(), "MESHTX_PROXY_DIRECTORY_NAME", problem, environ=environ)
        self.assertUnread(ProxyConfig, {"proxy_protocol_tlvs": "alpn"}, "proxy_protocol_tlvs", "proxy_protocol_to")
        outbound = {"MESHTX_PROXY_INBOUND_LISTEN": ""}
        for key, text, needs in (
            ("inbound_policy", "all-authenticated", "inbound_listen or inbound_forward"),
            ("gateways", BOT, "inbound_listen or inbound_forward"),
            ("node_networks", "10.0.0.0/8", "inbound_listen or inbound_forward or outbound_forward"),
        ):
            self.assertMistake(
                ProxyConfig,
                self.proxy(**{key: text}),
                "--" + key.replace("_", "-"),
                f"nothing reads it without {needs}",
                environ=outbound,
            )

    def test_what_is_given_empty_asks_for_nothing(self) -> None:
        load(ProxyConfig, {**self.proxy(), "inbound_allow": "", "proxy_protocol_tlvs": ""}, {})

    def test_what_reads_a_setting_is_a_setting_of_the_same_program(self) -> None:
        for config in (ProxyConfig, IdentityConfig, DirectoryConfig, InjectorConfig, InstallConfig):
            known = {each.key: each for each in settings(config)}
            for need in (need for each in known.values() for need in each.needs):
                key, equals, text = need.partition("=")
                if equals:
                    known[key].kind.parse(text)
                self.assertIn(key, known)

    def test_outbound_connections_need_a_directory(self) -> None:
        without = self.proxy(directory_file="")
        key, problem = "directory_file, directory_address", "neither is set, and outbound connections need a directory"
        self.assertMistake(ProxyConfig, without, key, problem)
        empty = {"MESHTX_PROXY_OUTBOUND_LISTEN": ""}
        self.assertIsNone(load(ProxyConfig, without, empty).directory_file)
        forward = {**without, "outbound_forward": "127.0.0.1:8001=10.0.0.1:80"}
        self.assertMistake(ProxyConfig, forward, key, problem, environ=empty)

    def test_there_is_one_directory(self) -> None:
        both = self.proxy(directory_address="directory.mesh:8086")
        self.assertMistake(ProxyConfig, both, "directory_file, directory_address", "both are set")
        config = load(ProxyConfig, self.proxy(directory_file="", directory_address="directory.mesh:8086"), {})
        self.assertEqual(config.directory_address, Endpoint("directory.mesh", 8086))
        self.assertEqual(
            str(config.directory_name), "meshtx-directory.meshtx.serviceaccount.identity.meshtx.cluster.local"
        )

    def test_a_proxy_listens_somewhere(self) -> None:
        environ = {"MESHTX_PROXY_OUTBOUND_LISTEN": "", "MESHTX_PROXY_INBOUND_LISTEN": ""}
        self.assertMistake(
            ProxyConfig, self.proxy(), "inbound_listen, outbound_listen", "both are empty", environ=environ
        )

    def test_two_listeners_at_one_address(self) -> None:
        problem = "2 listeners have this address"
        self.assertMistake(ProxyConfig, self.proxy(tap_listen="0.0.0.0:4143"), "0.0.0.0:4143", problem)
        forward = self.proxy(outbound_forward="127.0.0.1:4140=10.0.0.1:80")
        self.assertMistake(ProxyConfig, forward, "127.0.0.1:4140", problem)
        self.assertMistake(IdentityConfig, self.identity(admin_listen="0.0.0.0:8080"), "0.0.0.0:8080", problem)

    def test_one_listener_at_all_addresses_and_one_at_one_of_them(self) -> None:
        for all_of_them, one in (("0.0.0.0:4191", "127.0.0.1:4191"), ("[::]:4191", "[::1]:4191")):
            for tap, admin in ((all_of_them, one), (one, all_of_them)):
                flags = self.proxy(tap_listen=tap, admin_listen=admin)
                self.assertMistake(ProxyConfig, flags, one, f"another listener has all of {all_of_them}")
        load(ProxyConfig, self.proxy(tap_listen="0.0.0.0:4191", admin_listen="[::1]:4191"), {})

    def test_any_free_port_may_be_asked_for_twice(self) -> None:
        config = load(ProxyConfig, self.proxy(tap_listen="127.0.0.1:0", admin_listen="127.0.0.1:0"), {})
        self.assertEqual(config.tap_listen, config.admin_listen)

    def test_clients_must_know_the_port_of_an_inbound_forward(self) -> None:
        forward = self.proxy(inbound_forward="10.0.0.1:0=127.0.0.1:80")
        self.assertMistake(ProxyConfig, forward, "inbound_forward", "port 0 is none that clients know")

    def test_an_inbound_forward_s_port_leads_to_one_destination(self) -> None:
        forwards = "10.0.0.1:8080=127.0.0.1:80,10.0.0.2:8080=127.0.0.1:{}"
        load(ProxyConfig, self.proxy(inbound_forward=forwards.format(80)), {})
        self.assertMistake(
            ProxyConfig,
            self.proxy(inbound_forward=forwards.format(81)),
            "inbound_forward",
            "port 8080 leads to 127.0.0.1:80 and to 127.0.0.1:81",
        )

    def test_a_connection_is_waited_for_as_long_as_dials_last(self) -> None:
        self.assertEqual(load(ProxyConfig, self.proxy(connect_timeout="8s"), {}).connect_timeout, LONGEST)
        hint = self.assertMistake(
            ProxyConfig,
            self.proxy(connect_timeout="8.5s"),
            "--connect-timeout",
            "longer than 8s, behind which no SYN goes out before the fifteenth second",
        )
        self.assertEqual(hint, "write DURATION of 8s or less, such as 3s")

    def test_an_identity_service_needs_an_issuer_and_the_key_of_its_validator(self) -> None:
        for key in ("issuer", "token_key_file"):
            self.assertMistake(IdentityConfig, self.identity(**{key: ""}), key, "not set")
        self.assertUnread(IdentityConfig, {"validator": "kubernetes"}, "token_key_file", "validator=local")

    def test_a_scope_is_made_of_labels(self) -> None:
        for changes in ({"control_namespace": "Mesh"}, {"trust_domain": "cluster..local"}):
            error = self.assertRaises(ConfigError, load, IdentityConfig, self.identity(**changes), {})
            self.assertEqual(error.key, "control_namespace, trust_domain")
