"""What users are told, by a real API server: warnings as they apply, events on what makes their pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue

from tests.kube.binaries import binaries
from tests.kube.injector_case import INJECT, InjectorCase
from tests.kube.plain_api import Document


class ToldCase(InjectorCase):
    def workload(self, kind: str = "Deployment", **spec: Any) -> Document:
        """Return a workload that somebody may have written."""
        pod: Document = {"metadata": {"labels": {"app": "web"}}, "spec": self.a_pod(**spec)["spec"]}
        document: Document = {
            "apiVersion": "batch/v1" if kind.endswith("Job") else "apps/v1",
            "kind": kind,
            "metadata": {"name": "web", "namespace": self.apps},
            "spec": {"template": pod},
        }
        if kind.endswith("Job"):
            pod["spec"]["restartPolicy"] = "Never"
        else:
            document["spec"]["selector"] = {"matchLabels": {"app": "web"}}
        if kind == "CronJob":
            document["spec"] = {"schedule": "@daily", "jobTemplate": {"spec": document["spec"]}}
        return document

    def written(self, document: Document) -> str:
        file = Path(self.mktemp())
        file.write_text(json.dumps(document))
        return str(file)

    async def warnings(self, document: Document, *options: str) -> list[str]:
        """Return the warnings that kubectl prints."""
        file = self.written(document)
        environment = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.cluster.folder)}
        out, err, status = await getProcessOutputAndValue(
            str(binaries() / "kubectl"), ("apply", "-f", file, *options), environment
        )
        self.assertEqual(status, 0, (out + err).decode())
        return [line.removeprefix("Warning: ") for line in err.decode().splitlines() if line.startswith("Warning: ")]


class WarningTests(ToldCase):
    async def test_workloads_whose_pods_cannot_be_meshed(self) -> None:
        told = ["not meshed by meshtx: hostNetwork: it shares the network of its node"]
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
            workload = self.workload(kind, hostNetwork=True)
            self.assertEqual(await self.warnings(workload, "--dry-run=server"), told, kind)

    async def test_workloads_whose_pods_will_be_refused(self) -> None:
        (warning,) = await self.warnings(self.workload("CronJob", securityContext={"runAsUser": 2102}))
        self.assertIn("its pods will be refused: container 'app' runs as user 2102", warning)

    async def test_words_that_nobody_understands(self) -> None:
        workload = self.workload()
        template = workload["spec"]["template"]["metadata"]
        template["labels"][INJECT] = "enable"
        template["annotations"] = {"config.meshtx.io/proxy-loglevel": "debug"}
        told = await self.warnings(workload)
        self.assertEqual(told[0], f"{INJECT}: 'enable' is neither enabled nor disabled; it is ignored")
        self.assertIn("did you mean 'config.meshtx.io/proxy-log-level'", told[1])
        self.assertEqual(len(told), 2)

    async def test_a_label_in_the_wrong_place(self) -> None:
        workload = self.workload()
        workload["metadata"]["labels"] = {INJECT: "enabled"}
        (warning,) = await self.warnings(workload)
        self.assertIn("a label of Deployment itself has no effect", warning)

    async def test_a_namespace_whose_pod_security_forbids_it(self) -> None:
        restricted = {INJECT: "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
        workload = self.workload()
        workload["metadata"]["namespace"] = await self.new_namespace(**restricted)
        self.assertIn("the namespace enforces Pod Security 'restricted'", "\n".join(await self.warnings(workload)))

    async def test_who_does_not_ask_for_it_is_told_nothing(self) -> None:
        workload = self.workload(hostNetwork=True)
        workload["metadata"]["namespace"] = await self.new_namespace()
        self.assertEqual(await self.warnings(workload), [])
        self.assertEqual(await self.warnings(self.workload()), [])

    async def test_pods_that_users_make_themselves(self) -> None:
        pod = {"apiVersion": "v1", "kind": "Pod", **self.a_pod(hostNetwork=True)}
        pod["metadata"]["namespace"] = self.apps
        self.assertEqual(
            await self.warnings(pod), ["not meshed by meshtx: hostNetwork: it shares the network of its node"]
        )


class EventTests(ToldCase):
    async def events(self) -> list[tuple[str, str]]:
        found = await self.call("GET", f"/api/v1/namespaces/{self.apps}/events")
        return [
            (each["involvedObject"]["kind"], each["message"])
            for each in found["items"]
            if each["source"].get("component") == "meshtx-injector"
        ]

    async def test_what_becomes_of_its_pods_is_an_event_on_the_controller(self) -> None:
        await self.warnings(self.workload(hostNetwork=True))
        (event,) = await self.wait_until(self.events, what="an event")
        self.assertEqual(event, ("ReplicaSet", "not meshed by meshtx: hostNetwork: it shares the network of its node"))

    async def test_a_dry_run_leaves_none(self) -> None:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
        pod = self.a_pod(hostNetwork=True)
        pod["metadata"]["ownerReferences"] = [owner]
        status, answer = await self.create(pod, dry_run=True)
        self.assertEqual(status, 201, answer)
        await self.created(pod)
        await self.wait_until(self.events, what="the event of the pod that is there")
        self.assertEqual(len(await self.events()), 1)
