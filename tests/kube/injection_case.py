"""What tests of the injection start from: values, pods that somebody may have written, and short ways to ask."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.injection import Injected, Outcome, Refused, inject
from meshtx.kube.sidecar import Values
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
