"""The whole of ``meshdirectory``: the API's objects in, a sidecar's targets out."""

from __future__ import annotations

import time

import treq
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from meshtx.directory.target import Meshed, NotReady, Target
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.name import MeshScope
from meshtx.wire.address import Address
from tests.kube.directory_program import RULES, DirectoryProgramCase
from tests.net.certificates import make_ca
from tests.pki.made import SCOPE
from tests.services.admin import metrics_status

MESHED = {"app": "web", "meshtx.io/control-plane-ns": "meshtx"}
PROXY = [{"name": "meshtx-proxy", "image": "example.org/meshtx:1", "restartPolicy": "Always"}]
AT_ONCE = 1.0
"""Seconds from a write to what a sidecar does because of it."""


class DirectoryProgramTests(DirectoryProgramCase):
    async def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a page of the admin site."""
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        response = await treq.get(f"http://127.0.0.1:{self.admin}/{path}", agent=agent)
        return response.code, await response.text()

    async def test_its_metrics_are_this_hosts_alone_unless_everybodys(self) -> None:
        for plaintext, status in (("false", 403), ("true", 200)):
            program = await self.start(admin_plaintext_metrics=plaintext)
            self.assertEqual(metrics_status(program.listeners, "10.1.0.4"), status)
            self.assertEqual(metrics_status(program.listeners, "127.0.0.1"), 200)
            await self.stop(program)

    async def web_pod(self, name: str, ip: str) -> Target:
        """Make a meshed pod; return its target."""
        await self.pod(name, ip, MESHED, initContainers=PROXY)
        where = Address.of(ip, 8080)
        return Target(where, "", Meshed(SCOPE.name(self.namespace, "default"), Address.of(ip, 4143)))

    async def test_a_sidecar_finds_who_is_meshed_and_who_is_not(self) -> None:
        target = await self.web_pod("web", "10.77.0.1")
        await self.ready(await self.start())
        sidecar = self.sidecar(SCOPE.name(self.namespace, "default"))
        self.assertEqual(await sidecar.find(target.address), target)
        nobody = Address.of("10.77.0.9", 8080)
        self.assertEqual(await sidecar.find(nobody), Target(nobody, "", NoTls(NoTlsReason.NOT_DISCOVERED)))

    async def test_a_service_is_its_endpoints_and_follows_them(self) -> None:
        made = await self.service("web", {"app": "web"}, [{"port": 80, "targetPort": 8080}])
        vip = Address.of(made["spec"]["clusterIP"], 80)
        targets = {(await self.web_pod(f"web-{number}", f"10.77.0.{number}")).address for number in (1, 2)}
        await self.ready(await self.start())
        sidecar = self.sidecar(SCOPE.name(self.namespace, "default"))
        found: set[Address] = set()

        async def both() -> bool:
            target = await sidecar.find(vip)
            self.assertEqual(target.authority, f"web.{self.namespace}.svc.cluster.local:80")
            found.add(target.address)
            return found == targets

        await self.wait_until(both, what="both endpoints are picked")
        began = time.monotonic()
        await self.delete_pod("web-1")
        gone = Address.of("10.77.0.1", 8080)

        async def one() -> bool:
            picked = [(await sidecar.find(vip)).address for _ in range(20)]
            return gone not in picked

        await self.wait_until(one, what="the deleted one is picked no more")
        self.assertLess(time.monotonic() - began, AT_ONCE)

    async def test_its_own_ports_are_those_of_its_pod(self) -> None:
        skipped = {"config.meshtx.io/skip-inbound-ports": "9100"}
        await self.pod("web", "127.0.0.1", MESHED, initContainers=PROXY, annotations=skipped)
        await self.ready(await self.start())
        for account, known in (("default", True), ("other", False)):
            sidecar = self.sidecar(SCOPE.name(self.namespace, account))
            await self.wait_until(lambda: sidecar.ready, what="the first table")  # noqa: B023  # awaited here
            self.assertEqual(sidecar.own_port(Address.of("127.0.0.1", 9100)).skipped, known)

    async def test_what_a_service_does_to_its_clients_is_told_as_soon_as_it_changes(self) -> None:
        own = Address.of(self.reachable_address(), 8080)
        proxy = [{**PROXY[0], "ports": [{"containerPort": own.port, "name": "http"}]}]
        await self.pod("web", own.host, MESHED, initContainers=proxy)
        await self.service("public", {"app": "web"}, [{"port": 80, "targetPort": "http"}], type="LoadBalancer")
        await self.ready(await self.start(listen=f"{own.host}:0"))
        sidecar = self.sidecar(SCOPE.name(self.namespace, "default"), host=own.host)
        name = f"{self.namespace}/public"

        async def becomes(hidden_by: str) -> None:
            await self.wait_until(lambda: sidecar.own_port(own).hidden_by == hidden_by, what=f"'{hidden_by}' is told")

        await becomes(name)
        for spec, told in (
            ({"externalTrafficPolicy": "Local"}, ""),
            ({"externalTrafficPolicy": "Cluster"}, name),
            ({"selector": {"app": "other"}}, ""),
            ({"selector": {"app": "web"}}, name),
            ({"type": "ClusterIP", "externalTrafficPolicy": None}, ""),
            ({"type": "NodePort"}, name),
        ):
            began = time.monotonic()
            path = f"/api/v1/namespaces/{self.namespace}/services/public"
            await self.call("PATCH", path, {"spec": spec}, kind="merge")
            await becomes(told)
            if "selector" not in spec:  # else it waits for the controller of the control plane
                self.assertLess(time.monotonic() - began, AT_ONCE)

    async def test_who_is_not_of_this_mesh_learns_nothing(self) -> None:
        await self.ready(await self.start())
        strangers = (
            self.sidecar(MeshScope("linkerd").name("shop", "web")),
            self.sidecar(SCOPE.name("shop", "web"), make_ca()),
        )
        known = self.sidecar(SCOPE.name("shop", "web"))
        await self.wait_until(lambda: known.ready, what="the table of one that is")
        for each in strangers:
            await self.wait_until(lambda: each._follower.away, what="a refusal")  # noqa: B023  # awaited here
            self.assertFalse(each.ready)

    async def test_it_is_ready_once_the_cluster_is_known_and_shows_how_old_that_is(self) -> None:
        program = await self.start()
        status, text = await self.get("ready")
        self.assertEqual((status, "known yet" in text or "checked yet" in text), (503, True), text)
        await self.ready(program)
        self.sidecar(SCOPE.name("shop", "web"))
        await self.wait_until(lambda: program.directory.sessions, what="a session")
        self.assertEqual(await self.get("ready"), (200, "ready\n"))
        _, text = await self.get("metrics")
        self.assertRegex(text, r'meshtx_watch_age_seconds\{resource="pods"\} \d')
        self.assertIn("meshtx_directory_sessions 1.0", text)

    async def test_without_a_permission_it_says_which(self) -> None:
        program = await self.start([each for each in RULES if each["resources"] != ["nodes"]])
        missing = "may not list nodes"
        await self.wait_until(lambda: missing in (program.ready_reason() or ""), what="the missing rule")

    async def test_without_the_optional_permission_it_works(self) -> None:
        program = await self.start([each for each in RULES if each["resources"] != ["servicecidrs"]])
        await self.ready(program)

    async def test_while_the_api_is_away_it_answers_from_what_it_knows_and_ignorance_is_no_answer(self) -> None:
        target = await self.web_pod("web", "10.77.0.1")
        program = await self.start()
        await self.ready(program)
        self.stop_api()
        await self.wait_until(lambda: not program.watch.followed(), what="the API's absence is noticed")
        sidecar = self.sidecar(SCOPE.name(self.namespace, "default"))
        self.assertEqual(await sidecar.find(target.address), target)
        await self.assertFailure(sidecar.find(Address.of("10.77.0.9", 8080)), NotReady)
        self.assertIsNone(program.ready_reason())

    async def test_a_sidecar_learns_from_the_next_one_what_has_changed_meanwhile(self) -> None:
        target = await self.web_pod("web", "10.77.0.1")
        first = await self.start()
        await self.ready(first)
        sidecar = self.sidecar(SCOPE.name(self.namespace, "default"))
        self.assertEqual(await sidecar.find(target.address), target)
        await self.stop(first)
        await self.delete_pod("web")
        self.assertEqual(await sidecar.find(target.address), target)
        await self.start(listen=f"127.0.0.1:{self.port}")
        plain = Target(target.address, "", NoTls(NoTlsReason.NOT_DISCOVERED))

        async def learned() -> bool:
            return await sidecar.find(target.address) == plain

        await self.wait_until(learned, timeout=30.0, what="the change is learned")
