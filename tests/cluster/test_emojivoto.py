"""The demo's services as Deployments of a real cluster: no change to any of them, and mutual TLS between all."""

from __future__ import annotations

from tests.cluster.case import ClusterCase
from tests.cluster.objects import Document, deployment, service

SERVERS = {"web": 80, "emoji": 8080, "voting": 8080}
"""Each with the port of its Service."""

TAPPED = 8.0
"""Seconds."""


def emojivoto(space: str) -> list[Document]:
    """Return the objects."""
    asks = {
        "web": ["--listen", "0.0.0.0:8080", "--emoji", "emoji:8080", "--voting", "voting:8080"],
        "vote-bot": ["--web", "web:80", "--rounds", "1000000000"],
    }
    objects = []
    for name in (*SERVERS, "vote-bot"):
        command = ["python", f"{name.replace('-', '_')}.py", *asks.get(name, ["--connection-age", "1"])]
        more = {}
        if name in SERVERS:
            more = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
            objects.append(service(space, name, name, SERVERS[name], 8080))
        objects += deployment(space, name, command, **more)
    return objects


class Tale(ClusterCase):
    def test_every_request_between_its_pods_is_mutual_tls(self) -> None:
        space = self.namespace()
        self.apply(*emojivoto(space))
        self.wait_for_rollout(space)
        lines = self.tap("deploy/web", space, TAPPED, "-o", "wide")
        self.assertEqual([line for line in lines if "tls=true" not in line], [])
        for way, word in (("in", "/api/list"), ("out", "ListAll"), ("out", "Vote")):
            self.assertTrue(
                [line for line in lines if f"proxy={way}" in line and word in line], (way, word, lines[:20])
            )
