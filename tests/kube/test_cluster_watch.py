"""The directory's answers follow a real cluster: Deployments, Services, slices; also over an API server's absence."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from meshtx.directory.messages import endpoint as endpoint_message
from meshtx.kube.cluster import Answer, Backend, Cluster, Settings
from meshtx.kube.cluster_watch import ClusterWatch
from meshtx.kube.directory_messages import answer_message
from meshtx.kube.directory_metrics import DirectoryMetrics
from meshtx.kube.directory_service import DirectoryService
from meshtx.kube.objects import Kept
from meshtx.kube.watching import Watched
from meshtx.observe.metrics import Metrics
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.directory_pb2 import FollowRequest, Update
from meshtx.wire.address import Address
from meshtx.wire.network import parse_network
from tests.kube.case import KubeTestCase
from tests.kube.fake_call import FakeCall

SCOPE = MeshScope()
MESHED = {"app": "web", "meshtx.io/control-plane-ns": "meshtx"}
PROXY = [{"name": "meshtx-proxy", "image": "example.org/meshtx:1", "restartPolicy": "Always"}]
AT_ONCE = 1.0
"""Seconds from the write that decides an answer to its arrival."""


class Followed:
    """A cluster that is followed, and one sidecar that is told."""

    def __init__(self, case: ClusterWatchCase) -> None:
        self.case = case
        self.cluster = Cluster(SCOPE, Settings(mesh=(parse_network("10.0.0.0/8"),)))
        self.service = DirectoryService(self.cluster, reactor, lambda: True)
        self.metrics = Metrics()
        shown = DirectoryMetrics(self.metrics.registry, lambda: 0, lambda: 0)
        self.watch = ClusterWatch(case.api, self.service.changed, self.service.known, reactor, shown)
        self.watch.startService()
        self.call = FakeCall(SCOPE.name(case.namespace, "default"))

    @property
    def watches(self) -> list[Watched[Kept]]:
        return [each for each in self.watch if isinstance(each, Watched)]

    async def stop(self) -> None:
        self.service.stop()
        await self.watch.stopService()

    async def known(self) -> None:
        await self.case.wait_until(lambda: self.service.synced, what="the first sync")

    def follow(self, *addresses: Address) -> None:
        """Have the sidecar told of these."""
        request = FollowRequest(known=[endpoint_message(each) for each in addresses])
        running = ensureDeferred(self.service.follow(request, self.call)).addErrback(lambda _: None)
        self.case.addCleanup(running.cancel)

    async def told(self, answer: Answer, within: float = 10.0) -> None:
        """Wait until the sidecar is told this."""
        message = Update(answer=answer_message(answer))
        await self.case.wait_until(lambda: self.call.sent[-1:] == [message], within, f"{answer}")

    async def told_at_once(self, write: Awaitable[object], answer: Answer) -> None:
        """Wait until a write is done and the sidecar told this because of it, which is to take no longer than that."""
        began = time.monotonic()
        await write
        await self.told(answer)
        self.case.assertLess(time.monotonic() - began, AT_ONCE)


class ClusterWatchCase(KubeTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.followed = Followed(self)
        self.addCleanup(self.followed.stop)

    def backend(self, text: str, **changed: Any) -> Backend:
        values = {"name": SCOPE.name(self.namespace, "default")} | changed
        return Backend(Address.parse(text), **values)

    async def web(self) -> Address:
        """Make a Service for the meshed pods; return its address."""
        made = await self.service("web", {"app": "web"}, [{"port": 80, "targetPort": 8080}])
        return Address.of(made["spec"]["clusterIP"], 80)

    def web_answer(self, address: Address, *backends: Backend) -> Answer:
        return Answer(address, f"web.{self.namespace}.svc.cluster.local:80", backends)

    async def web_pod(self, name: str, ip: str) -> None:
        await self.pod(name, ip, MESHED, initContainers=PROXY)

    def state(self, followed: Followed) -> list[Any]:
        """Return all that is known of the cluster."""
        return [dict(watch.store) for watch in followed.watches]


class ClusterWatchTests(ClusterWatchCase):
    async def test_a_pod_that_is_created_and_deleted_is_told_at_once(self) -> None:
        await self.followed.known()
        where = Address.of("10.77.0.1", 8080)
        self.followed.follow(where)
        await self.followed.told(Answer(where, "", Backend(where)))
        meshed = Answer(where, "", self.backend("10.77.0.1:8080"))
        await self.followed.told_at_once(self.web_pod("web", "10.77.0.1"), meshed)
        await self.followed.told_at_once(self.delete_pod("web"), Answer(where, "", Backend(where)))

    async def test_a_service_is_those_of_its_pods_that_are_ready(self) -> None:
        vip = await self.web()
        await self.followed.known()
        self.followed.follow(vip)
        await self.followed.told(self.web_answer(vip))
        await self.web_pod("web-1", "10.77.0.1")
        await self.followed.told(self.web_answer(vip, self.backend("10.77.0.1:8080")))
        await self.web_pod("web-2", "10.77.0.2")
        both = (self.backend("10.77.0.1:8080"), self.backend("10.77.0.2:8080"))
        await self.followed.told(self.web_answer(vip, *both))
        await self.run_pod("web-1", "10.77.0.1", ready=False)
        await self.followed.told(self.web_answer(vip, both[1]))
        await self.followed.told_at_once(self.delete_pod("web-2"), self.web_answer(vip))

    async def test_a_deployment_that_is_scaled(self) -> None:
        vip = await self.web()
        await self.followed.known()
        self.followed.follow(vip)
        await self.apply([self.deployment(2)])
        addresses = await self.run_all(2)
        await self.followed.told(self.web_answer(vip, *(self.backend(f"{ip}:8080") for ip in addresses)))
        scale = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/web/scale"
        await self.call("PATCH", scale, {"spec": {"replicas": 1}}, kind="merge")
        [left] = await self.wait_until(lambda: self.pods(1), what="one pod is left")
        decided = time.monotonic()
        await self.followed.told(self.web_answer(vip, self.backend(f"{left['status']['podIP']}:8080")))
        self.assertLess(time.monotonic() - decided, AT_ONCE)

    async def test_an_api_server_that_was_away_has_nothing_missed(self) -> None:
        vip = await self.web()
        await self.web_pod("web-1", "10.77.0.1")
        await self.followed.known()
        self.followed.follow(vip)
        await self.followed.told(self.web_answer(vip, self.backend("10.77.0.1:8080")))
        self.stop_api()
        there = len(self.followed.call.sent)
        await self.start_api()
        await self.delete_pod("web-1")
        await self.web_pod("web-2", "10.77.0.2")
        await self.followed.told(self.web_answer(vip, self.backend("10.77.0.2:8080")), within=45.0)
        self.assertGreater(len(self.followed.call.sent), there)
        anew = Followed(self)
        self.addCleanup(anew.stop)
        await anew.known()
        await self.wait_until(lambda: self.state(anew) == self.state(self.followed), what="both know the same")

    async def test_what_is_known_of_the_cluster_is_shown(self) -> None:
        await self.followed.known()
        await self.service_networks()
        for resource in ("pods", "services", "endpointslices", "nodes", "servicecidrs"):
            self.assertIn(f'meshtx_watch_turns_total{{resource="{resource}",turn="synced"}} 1.0', self.shown())
            self.assertRegex(self.shown(), rf'meshtx_watch_age_seconds{{resource="{resource}"}} \d')

    async def test_the_networks_of_services_are_the_meshs(self) -> None:
        await self.followed.known()
        await self.service_networks()
        ranges = Cluster(SCOPE, Settings())
        for watch in self.followed.watches:
            for each in watch.store.values():
                ranges.apply(None, each)
        self.assertIn(parse_network("10.96.0.0/16"), ranges.ranges.mesh)  # tests.kube.flags

    async def service_networks(self) -> None:
        synced = 'meshtx_watch_turns_total{resource="servicecidrs",turn="synced"} 1.0'
        await self.wait_until(lambda: synced in self.shown(), what="the networks of Services are known")

    def shown(self) -> str:
        return self.followed.metrics.exposition().decode()

    def deployment(self, replicas: int) -> dict[str, Any]:
        container = {"name": "app", "image": "example.org/app:1"}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": self.namespace},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": MESHED},
                    "spec": {"containers": [container], "initContainers": PROXY},
                },
            },
        }

    async def pods(self, count: int) -> list[Any] | None:
        """Return the Deployment's pods that are not being deleted, once there are so many."""
        found = (await self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods"))["items"]
        staying = [each for each in found if "deletionTimestamp" not in each["metadata"]]
        return staying if len(staying) == count else None

    async def run_all(self, count: int) -> list[str]:
        made = await self.wait_until(lambda: self.pods(count), what=f"{count} pods")
        addresses = [f"10.77.1.{number}" for number in range(1, count + 1)]
        for each, ip in zip(made, addresses, strict=True):
            await self.run_pod(each["metadata"]["name"], ip)
        return addresses
