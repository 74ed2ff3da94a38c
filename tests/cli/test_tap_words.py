from __future__ import annotations

import click
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.tap_words import cluster_target


class ClusterTargetTests(SynchronousTestCase):
    def test_kinds_and_names_are_in_a_cluster(self) -> None:
        for words, target in (
            (("deploy",), "deploy"),
            (("StatefulSets",), "StatefulSets"),
            (("deploy/web",), "deploy/web"),
            (("service/web",), "service/web"),
            (("deploy", "web"), "deploy/web"),
            (("ns", "emojivoto"), "ns/emojivoto"),
            (("deploy", "pod"), "deploy/pod"),
        ):
            self.assertEqual(cluster_target(words), target, words)

    def test_other_words_are_addresses_of_proxies(self) -> None:
        for words in (
            ("localhost",),
            ("10.1.0.2", "web.emojivoto@10.1.0.3"),
            ("web", "deployer"),
            ("job:4190",),
            ("web.shop@pod", "[fd00::1]:1"),
        ):
            self.assertIsNone(cluster_target(words), words)

    def test_one_target_of_a_cluster_at_a_time(self) -> None:
        for words in (
            ("deploy/web", "deploy/emoji"),
            ("deploy", "web", "emoji"),
            ("deploy", "sts/db"),
            ("ns/a", "pod"),
        ):
            self.assertIn("one thing of a cluster at a time", str(self.refused(words)), words)

    def test_a_cluster_and_proxies_are_tapped_apart(self) -> None:
        for words in (("deploy/web", "10.1.0.2"), ("10.1.0.2", "deploy"), ("web", "deploy/web")):
            self.assertIn("not both at once", str(self.refused(words)), words)

    def refused(self, words: tuple[str, ...]) -> click.UsageError:
        return self.assertRaises(click.UsageError, cluster_target, words)
