"""The kubelet's probes of pods into which policy lets none but proven names."""

from __future__ import annotations

import time
from typing import Any

from tests.cluster.case import ClusterCase
from tests.cluster.objects import deployment, service

PERIOD = 5
"""Seconds."""

KINDS: dict[str, dict[str, Any]] = {
    "http": {"httpGet": {"path": "/healthy", "port": "web"}},
    "grpc": {"grpc": {"port": 8081}},
    "tcp": {"tcpSocket": {"port": 8082}},
    "exec": {"exec": {"command": ["true"]}},
}
COMMAND = ["python", "/programs/probed.py"]


def probed(kind: dict[str, Any], *fields: str) -> dict[str, Any]:
    """Return the part of a container that has it probed."""
    ports = [{"name": "web", "containerPort": 8080}]
    probe = {**kind, "periodSeconds": PERIOD, "failureThreshold": 1}
    return {"ports": ports, **{f"{each}Probe": probe for each in fields}}


class Tale(ClusterCase):
    def setUp(self) -> None:
        super().setUp()
        self.space = self.namespace(**{"inbound-policy": "all-authenticated"})

    def test_all_kinds_pass(self) -> None:
        for name, kind in KINDS.items():
            self.apply(*deployment(self.space, name, COMMAND, **probed(kind, "readiness", "liveness")))
        self.apply(service(self.space, "http", "http", 80, 8080))
        self.wait_for_rollout(self.space)
        stranger = deployment(self.space, "stranger", ["sleep", "1000000"])
        stranger[1]["spec"]["template"]["metadata"]["labels"]["meshtx.io/inject"] = "disabled"
        self.apply(*stranger)
        self.wait_for_rollout(self.space, "stranger")
        self.assertEqual(self.ask("grpc"), 0, "a meshed client gets no answer")
        self.assertNotEqual(self.ask("stranger"), 0, "policy is off, and probes pass for that")

    def ask(self, client: str) -> int:
        """Return the status of a program that asks the application for what its HTTP probe does."""
        asks = "import urllib.request; urllib.request.urlopen('http://http/healthy', timeout=10)"
        return self.start_program(self.space, f"deploy/{client}", "python", "-c", asks).wait()

    def test_a_port_at_which_nobody_listens_any_more_fails(self) -> None:
        self.apply(*deployment(self.space, "tcp", COMMAND, **probed(KINDS["tcp"], "readiness")))
        self.wait_for_rollout(self.space)
        dead = time.monotonic()
        self.start_program(self.space, "deploy/tcp", "sh", "-c", "kill -USR1 1").wait()
        self.cluster.kubectl(
            "wait", "-n", self.space, "pod", "-l", "app=tcp", "--for=condition=Ready=False", "--timeout=60s"
        )
        self.assertLess(time.monotonic() - dead, 2 * PERIOD, "not at the next period")
