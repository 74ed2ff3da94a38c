"""A whole mesh of pods, from API objects alone: installed, injected, certified, discovered, seen (issue 5, bar 3)."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.demo.lab import wait_until
from tests.kube.case import started
from tests.kube.town import PROXY, KubeTown, Running, account, deployment, service
from tests.mesh.town import why_not

APPLICATIONS = "town"
AWAY = float(os.environ.get("MESHTX_KUBE_AWAY", "10"))
"""Seconds for which the API server is away."""
AT_ONCE = 1.0
"""Seconds in which a change reaches the proxies."""

TLS = b"\x16\x03"
"""How a connection begins that is TLS (RFC 8446, section 5.1)."""

_LINE = re.compile(r"^(\d+\.\d+) (ok|failed) (.*)$", re.MULTILINE)


class MeshTests(SynchronousTestCase):
    """One town for all, for it takes its time to build; the tests follow each other by their names."""

    timeout = 600

    def test_pods_are_a_mesh_by_api_objects_alone(self) -> None:
        if reason := why_not("setpriv", "unshare"):
            raise SkipTest(reason)
        self.town = KubeTown(started())
        self.addCleanup(self.town.remove)
        self.town.record()
        self.town.install()
        self._populate()
        self._a_scaled_deployment_is_known_at_once()
        self._a_deleted_pod_is_forgotten_at_once()
        self._requests_are_seen_by_the_clusters_rights()
        self._traffic_goes_on_without_the_api_server()
        self._all_was_mutual_tls()

    def _populate(self) -> None:
        town, namespace = self.town, APPLICATIONS
        labels = {"meshtx.io/inject": "enabled"}
        town.apply_objects(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
            *(account(namespace, name) for name in ("server", "client")),
            service(namespace, "server", 80, 8080),
        )
        self.addCleanup(town.cluster.kubectl, "delete", "namespace", namespace, "--wait=false")
        address = town.cluster.api.call("GET", f"/api/v1/namespaces/{namespace}/services/server")["spec"]["clusterIP"]
        serve = ["python", "-m", "tests.kube.responder", "8080", "$(POD)"]
        ask = ["python", "-m", "tests.kube.caller", address, "80"]
        town.apply_objects(
            deployment(namespace, "server", serve, replicas=2, port=8080), deployment(namespace, "client", ask)
        )
        self.servers = [town.run(pod) for pod in town.wait_for_pods(namespace, {"app": "server"}, 2)]
        (client,) = town.wait_for_pods(namespace, {"app": "client"}, 1)
        self.client = town.run(client)
        self._until_answered_by(*self.servers)

    def _all_was_mutual_tls(self) -> None:
        """See what was on the wire, without asking any proxy."""
        self.client.stop()  # the recording ends once nothing comes any more
        streams = self.town.recorded()
        servers = {running.ip for running in self.servers}
        asked = [each for each in streams if each.client.host == self.client.ip and each.server.host in servers]
        self.assertGreater(len(asked), 0)
        for each in asked:
            self.assertEqual((each.server.port, each.sent[:2]), (4143, TLS), each.server)
        for secret in (b"GET /who", b"HTTP/1.1 200", b"eyJhbGciOi"):  # the last: how every token begins
            self.assertEqual([each for each in streams if secret in each.sent + each.received], [])

    def _a_scaled_deployment_is_known_at_once(self) -> None:
        self.town.cluster.kubectl("scale", "deployment/server", "--replicas=3", namespace=APPLICATIONS)
        pods = self.town.wait_for_pods(APPLICATIONS, {"app": "server"}, 3)
        known = {running.name for running in self.servers}
        (new,) = [pod for pod in pods if pod["metadata"]["name"] not in known]
        running = self.town.run(new, ready=False)
        self.servers.append(running)
        written = self.town.tell_ready(running)
        self._until_answered_by(running)
        first = next(when for when, _, who in self._lines() if who == running.name)
        self.assertLess(first - written, AT_ONCE)

    def _a_deleted_pod_is_forgotten_at_once(self) -> None:
        gone = self.servers.pop(0)
        written = self.town.delete(gone)
        time.sleep(2 * AT_ONCE)  # what is shown is that nothing comes any more
        late = [when - written for when, _, who in self._lines() if who == gone.name and when > written + AT_ONCE]
        self.assertEqual(late, [])
        gone.stop()

    def _requests_are_seen_by_the_clusters_rights(self) -> None:
        process, said = self.town.tap("deploy/server", "--namespace", APPLICATIONS)
        self.addCleanup(process.kill)
        seen = r"(?m)^req .*proxy=in .* tls=true .*:path=/who"
        try:
            wait_until(lambda: re.search(seen, said.read_text()) is not None, "a request in the tap", 30)
        except Exception as error:
            raise AssertionError(f"{error}:\n{said.read_text()[-2000:]}") from None

    def _traffic_goes_on_without_the_api_server(self) -> None:
        begun = time.time()
        self.town.cluster.stop_api()
        time.sleep(AWAY)
        self.town.cluster.start_api()
        lines = [line for line in self._lines() if line[0] > begun]
        self.assertGreater(len(lines), AWAY * 2)
        self.assertEqual([line for line in lines if line[1] != "ok"], [])
        self._a_scaled_deployment_is_known()

    def _a_scaled_deployment_is_known(self) -> None:
        """See that the watches have resumed: each tries again after 30 s at most, as long as the server is away."""
        pods = self.town.wait_for_pods(APPLICATIONS, {"app": "server"}, 3)  # the deleted one has a successor
        known = {running.name for running in self.servers}
        (new,) = [pod for pod in pods if pod["metadata"]["name"] not in known]
        self._until_answered_by(self.town.run(new), seconds=90)

    def _lines(self) -> Iterator[tuple[float, str, str]]:
        for match in _LINE.finditer(self.town.log(self.client, "app")):
            yield float(match[1]), match[2], match[3]

    def _until_answered_by(self, *servers: Running, seconds: float = 30) -> None:
        wanted = {running.name for running in servers}
        begun = time.time()

        def answered() -> bool:
            return wanted <= {who for when, how, who in self._lines() if how == "ok" and when > begun - AT_ONCE}

        try:
            wait_until(answered, f"an answer by {', '.join(wanted)}", seconds)
        except Exception as error:
            raise AssertionError(f"{error}\n{self._state()}") from None

    def _state(self) -> str:
        """Return what may explain why a pod is not known."""
        town = self.town
        path = f"/apis/discovery.k8s.io/v1/namespaces/{APPLICATIONS}/endpointslices"
        slices = [each["endpoints"] for each in town.cluster.api.call("GET", path)["items"]]
        directory = next(each for each in town.pods.values() if each.name.startswith("meshtx-directory"))
        logs = (town.log(self.client, "app")[-500:], town.log(self.client, PROXY), town.log(directory, "directory"))
        return "\n\n".join([json.dumps(slices, indent=1), *(log[-3000:] for log in logs)])
