"""A proxy at its limit of descriptors, and a crowd that comes and goes: no connection is served by another's port."""

from __future__ import annotations

import json
import resource
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import port_apps, port_churn
from tests.mesh.town import Town, why_not

PORTS = ("7001", "7002", "7003", "7004")
DESCRIPTORS = 120
"""Of the server's proxy: each connection takes two, and there are more clients than that is for."""
CONNECTIONS = 1500
"""Of each client."""
AT_ONCE = 150
SEED = "1"
UNSERVED = 'meshtx_unserved_connections_total{listener="inbound_listen"}'


class DescriptorLimitTests(SynchronousTestCase):
    skip = why_not()

    def test_every_answer_is_of_the_port_that_was_asked(self) -> None:
        for transports in ("quick", "twisted"):
            answered, unserved = self.crowd(transports)
            self.assertGreater(answered, 0, transports)
            self.assertGreater(unserved, 0, "the proxy never lacked a descriptor")

    def crowd(self, transports: str) -> tuple[int, float]:
        """Return how many connections were answered, and how many the proxy closed for lack of a descriptor.

        One client has a proxy and the other none: the server's peers come on legs, its other clients redirected.
        """
        town = Town(["client", "server"], ["stranger"], transports=transports)
        self.addCleanup(town.remove)
        town.identity()
        proxies = town.sidecars("--admin-plaintext-metrics")
        apps = town.python("server", port_apps, *PORTS, ready="serving")
        limit = (DESCRIPTORS, DESCRIPTORS)
        resource.prlimit(proxies["server"].process.pid, resource.RLIMIT_NOFILE, limit)
        arguments = (town.addresses["server"], str(CONNECTIONS), str(AT_ONCE), SEED, *PORTS)
        clients = [town.python(host, port_churn, *arguments) for host in ("client", "stranger")]
        outcomes: Counter[str] = Counter()
        for client in clients:
            said = json.loads(client.answer(600).splitlines()[-1])
            self.assertEqual(said["wrong"], [], transports)
            outcomes.update(said["outcomes"])
        self.assertNotIn("was meant for", apps.log)
        self.assertIsNone(proxies["server"].process.poll())
        return outcomes["answered"], town.metrics("server")[
            'meshtx_unserved_connections_total{listener="inbound_listen"}'
        ]
