"""A meshed Job ends when its own container has ended, and as that did."""

from __future__ import annotations

from tests.cluster.case import ClusterCase
from tests.cluster.objects import deployment, job, service

SERVED = {"readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}}


class Tale(ClusterCase):
    def test_one_that_asks_a_meshed_service_completes(self) -> None:
        space = self.namespace()
        self.apply(
            *deployment(space, "server", ["python", "/programs/server.py"], **SERVED),
            service(space, "server", "server", 80, 8080),
        )
        self.wait_for_rollout(space)
        self.apply(job(space, "asker", ["python", "/programs/load.py", "server:80", "20", "20", "new"]))
        self.cluster.kubectl("wait", "-n", space, "--for=condition=Complete", "job/asker", "--timeout=60s")

    def test_one_that_fails_has_failed(self) -> None:
        space = self.namespace()
        self.apply(job(space, "failing", ["python", "-c", "raise SystemExit(3)"]))
        self.cluster.kubectl("wait", "-n", space, "--for=condition=Failed", "job/failing", "--timeout=60s")
        (pod,) = self.get(space, "pods", "-l", "app=failing")["items"]
        (status,) = pod["status"]["containerStatuses"]
        self.assertEqual(status["state"]["terminated"]["exitCode"], 3)
