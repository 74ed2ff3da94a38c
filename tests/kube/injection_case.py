"""What tests of the injection start from: values, pods that somebody may have written, and short ways to ask."""

from __future__ import annotations

import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.config import ProxyConfig, load
from meshtx.kube.injection import Injected, Outcome, Refused, inject
from meshtx.kube.sidecar import PROXY, Values
from tests.config_case import PEM

VALUES = Values(
    image="example.org/meshtx:1",
    version="1",
    trust_anchors=PEM,
    trust_digest="d1",
    identity_address="meshtx-identity.meshtx.svc.cluster.local:8080",
    directory_address="meshtx-directory.meshtx.svc.cluster.local:8086",
)


def a_pod(**spec: Any) -> dict[str, Any]:
    """Return what somebody may have written."""
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "example.org/app"}], **spec}}


def annotated(**settings: str) -> dict[str, Any]:
    annotations = {f"config.meshtx.io/{key.replace('_', '-')}": value for key, value in settings.items()}
    return {**a_pod(), "metadata": {"annotations": annotations}}


class Case(SynchronousTestCase):
    maxDiff = None

    def outcome(self, pod: dict[str, Any], namespace: dict[str, str] | None = None, values: Values = VALUES) -> Outcome:
        before = deepcopy(pod)
        outcome = inject(pod, "emojivoto", namespace or {}, values)
        self.assertEqual(pod, before, "what was given has changed")
        return outcome

    def inject(
        self, pod: dict[str, Any], namespace: dict[str, str] | None = None, values: Values = VALUES
    ) -> dict[str, Any]:
        outcome = self.outcome(pod, namespace, values)
        assert isinstance(outcome, Injected), outcome
        self.assertEqual(outcome.warnings, ())
        return outcome.pod

    def warnings(self, pod: dict[str, Any], namespace: dict[str, str] | None = None) -> tuple[str, ...]:
        outcome = self.outcome(pod, namespace)
        assert isinstance(outcome, Injected), outcome
        return outcome.warnings

    def problem(self, pod: dict[str, Any]) -> str:
        outcome = self.outcome(pod)
        assert isinstance(outcome, Refused), outcome
        return outcome.problem


class EnvironmentCase(Case):
    """What is injected is what meshproxy reads: a variable that it does not know ends it."""

    def setUp(self) -> None:
        self.tokens = Path(self.mktemp())
        self.tokens.mkdir()
        (self.tokens / "meshtx-identity-token").write_text("token")
        self.keys = Path(self.mktemp())
        self.keys.mkdir()

    def environment(self, pod: dict[str, Any], values: Values = VALUES, account: str = "web") -> dict[str, str]:
        """Return the variables as the kubelet sets them, its paths put into this test's folders."""
        spec = self.inject(pod, values=values)["spec"]
        fields = {"spec.serviceAccountName": account, "metadata.namespace": "emojivoto"}
        found: dict[str, str] = {}
        (proxy,) = (each for each in (*spec["initContainers"], *spec["containers"]) if each["name"] == PROXY)
        for each in proxy["env"]:
            text = each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found.get(match[1], match[0]), text)
        for name, folder in (("TOKEN_FILE", self.tokens), ("KEY_FOLDER", self.keys)):
            path = found[f"MESHTX_PROXY_{name}"]
            mounts = [each["mountPath"] for each in proxy["volumeMounts"]]
            self.assertTrue(any(path == mount or path.startswith(f"{mount}/") for mount in mounts))
            found[f"MESHTX_PROXY_{name}"] = (
                str(folder / path.rpartition("/")[2]) if folder == self.tokens else str(folder)
            )
        return found

    def config(self, pod: dict[str, Any], values: Values = VALUES) -> ProxyConfig:
        """Return what meshproxy makes of them."""
        return load(ProxyConfig, {}, {**os.environ, **self.environment(pod, values)})
