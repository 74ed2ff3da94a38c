"""Certificates are renewed and their issuer replaced while requests run, and none of them fails."""

from __future__ import annotations

import json
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import asker, web_server
from tests.mesh.town import MESHTX, Town, why_not

LIFETIME = 16
"""Seconds that a certificate is valid: it is renewed after 10 or so."""
REFRESHED = 'control_identity_cert_refreshes_total{result="ok"}'
ISSUER_EXPIRES = "meshtx_identity_issuer_expiration_timestamp_seconds"


class Tale(SynchronousTestCase):
    skip = why_not()

    def setUp(self) -> None:
        self.town = Town(["client", "server"])
        self.addCleanup(self.town.remove)
        self.identity = self.town.identity(f"--lifetime={LIFETIME}s", "--admin-plaintext-metrics")
        self.town.sidecars("--admin-plaintext-metrics")
        self.town.python("server", web_server, "0.0.0.0", "80", ready="serving")

    def test_no_request_fails_while_certificates_and_their_issuer_change(self) -> None:
        stop = str(self.town.folder / "stop")
        address = self.town.addresses["server"]
        client = self.town.python("client", asker, address, "80", stop, ready="asked 10\n")
        self.town.run("identity", *MESHTX, "ca", "issuer", str(self.town.ca), "--lifetime=1h")
        self.identity.until(lambda: self.issuer_left() < 3600, "the new issuer is used")
        for host in self.town.meshed:
            self.identity.until(lambda host=host: self.refreshes(host) >= 2, f"a new certificate of {host}")
        wanted = len(client.lines) + 20
        client.until(lambda: len(client.lines) >= wanted, "20 more rounds")
        self.town.write("stop", "")
        result = json.loads(client.answer().splitlines()[-1])
        self.assertEqual(result["errors"], [])
        self.assertGreater(result["answered"], 50)

    def refreshes(self, host: str) -> float:
        return self.town.metrics(host).get(REFRESHED, 0)

    def issuer_left(self) -> float:
        """Return how many seconds the issuer in use is still valid."""
        return self.town.metrics("identity", 9990)[ISSUER_EXPIRES] - time.time()
