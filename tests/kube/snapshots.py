"""A healthy cluster as `meshtx check` has read it, and changes of it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx import __version__
from meshtx.kube.checks.outcomes import Outcome, Passed, run
from meshtx.kube.checks.snapshot import Found, Key, Read, Server, Snapshot
from meshtx.kube.checks.whole import AFTER
from meshtx.kube.injection import Injected, inject
from meshtx.kube.install_trust import generated
from meshtx.kube.manifests.shapes import TRUST_CONFIG_MAP, TRUST_KEY
from meshtx.kube.manifests.values import Values
from meshtx.kube.manifests.whole import documents
from meshtx.kube.serving_certificate import generate, to_pem
from meshtx.kube.sidecar import Values as SidecarValues
from meshtx.kube.tap_names import API_SERVICE
from meshtx.kube.webhook import NAME
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.name import MeshScope

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
SERVER = Server("https://api.example:6443", (1, 36), "v1.36.3", "admin", 0.0)

Json = dict[str, Any]
"""An object of the API (Any: JSON)."""


@cache
def _installed() -> dict[Key, Json]:
    """Return the mesh's objects as the API gives them, certificates and all."""
    trust = generated(MeshScope(), NOW).trust
    found = {Key.of(each): each for each in documents(Values(trust=trust))}
    available = {"type": "Available", "status": "True"}
    found[Key("APIService", API_SERVICE)]["status"] = {"conditions": [available]}
    bundle = b64encode(to_pem([generate(f"{NAME}.meshtx.svc", NOW).authority]).encode()).decode()
    for entry in found[Key("MutatingWebhookConfiguration", NAME)]["webhooks"]:
        entry["clientConfig"]["caBundle"] = bundle
    for key, each in found.items():
        if key.kind == "Deployment":
            each["metadata"]["generation"] = 1
            each["status"] = {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}
    return found


def trust_digest() -> str:
    """Return the digest of the anchors that are installed."""
    return TrustBundle.from_pem(_installed()[Key("ConfigMap", TRUST_CONFIG_MAP, "meshtx")]["data"][TRUST_KEY]).digest


def namespace(name: str = "emojivoto", **labels: str) -> Json:
    """Return one; underscores stand for nothing: use ``**{...}``."""
    return {"metadata": {"name": name, "labels": {"meshtx.io/inject": "enabled", **labels}}}


def bare_pod(name: str = "web", where: str = "emojivoto", **spec: Any) -> Json:
    """Return a pod that runs, without a proxy."""
    container = {"name": "app", "image": "example.org/app:1"}
    return {
        "metadata": {"name": name, "namespace": where, "labels": {"app": name}, "annotations": {}},
        "spec": {"containers": [container], **spec},
        "status": {"phase": "Running"},
    }


def meshed_pod(name: str = "web", pod: Json | None = None) -> Json:
    """Return a pod that runs, as the injector has made it.

    :param pod: from this, if not from the least there is.
    """
    values = SidecarValues("i", __version__, "", trust_digest(), "identity:1", "directory:1")
    outcome = inject(pod or bare_pod(name), "emojivoto", {}, values)
    assert isinstance(outcome, Injected), outcome
    return outcome.pod


def healthy(**changes: Any) -> Snapshot:
    """Return a mesh of which nothing is to be said."""
    endpoints = {"metadata": {"labels": {"kubernetes.io/service-name": NAME}}, "endpoints": [{"conditions": {}}]}
    snapshot = Snapshot(
        "meshtx",
        __version__,
        NOW,
        SERVER,
        {key: Found(deepcopy(each)) for key, each in _installed().items()},
        namespaces=Found([namespace()]),
        pods=Found([meshed_pod()]),
        services=Found([]),
        slices=Found([endpoints]),
    )
    return replace(snapshot, **changes)


def changed(kind: str, name: str, change: Callable[[Json], object] | Read[Json]) -> Snapshot:
    """Return a healthy mesh but for one object."""
    snapshot = healthy()
    key = snapshot.key(kind, name)
    if not callable(change):
        return replace(snapshot, objects={**snapshot.objects, key: change})
    change(snapshot.object(kind, name))
    return snapshot


def outcomes(snapshot: Snapshot) -> dict[str, Outcome]:
    """Return what came of each check."""
    return {each.check.name: each.outcome for each in run(AFTER, snapshot).results}


class CheckedCase(SynchronousTestCase):
    maxDiff = None

    def only(self, snapshot: Snapshot) -> tuple[str, Any]:  # Any: the outcome, of whatever kind
        """Return the only check that did not pass, and what came of it; what was skipped counts too."""
        others = [(name, found) for name, found in outcomes(snapshot).items() if not isinstance(found, Passed)]
        self.assertEqual(len(others), 1, others)
        return others[0]
