"""What a pod's application has to say after it was told to end, when a kubelet may have told its proxy so too."""

from __future__ import annotations

import subprocess

from tests.cluster.case import ClusterCase
from tests.cluster.objects import deployment, service
from tests.cluster.test_jobs import SERVED


class Tale(ClusterCase):
    def test_the_last_words_of_an_application_arrive(self) -> None:
        for kind in ("native", "classic"):
            space = self.namespace(**{"proxy-kind": kind})
            self.apply(
                *deployment(space, "server", ["python", "/programs/server.py"], **SERVED),
                *deployment(space, "ending", ["python", "/programs/last_words.py", "http://server/"]),
                service(space, "server", "server", 80, 8080),
            )
            self.wait_for_rollout(space)
            log = self.follow_log(space, "deploy/ending")
            assert log.stdout is not None
            self.assertEqual(log.stdout.readline(), "listening\n")
            self.cluster.kubectl("delete", "-n", space, "deployment", "ending")
            said, _ = log.communicate()
            self.assertEqual(said, "200\n200\n", kind)

    def follow_log(self, space: str, target: str) -> subprocess.Popen[str]:
        """Start to print what the application says, until it has ended."""
        process = subprocess.Popen(
            [*self.cluster.node.on_its_network(), "kubectl", "logs", "-f", "-n", space, target, "-c", "app"],
            env=self.cluster.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process
