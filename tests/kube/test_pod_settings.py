"""The settings of the proxy that a pod's author decides: what is written reaches the proxy, or its author is told."""

from __future__ import annotations

from meshtx.config import ProxyConfig
from meshtx.kube.injection import Injected
from meshtx.kube.pod_settings import BY_AUTHOR, MAX_TEXT
from tests.kube.injection_case import Case, EnvironmentCase, annotated

NAME = "web.shop.serviceaccount.identity.meshtx.cluster.local"

WRITTEN = {
    "inbound-policy": "listed",
    "inbound-allow": NAME,
    "node-networks": "192.0.2.0/24",
    "pod-networks": "10.1.0.0/16, 10.2.0.0/16",
    "balancer-networks": "198.51.100.7",
    "gateways": NAME,
    "proxy-protocol-from": "198.51.100.0/24=8080",
    "proxy-protocol-to": "8080,9000-9010",
    "proxy-protocol-tlvs": "identity",
    "admin-plaintext-metrics": "true",
    "detectors": "h2",
    "max-undecided": "100",
    "handshake-timeout": "5s",
    "connect-timeout": "1s",
    "tcp-user-timeout": "2m",
    "transports": "twisted",
    "directory-timeout": "1s",
    "drain-timeout": "20s",
}
"""A value of each that is not its default."""


def noted(**settings: str) -> dict[str, str]:
    """Return annotations of a namespace."""
    return annotated(**settings)["metadata"]["annotations"]


class ReachTests(EnvironmentCase):
    def test_each_is_what_the_proxy_is_told(self) -> None:
        self.assertEqual(WRITTEN.keys(), BY_AUTHOR.keys())
        config, default = self.config(annotated(**WRITTEN)), self.config(annotated())
        for setting, text in WRITTEN.items():
            each = BY_AUTHOR[setting]
            self.assertEqual(getattr(config, each.key), each.kind.parse(text))
            self.assertNotEqual(getattr(config, each.key), getattr(default, each.key))

    def test_a_namespaces_are_those_of_its_pods_and_copied(self) -> None:
        injected = self.inject(annotated(tcp_user_timeout="5m"), noted(tcp_user_timeout="1m", max_undecided="7"))
        environment = {each["name"]: each.get("value") for each in injected["spec"]["initContainers"][1]["env"]}
        self.assertEqual(environment["MESHTX_PROXY_TCP_USER_TIMEOUT"], "5m")
        self.assertEqual(environment["MESHTX_PROXY_MAX_UNDECIDED"], "7")
        self.assertEqual(injected["metadata"]["annotations"]["config.meshtx.io/max-undecided"], "7")

    def test_what_the_kubelet_would_put_in_its_place_is_meant_as_it_is_written(self) -> None:
        pod = annotated(detectors="$(MESHTX_POD_NAMESPACE),$$")
        environment = {each["name"]: each.get("value") for each in self.inject(pod)["spec"]["initContainers"][1]["env"]}
        self.assertEqual(environment["MESHTX_PROXY_DETECTORS"], "$$(MESHTX_POD_NAMESPACE),$$$$")

    def test_one_that_is_empty_takes_the_namespaces_away(self) -> None:
        space = noted(proxy_protocol_to="8080", proxy_protocol_tlvs="identity")
        injected = self.inject(annotated(proxy_protocol_to=""), space)
        told = [each["name"] for each in injected["spec"]["initContainers"][1]["env"]]
        self.assertEqual([name for name in told if "PROTOCOL" in name], [])
        self.assertNotIn("config.meshtx.io/proxy-protocol-tlvs", injected["metadata"]["annotations"])


class RefusedTests(Case):
    def test_what_the_proxy_would_not_start_with_is_its_authors_to_mend(self) -> None:
        for setting, text, problem in (
            ("tcp_user_timeout", "3 hours", "'3 hours' is no duration; write DURATION, such as 90s"),
            ("tcp_user_timeout", "", "'' is no duration; write DURATION, such as 90s"),
            ("max_undecided", "many", "'many' is no whole number; write NUMBER, such as 1000"),
            ("connect_timeout", "9s", "longer than 8s, behind which no SYN goes out before the fifteenth second; "),
            ("gateways", "edge", "'edge' is not"),
            ("detectors", "x" * (MAX_TEXT + 1), "longer than 120 KiB"),
        ):
            told = self.problem(annotated(**{setting: text}))
            key = setting.replace("_", "-")
            self.assertTrue(told.startswith(f"config.meshtx.io/{key}: {problem}"), told)

    def test_one_that_nothing_reads_says_what_would(self) -> None:
        self.assertEqual(
            self.problem(annotated(proxy_protocol_tlvs="identity")),
            "config.meshtx.io/proxy-protocol-tlvs: nothing reads it without config.meshtx.io/proxy-protocol-to; set"
            " config.meshtx.io/proxy-protocol-to, or remove it",
        )
        for policy in ({}, {"inbound_policy": "all-authenticated"}):
            self.assertIn(
                "set config.meshtx.io/inbound-policy=listed,", self.problem(annotated(inbound_allow=NAME, **policy))
            )

    def test_one_that_is_the_installations_is_none(self) -> None:
        for setting in ("mark", "tap_identity", "metrics_identity", "inbound_listen"):
            (warning,) = self.warnings(annotated(**{setting: "1"}))
            self.assertIn("unknown annotation", warning)


class DoubtTests(Case):
    def test_a_drain_that_the_kubelet_cuts_short_is_told(self) -> None:
        pod = annotated(drain_timeout="31s")
        self.assertEqual(
            self.warnings(pod),
            ("config.meshtx.io/drain-timeout: the proxy is killed after the pod's terminationGracePeriodSeconds, 30",),
        )
        pod["spec"]["terminationGracePeriodSeconds"] = 31
        self.assertEqual(self.warnings(pod), ())
        self.assertEqual(ProxyConfig().drain_timeout, 30)
        pod = annotated()
        pod["spec"]["terminationGracePeriodSeconds"] = 5  # its author knows; the default is nobody's wish
        self.assertIsInstance(self.outcome(pod), Injected)
        self.assertEqual(self.warnings(pod), ())
