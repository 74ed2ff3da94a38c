"""Clients from outside come by a NodePort of kube-proxy's, under both policies, and with a balancer ahead or none.

client ─▶ node port ─▶ (masqueraded under Cluster) ─▶ sidecar ─▶ nginx
client ─▶ haproxy ─PROXY header─▶ node port ─▶ sidecar ─PROXY header─▶ nginx
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.case import ClusterCase
from tests.cluster.node import ADDRESS, OUTSIDE
from tests.cluster.objects import deployment, service
from tests.effort import EFFORT, Effort

PROGRAMS = Path(__file__).with_name("programs")

POLICIES = ("Cluster", "Local")
SENDS = {"v1": "send-proxy", "v2": "send-proxy-v2"}
"""haproxy's words."""

BRIDGE = "10.244.0.1"
"""Whom a pod sees in a masqueraded client's place."""

CLIENTS = [f"192.0.2.{100 + number}" for number in range(20)]
"""Addresses of the second host."""

REQUESTS = 1000
HELLOS, SILENT = 300, 200
STALL = 1000
"""Milliseconds; those who wait to look let clients wait for two seconds and more."""

TAKEN_WITHIN = 30.0
"""Seconds."""

SERVED = {"readinessProbe": {"httpGet": {"scheme": "HTTPS", "path": "/", "port": 8443}, "periodSeconds": 1}}

BALANCER = """\
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
"""
LISTENER = """\
listen {name}
    bind {bind}
    server node {node} {sends}
"""


class Tale(ClusterCase):
    def nginx(self, port: int, **settings: str) -> dict[str, str]:
        """Start a meshed nginx; return where the node takes connections for its port, by the Service's policy."""
        self.space = self.namespace(**settings)
        names = {policy: policy.lower() for policy in POLICIES}
        self.apply(
            *deployment(self.space, "web", ["/programs/nginx.sh"], **SERVED),
            *(
                service(self.space, name, "web", 80, port, type="NodePort", externalTrafficPolicy=policy)
                for policy, name in names.items()
            ),
        )
        self.wait_for_rollout(self.space)
        services = {policy: self.get(self.space, "service", name) for policy, name in names.items()}
        places = {policy: f"{ADDRESS}:{each['spec']['ports'][0]['nodePort']}" for policy, each in services.items()}
        for place in places.values():
            self.wait_until_taken(place)
        return places

    def outside(self, program: str, *arguments: str) -> str:
        """Return what a program prints on the second host."""
        command = [*self.cluster.node.outside(), sys.executable, str(PROGRAMS / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def call(self, place: str, path: str) -> None:
        """Have the clients ask by turns, each request with a path of its own."""
        for address in CLIENTS:
            add = ["ip", "address", "replace", f"{address}/24", "dev", "eth0"]
            subprocess.run([*self.cluster.node.outside(), *add], check=True)
        self.outside("callers.py", place, path, str(REQUESTS), *CLIENTS)

    def assert_logged(self, path: str, clients: Sequence[str]) -> None:
        """Fail unless nginx has logged each request of this path with its client."""
        log = self.cluster.kubectl("logs", "-n", self.space, "deploy/web", "-c", "app")
        logged = {line for line in log.splitlines() if f" {path}/" in line}
        expected = zip(itertools.cycle(clients), range(REQUESTS), strict=False)
        right = {f"{client} {path}/{number}" for client, number in expected}
        print(f"\n{path}: {len(logged & right)} of {REQUESTS} logged with the right client")
        self.assertEqual((right - logged, logged - right), (set(), set()))

    def test_silent_connections_hold_up_no_handshake(self) -> None:
        for policy, place in self.nginx(8443).items():
            took = json.loads(self.outside("hellos.py", place, str(HELLOS), str(SILENT)))
            none, silent = (statistics.median(took[each]) for each in ("none", "silent"))
            slowest = max(took["silent"])
            beside = f"beside {SILENT} silent ones {silent:.2f}, max {slowest:.1f}"
            print(f"\n{policy}: ServerHello after p50 {none:.2f} ms, {beside}")
            self.assertLess(slowest, STALL, policy)
            if EFFORT is Effort.ALL:
                self.assertLessEqual(silent, 1.2 * none + 1.0, policy)

    def test_nginx_is_told_whom_the_sidecar_sees(self) -> None:
        seen = {"Cluster": [BRIDGE], "Local": CLIENTS}
        for policy, place in self.nginx(8080, **{"proxy-protocol-to": "8080"}).items():
            self.call(place, f"/{policy}")
            self.assert_logged(f"/{policy}", seen[policy])

    def test_nginx_logs_the_real_client_behind_a_balancer(self) -> None:
        places = self.nginx(
            8080, **{"proxy-protocol-from": f"{BRIDGE}/32=8080,{OUTSIDE}/32=8080", "proxy-protocol-to": "8080"}
        )
        cells = list(itertools.product(POLICIES, SENDS))
        listeners = {cell: f"{OUTSIDE}:{8000 + number}" for number, cell in enumerate(cells)}
        self.balance({listeners[policy, version]: (places[policy], SENDS[version]) for policy, version in cells})
        for (policy, version), listener in listeners.items():
            self.call(listener, f"/{policy}/{version}")
            self.assert_logged(f"/{policy}/{version}", CLIENTS)

    def balance(self, ways: dict[str, tuple[str, str]]) -> None:
        """Run haproxy on the second host.

        :param ways: where it listens, to where it connects, and how it says who the client is.
        """
        listeners = [
            LISTENER.format(name=f"way{number}", bind=bind, node=node, sends=sends)
            for number, (bind, (node, sends)) in enumerate(ways.items())
        ]
        config = self.cluster.folder / "haproxy.cfg"
        config.write_text(BALANCER + "".join(listeners))
        process = subprocess.Popen([*self.cluster.node.outside(), "haproxy", "-db", "-f", str(config)])
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        self.wait_until_taken(next(iter(ways)))

    def wait_until_taken(self, place: str) -> None:
        """Wait until a client from outside can connect: kube-proxy hears of a pod a while after it is ready."""
        deadline = time.monotonic() + TAKEN_WITHIN
        connect = [*self.cluster.node.outside(), "bash", "-c", f"exec 3<>/dev/tcp/{place.replace(':', '/')}"]
        while subprocess.run(connect, capture_output=True, check=False).returncode:
            self.assertLess(time.monotonic(), deadline, f"{place} takes no connection")
            time.sleep(0.05)
