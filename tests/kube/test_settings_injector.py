"""What the injector can be told, and what it insists on."""

from __future__ import annotations

from meshtx.config_load import load
from meshtx.errors import ConfigError
from meshtx.kube.annotations import Resources
from meshtx.kube.manifests.values import PullPolicy
from meshtx.kube.settings.injector import InjectorConfig
from meshtx.kube.sidecar import Family
from meshtx.pki.name import MeshScope
from meshtx.wire.address import Address
from tests.config_case import ConfigCase


class InjectorConfigTests(ConfigCase):
    def config(self, **changed: str) -> InjectorConfig:
        anchors = self.folder / "anchors"
        anchors.touch()
        given = {"image": "m:1", "trust_anchors_file": str(anchors), "kubernetes_folder": str(self.folder)}
        return load(InjectorConfig, {key: text for key, text in (given | changed).items() if text}, {})

    def test_defaults(self) -> None:
        config = self.config()
        self.assertEqual(
            (config.listen, config.admin_listen, config.scope, config.resources, config.ip_family),
            (Address.of("0.0.0.0", 8443), Address.of("0.0.0.0", 9990), MeshScope(), Resources(), Family.IPV4),
        )
        self.assertEqual((config.image_pull_policy, config.proxy_log_level), (PullPolicy.IF_NOT_PRESENT, "info"))

    def test_a_limit_can_be_taken_away(self) -> None:
        resources = self.config(proxy_cpu_limit="none", proxy_memory_limit="1Gi", proxy_memory_request="1Gi").resources
        self.assertEqual(resources, Resources("50m", None, "1Gi", "1Gi"))

    def test_mistakes(self) -> None:
        for changed, words in (
            ({"image": ""}, "image: not set"),
            ({"trust_anchors_file": ""}, "trust_anchors_file: not set"),
            ({"trust_domain": "Example.org"}, "'Example' is not a DNS label"),
            ({"proxy_cpu_request": "2"}, "proxy_cpu_limit: 1 is less than the request, 2; raise it"),
            ({"proxy_memory_limit": "much"}, "write QUANTITY|none, such as 1"),
            ({"proxy_cpu_limit": "\u0663"}, "'\u0663' is no quantity"),
            ({"image": "meshtx:a b"}, "--image: 'meshtx:a b' is no image; write IMAGE, such as meshtx"),
            ({"proxy_log_level": "loud"}, "'loud' is none of debug, info, warn, error, critical"),
            ({"listen": "0.0.0.0:9990"}, "2 listeners have this address"),
        ):
            with self.assertRaises(ConfigError) as caught:
                self.config(**changed)
            self.assertIn(words, str(caught.exception))
