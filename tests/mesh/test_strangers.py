"""A stranger sends the worst that it can to each port of each program, which serves on, and does not grow."""

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


class IdentityTests(StrangersCase):
    target = "identity"

    def test_where_certificates_are_issued(self) -> None:
        self.check("certify")

    def test_the_admin_port(self) -> None:
        self.check("admin")


class DirectoryTests(StrangersCase):
    target = "directory"

    def test_where_sidecars_follow(self) -> None:
        self.check("follow")

    def test_where_taps_are_asked_for(self) -> None:
        self.check("taps")

    def test_the_admin_port(self) -> None:
        self.check("admin")
