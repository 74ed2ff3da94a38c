"""What the directory's program can be told."""

from __future__ import annotations

from meshtx.config_load import load
from meshtx.config_values import Endpoint
from meshtx.kube.ports import parse_ports
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.pki.name import Name
from meshtx.services.directory import settings_of
from meshtx.wire.address import Address
from meshtx.wire.network import parse_network
from tests.config_case import PEM, ConfigCase

NAME = "meshtx-directory.meshtx.serviceaccount.identity.meshtx.cluster.local"


class DirectoryConfigTests(ConfigCase):
    def flags(self, **changes: str) -> dict[str, str]:
        """Return flags with which it can start; a change to "" leaves one out."""
        flags = {
            "name": NAME,
            "identity_address": "meshtx-identity.meshtx.svc:8080",
            "trust_anchors": PEM,
            "token_file": str(self.file("token")),
        }
        return {key: text for key, text in {**flags, **changes}.items() if text}

    def test_defaults(self) -> None:
        config = load(DirectoryConfig, self.flags(), {})
        self.assertEqual(
            (config.name, config.identity_address, config.listen, config.admin_listen, config.cluster_domain),
            (
                Name.parse(NAME),
                Endpoint("meshtx-identity.meshtx.svc", 8080),
                Address.of("0.0.0.0", 8086),
                Address.of("0.0.0.0", 9990),
                "cluster.local",
            ),
        )

    def test_the_cluster_is_told_what_the_settings_say(self) -> None:
        flags = self.flags(
            cluster_networks="10.0.0.0/8",
            balancer_networks="192.0.2.0/24",
            opaque_ports="25,100-200",
            cluster_domain="corp",
        )
        settings = settings_of(load(DirectoryConfig, flags, {}))
        self.assertEqual(
            (settings.mesh, settings.balancers, settings.opaque, settings.domain),
            (
                (parse_network("10.0.0.0/8"),),
                (parse_network("192.0.2.0/24"),),
                (range(25, 26), range(100, 201)),
                "corp",
            ),
        )

    def test_without_a_setting_opaque_ports_are_linkerds(self) -> None:
        settings = settings_of(load(DirectoryConfig, self.flags(), {}))
        self.assertEqual(settings.opaque, parse_ports("25,587,3306,4444,5432,6379,9300,11211"))

    def test_it_must_know_its_mesh_also_with_a_certificate_from_files(self) -> None:
        files = {each: str(self.file(each)) for each in ("certificate_file", "key_file")}
        flags = self.flags(name="", identity_address="", token_file="", **files)
        self.assertEqual(
            self.assertMistake(DirectoryConfig, flags, "name", "not set"),
            "the directory, to know which mesh is its own, needs it",
        )

    def test_a_certificate_comes_from_somewhere(self) -> None:
        flags = self.flags(identity_address="")
        problem = "nothing says where the certificate comes from"
        self.assertMistake(DirectoryConfig, flags, "identity_address", problem)

    def test_two_listeners_need_two_addresses(self) -> None:
        flags = self.flags(listen="0.0.0.0:9990")
        self.assertMistake(DirectoryConfig, flags, "0.0.0.0:9990", "2 listeners have this address")
