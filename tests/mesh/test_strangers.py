"""A stranger sends the worst that it can to each port of a proxy, which serves on, and does not grow."""

from __future__ import annotations

from tests.mesh.strangers.case import StrangersCase


class ProxyTests(StrangersCase):
    target = "proxy"

    def test_plaintext_to_the_workload(self) -> None:
        self.check("workload")

    def test_a_balancers_connections(self) -> None:
        self.check("balancer")

    def test_where_peers_come_in(self) -> None:
        self.check("inbound")

    def test_the_tap(self) -> None:
        self.check("tap")

    def test_the_admin_port(self) -> None:
        self.check("admin")
