"""Pods are replaced under load, and no request notices."""

from __future__ import annotations

import json

from tests.cluster.case import ClusterCase
from tests.cluster.objects import deployment, service
from tests.cluster.test_jobs import SERVED

RATE = 50
COUNT = 1500
"""Of requests; a tale of half a minute."""


class Tale(ClusterCase):
    def test_no_request_fails_while_three_replicas_are_replaced(self) -> None:
        space = self.namespace()
        self.apply(
            *deployment(space, "server", ["python", "/programs/server.py"], replicas=3, **SERVED),
            *deployment(space, "client", ["sleep", "1000000"]),
            service(space, "server", "server", 80, 8080),
        )
        self.wait_for_rollout(space)
        loads = [
            self.start_program(
                space, "deploy/client", "python", "/programs/load.py", "server:80", str(COUNT), str(RATE), how
            )
            for how in ("keep", "new")
        ]
        self.cluster.kubectl("rollout", "restart", "-n", space, "deployment/server")
        self.wait_for_rollout(space, "server")
        pods: set[str] = set()
        for load in loads:
            said, _ = load.communicate()
            told = json.loads(said.splitlines()[0])
            self.assertEqual((told["failed"], told["answered"]), ([], COUNT))
            pods |= told["pods"].keys()
        self.assertGreater(len(pods), 3, "no pod was replaced")
