"""The kubelet's probes of a meshed pod are made by its proxy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from meshtx.kube.probes import MAX_TEXT
from meshtx.kube.sidecar import PROXY
from meshtx.proxy.probes import GrpcProbe, HttpProbe, Probe, TcpProbe, parse_probes
from tests.kube.injection_case import VALUES, Case, a_pod

HTTP = {"httpGet": {"path": "/healthy", "port": 8080}}
CLASSIC = replace(VALUES, native=False)
PORTS = [{"name": "web", "containerPort": 8080}, {"name": "7", "containerPort": 9090}]


def app(name: str = "app", **probes: Any) -> dict[str, Any]:
    return {"name": name, "image": "example.org/app", "ports": PORTS, **probes}


def page(container: str, word: str) -> dict[str, Any]:
    return {"path": f"/probe/{container}/{word}", "port": 4191}


class ProbesCase(Case):
    def text(self, pod: dict[str, Any]) -> str:
        """Return the proxy's variable; empty without one."""
        containers = [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
        (proxy,) = (each for each in containers if each["name"] == PROXY)
        return next((each["value"] for each in proxy["env"] if each["name"] == "MESHTX_PROXY_PROBES"), "")

    def probes(self, pod: dict[str, Any]) -> dict[str, Probe]:
        return dict(parse_probes(self.text(pod)))

    def meant(self, probe: dict[str, Any]) -> Probe:
        """Return what the proxy makes of a readiness probe."""
        pod = self.inject(a_pod(containers=[app(readinessProbe=probe)]))
        (container,) = pod["spec"]["containers"]
        self.assertEqual(container["readinessProbe"], {"httpGet": page("app", "readiness")})
        return self.probes(pod)["/probe/app/readiness"]

    def assertStays(self, probe: dict[str, Any]) -> None:
        pod = self.inject(a_pod(containers=[app(livenessProbe=probe)]))
        self.assertEqual(pod["spec"]["containers"], [app(livenessProbe=probe)])
        self.assertEqual(self.text(pod), "")


class TurnedTests(ProbesCase):
    def test_each_action(self) -> None:
        headers = [{"name": "X-A", "value": "1"}]
        self.assertEqual(
            self.meant({"httpGet": {"path": "/a", "port": 1, "scheme": "HTTPS", "httpHeaders": headers}}),
            HttpProbe(1, "/a", (("X-A", "1"),), secure=True),
        )
        self.assertEqual(self.meant({"httpGet": {"port": 1, "scheme": "HTTP"}}), HttpProbe(1))
        self.assertEqual(self.meant({"tcpSocket": {"port": 2}}), TcpProbe(2))
        self.assertEqual(self.meant({"grpc": {"port": 3, "service": "ready"}}), GrpcProbe(3, "ready"))
        self.assertEqual(self.meant({"grpc": {"port": 3, "service": None}}), GrpcProbe(3))

    def test_a_port_by_name_is_one_of_the_containers(self) -> None:
        for port, number in (("web", 8080), ("7", 9090), ("8", 8), (65535, 65535)):
            self.assertEqual(self.meant({"tcpSocket": {"port": port}}), TcpProbe(number))

    def test_all_probes_of_all_containers(self) -> None:
        first = app(startupProbe=HTTP, readinessProbe=HTTP, livenessProbe=HTTP)
        pod = self.inject(a_pod(containers=[first, app("plain"), app("other", livenessProbe=HTTP)]))
        self.assertEqual(
            [*self.probes(pod)],
            ["/probe/app/startup", "/probe/app/readiness", "/probe/app/liveness", "/probe/other/liveness"],
        )
        turned, plain, other = pod["spec"]["containers"]
        self.assertEqual(turned["startupProbe"], {"httpGet": page("app", "startup")})
        self.assertEqual(turned["livenessProbe"], {"httpGet": page("app", "liveness")})
        self.assertEqual(plain, app("plain"))
        self.assertEqual(other["livenessProbe"], {"httpGet": page("other", "liveness")})

    def test_when_and_how_often_stays_the_kubelets_and_the_proxy_has_as_long(self) -> None:
        times = {"periodSeconds": 7, "timeoutSeconds": 3, "failureThreshold": 2, "terminationGracePeriodSeconds": 9}
        pod = self.inject(a_pod(containers=[app(livenessProbe={"tcpSocket": {"port": "web"}, **times})]))
        self.assertEqual(pod["spec"]["containers"][0]["livenessProbe"], {"httpGet": page("app", "liveness"), **times})
        self.assertEqual(self.probes(pod), {"/probe/app/liveness": TcpProbe(8080, 3.0)})

    def test_the_kubelet_finds_no_variable_in_the_text(self) -> None:
        pod = self.inject(a_pod(containers=[app(livenessProbe={"httpGet": {"path": "/$(HOME)/$$", "port": 1}})]))
        self.assertNotIn("$", self.text(pod))
        self.assertEqual(self.probes(pod), {"/probe/app/liveness": HttpProbe(1, "/$(HOME)/$$")})


class SidecarTests(ProbesCase):
    """A pod's own sidecars are init containers that do not end: no other init container can have a probe."""

    SIDECAR = app("log", restartPolicy="Always", startupProbe=HTTP)

    def test_a_native_proxy_has_been_started_before_them(self) -> None:
        pod = self.inject(a_pod(initContainers=[self.SIDECAR]))
        *_, sidecar = pod["spec"]["initContainers"]
        self.assertEqual(sidecar["startupProbe"], {"httpGet": page("log", "startup")})
        self.assertEqual(self.probes(pod), {"/probe/log/startup": HttpProbe(8080, "/healthy")})

    def test_a_classic_one_would_keep_itself_waiting(self) -> None:
        pod = self.inject(a_pod(initContainers=[self.SIDECAR]), values=CLASSIC)
        self.assertEqual(pod["spec"]["initContainers"][0], self.SIDECAR)
        self.assertEqual(self.text(pod), "")

    def test_a_classic_one_makes_those_of_the_containers(self) -> None:
        pod = self.inject(a_pod(containers=[app(readinessProbe=HTTP)]), values=CLASSIC)
        _, container = pod["spec"]["containers"]
        self.assertEqual(container["readinessProbe"], {"httpGet": page("app", "readiness")})
        self.assertEqual([*self.probes(pod)], ["/probe/app/readiness"])


class StayTests(ProbesCase):
    def test_what_is_not_asked_at_the_pod(self) -> None:
        self.assertStays({"httpGet": {"port": 1, "host": "example.org"}})
        self.assertStays({"tcpSocket": {"port": 1, "host": "example.org"}})
        self.assertStays({"exec": {"command": ["true"]}})

    def test_what_the_api_server_or_the_kubelet_has_its_words_for(self) -> None:
        for port in (0, -1, 65536, "none", "", "²", None):
            self.assertStays({"tcpSocket": {"port": port}})
        self.assertStays({"httpGet": {"port": 1, "scheme": "GOPHER"}})
        self.assertStays({"tcpSocket": {"port": 1}, "exec": {"command": ["true"]}})
        self.assertStays({"tcpSocket": {"port": 1}, "grpc": {"port": 1}})
        self.assertStays({"periodSeconds": 1})
        self.assertStays({})

    def test_too_much_is_refused(self) -> None:
        def pod(length: int) -> dict[str, Any]:
            return a_pod(containers=[app(readinessProbe={"httpGet": {"path": "/" + "a" * length, "port": 1}})])

        frame = len(self.text(self.inject(pod(0))))
        self.assertEqual(len(self.text(self.inject(pod(MAX_TEXT - frame)))), MAX_TEXT)
        self.assertIn("longer than 64 KiB", self.problem(pod(MAX_TEXT - frame + 1)))

    def test_bytes_are_counted(self) -> None:
        text = self.text(self.inject(a_pod(containers=[app(readinessProbe={"grpc": {"port": 1, "service": "é"}})])))
        self.assertTrue(text.isascii())
        self.assertEqual(json.loads(text)["/probe/app/readiness"]["grpc"]["service"], "é")
