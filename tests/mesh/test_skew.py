"""The release before beside this one, in both orders, under load: no request fails (docs/upgrades.md).

Certificates are renewed meanwhile, so that identity of one release has certified proxies of the other more than once.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests import release_before
from tests.mesh import asker, web_server
from tests.mesh.test_rotation import LIFETIME, REFRESHED
from tests.mesh.town import Program, Town, why_not

CLIENTS = 4
"""Each asks on a connection that lasts, and on new ones."""
EACH = 1000
"""Requests that each asks at least."""
LEGS = ("meshtx_legs_opened_total", "meshtx_legs_reused_total")
"""What is counted of `meshtx/1` alone."""
IN, OUT = '{direction="inbound"}', '{direction="outbound"}'


class ClientBeforeTests(SynchronousTestCase):
    """Identity, the client's sidecar and the command of the release before; the server's sidecar of this one."""

    before: tuple[str, ...] = ("identity", "client", "operator")
    skip = why_not()

    def setUp(self) -> None:
        python = release_before.python()
        self.town = Town(["client", "server"], released=dict.fromkeys(self.before, python))
        self.addCleanup(self.town.remove)
        self.town.identity(f"--lifetime={LIFETIME}s")
        self.sidecars = self.town.sidecars("--admin-plaintext-metrics")
        self.town.python("server", web_server, "0.0.0.0", "80", ready="serving")
        self.address = self.town.addresses["server"]

    def test_no_request_fails(self) -> None:
        wire = self.town.capture()
        stop = str(self.town.folder / "stop")
        clients = [self.town.python("client", asker, self.address, "80", stop) for _ in range(CLIENTS)]
        for each in clients:
            each.until(lambda each=each: asked(each) >= EACH, f"{EACH} requests")
        for host, sidecar in self.sidecars.items():
            sidecar.until(lambda host=host: self.town.metrics(host).get(REFRESHED, 0) >= 2, f"a renewal of {host}")
        self.town.write("stop", "")
        results = [json.loads(each.answer().splitlines()[-1]) for each in clients]
        self.assertEqual([each["errors"] for each in results], [[]] * CLIENTS)
        self.assertGreaterEqual(sum(each["answered"] for each in results), CLIENTS * EACH)
        self.was_carried_by_legs()
        self.is_seen()
        _, streams = wire.end()
        ports = {stream.server.port for stream in streams if stream.client.host == self.town.addresses["client"]}
        self.assertEqual(ports - {8080}, {4143})

    def was_carried_by_legs(self) -> None:
        """Both sidecars say that they have spoken `meshtx/1`, and nothing was refused."""
        for host, side in (("client", OUT), ("server", IN)):
            metrics = self.town.metrics(host)
            self.assertGreater(min(metrics[series + side] for series in LEGS), 0, host)
            failed = {key: value for key, value in metrics.items() if "handshake_fail" in key and value}
            self.assertEqual(failed, {}, host)

    def is_seen(self) -> None:
        """Taps of both sidecars by the operator's command show a request as mutual TLS."""
        tap = self.town.tap("client", "server", options=["--path", "/seen"])
        tap.until(lambda: tap.log.count("the tap is open") == 2, "both taps are open")
        self.town.run("client", "curl", "--noproxy", "*", "-sf", f"http://{self.address}/seen")
        tap.until(lambda: len(requests(tap)) == 2, "the request at both ends")
        self.assertEqual({" tls=true " in line for line in requests(tap)}, {True})
        self.assertEqual({" proxy=in " in line for line in requests(tap)}, {True, False})
        tap.stop()


class ServerBeforeTests(ClientBeforeTests):
    """The server's sidecar of the release before; everything else of this one."""

    before = ("server",)


def asked(client: Program) -> int:
    """Return how many requests a client has had answers to."""
    lines = client.lines
    return int(lines[-1].removeprefix("asked ")) if lines else 0


def requests(tap: Program) -> list[str]:
    """Return the lines of requests."""
    return [line for line in tap.lines if " req " in f" {line}"]
