"""``meshtx check`` as it is called: a process, a kubeconfig, a real API server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from meshtx.kube.checks.data_plane import DATA_PLANE
from meshtx.kube.checks.outcomes import Passed, Skipped, run
from meshtx.kube.checks.reading import Reader
from meshtx.kube.checks.snapshot import path_of
from meshtx.kube.checks.webhook import WEBHOOK
from meshtx.kube.manifests.shapes import ISSUER_SECRET
from tests.kube.check_case import CheckCase
from tests.kube.injector_case import InjectorCase


class ProgramTests(CheckCase):
    async def check(self, *arguments: str) -> tuple[int, str]:
        """Return the status, and what is printed; nothing may stand on stderr."""
        command = [sys.executable, "-m", "meshtx", "check", f"--kubeconfig={self.kubeconfig}", *arguments]
        done = await deferToThread(subprocess.run, command, capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    async def checked(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Return the status, and what came of each check."""
        status, out = await self.check("-n", self.mesh, "-o", "json", *arguments)
        answer = json.loads(out)
        self.assertEqual(answer["passed"], status == 0)
        return status, {check["name"]: check for group in answer["groups"] for check in group["checks"]}

    def results(self, checks: dict[str, Any]) -> set[str]:
        return {each["result"] for each in checks.values()}

    async def test_before_and_after_an_installation_and_when_it_is_broken(self) -> None:
        status, checks = await self.checked("--pre")
        self.assertEqual((status, self.results(checks)), (0, {"passed"}))
        status, checks = await self.checked("--wait=1m")  # there is no namespace: nothing to wait for
        self.assertEqual((status, [*checks][-1], checks["namespace"]["result"]), (1, "namespace", "failed"))

        await self.healthy()
        status, checks = await self.checked()
        self.assertEqual((status, self.results(checks)), (0, {"passed"}), checks)
        status, checks = await self.checked("--pre")
        self.assertEqual((status, checks["not-installed"]["result"]), (1, "failed"))

        await self.service("public", {"app": "web"}, [80], type="LoadBalancer")
        status, out = await self.check("-n", self.mesh)
        self.assertEqual(status, 0)
        self.assertIn("  warned  clients-seen: Services from outside", out)
        self.assertIn(
            f"        {self.namespace}/public: LoadBalancer\n      hint: set externalTrafficPolicy: Local", out
        )

        await self.call("DELETE", f"{self.own}/secrets/{ISSUER_SECRET}")
        status, out = await self.check("-n", self.mesh)
        self.assertEqual((status, out.count("  failed  ")), (1, 1), out)
        self.assertIn(f"        Secret {ISSUER_SECRET}\n      hint: apply what 'meshtx install' prints", out)

    async def test_it_waits_for_what_comes_by_itself(self) -> None:
        await self.healthy()
        await self.call("PATCH", f"{self.own}/services/meshtx-injector", _selector("nobody"), kind="merge")
        await self.wait_until(self.is_alone, 30, "no endpoint")
        before = await self.looks()
        running = ensureDeferred(self.checked("--wait=60s"))

        async def again() -> bool:
            return await self.looks() >= before + 2

        await self.wait_until(again, 60, "a second look")
        self.assertNoResult(running)
        await self.call("PATCH", f"{self.own}/services/meshtx-injector", _selector("meshtx-injector"), kind="merge")
        status, checks = await running
        self.assertEqual((status, checks["webhook-endpoints"]["result"]), (0, "passed"))

    async def looks(self) -> int:
        """Return how often the API server was asked by somebody who they are, which each look begins with."""
        metrics = await self.kubectl("get", "--raw", "/metrics")
        counts = re.findall(
            r'^apiserver_request_total\{.*resource="selfsubjectreviews".*\} (\d+)$', metrics, re.MULTILINE
        )
        return sum(map(int, counts))

    async def is_alone(self) -> bool:
        return not await self.endpoints("meshtx-injector", self.mesh)


class InjectorTests(InjectorCase):
    """With an injector that runs, and writes its certificate and its authorities itself."""

    async def test_the_api_server_believes_the_injector(self) -> None:
        reader = Reader(self.api, self.cluster.url, self.namespace, lambda: datetime.now(UTC))
        snapshot = await reader.installed()
        found = {each.check.name: each.outcome for each in run([WEBHOOK], snapshot).results}
        self.assertIsInstance(found.pop("webhook-endpoints"), Skipped)  # it has no Deployment here
        self.assertEqual({type(each) for each in found.values()}, {Passed}, found)

    async def test_pods_that_it_meshes_pass(self) -> None:
        pod = await self.created(self.a_pod())
        await self.run_pod(pod["metadata"]["name"], "10.9.0.1", namespace=self.apps)
        reader = Reader(self.api, self.cluster.url, self.namespace, lambda: datetime.now(UTC))
        snapshot = await reader.installed()
        self.assertEqual([path_of(each) for each in snapshot.meshed_pods()], [f"{self.apps}/web"])
        found = {each.check.name: each.outcome for each in run([DATA_PLANE], snapshot).results}
        self.assertIsInstance(found.pop("proxies-version"), Skipped)  # likewise
        self.assertEqual({type(each) for each in found.values()}, {Passed}, found)


def _selector(name: str) -> dict[str, Any]:
    return {"spec": {"selector": {"app.kubernetes.io/name": name}}}
