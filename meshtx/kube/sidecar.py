"""The containers and volumes that make a pod a meshed one.

    meshtx-init    runs first and ends: turns the pod's connections to the proxy, by nft and nothing else
    meshtx-proxy   `twistd meshproxy`: a native sidecar where the server knows them, else the first container

The init container alone has a capability, NET_ADMIN, and is root for it: nft of another user would not get it. Its
ruleset is rendered here (`meshtx.net.redirect`): to start a Python for it would take longer than to load it. The proxy
has a user of its own, by which the redirect knows its connections. Neither gets the pod's API token: an empty volume is
where Kubernetes would mount it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from meshtx.identity.token_claims import AUDIENCE
from meshtx.kube import pod_settings
from meshtx.kube.annotations import Resources, Settings
from meshtx.kube.api_config import SERVICE_ACCOUNT
from meshtx.kube.json_patch import Json
from meshtx.kube.probes import Probes
from meshtx.net.redirect import RedirectRules, render
from meshtx.pki.name import MeshScope, Name
from meshtx.wire.ports import PROXY_ADMIN, PROXY_INBOUND, PROXY_OUTBOUND, PROXY_TAP

INIT, PROXY = "meshtx-init", "meshtx-proxy"
PROXY_UID = 2102

TOKEN_SECONDS = 86400
TOKEN_FOLDER = "/var/run/secrets/tokens"  # noqa: S105  # a folder
TOKEN_FILE = "meshtx-identity-token"  # noqa: S105  # a file's name
KEY_FOLDER = "/var/run/meshtx/identity"
API_TOKEN_FOLDER = str(SERVICE_ACCOUNT)

KEY_VOLUME, TOKEN_VOLUME, MASK_VOLUME = "meshtx-identity", TOKEN_FILE, "meshtx-no-api-token"

START_SECONDS = 120
"""In which the first certificate must have come; the user's containers wait for it."""


class Family(StrEnum):
    """The IP families of the pods; the first one is that of the address which the kubelet probes."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"


@dataclass(frozen=True, slots=True)
class ConfigMapKey:
    """Where the pod itself finds a text, in its own namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Values:
    """What an installation decides for all pods.

    :param image: of both containers.
    :param version: of meshtx in it.
    :param trust_anchors: PEM, of less than 128 KiB: it is one environment variable of the pod.
    :param trust_digest: `meshtx.pki.bundle.TrustBundle.digest` of them.
    :param native: the API server knows native sidecars (1.29 and later).
    :param anchors_from: where pods of the control plane read the anchors instead, which outlives a change of them.
    :param metrics_names: who may read the proxy's metrics.
    """

    image: str
    version: str
    trust_anchors: str
    trust_digest: str
    identity_address: str
    directory_address: str
    scope: MeshScope = field(default_factory=MeshScope)
    native: bool = True
    pull_policy: str = "IfNotPresent"
    resources: Resources = field(default_factory=Resources)
    log_level: str = "info"
    family: Family = Family.IPV4
    anchors_from: ConfigMapKey | None = None
    metrics_names: tuple[Name, ...] = ()

    @property
    def identity_name(self) -> Name:
        """Who certifies."""
        return self.scope.name(self.scope.control_namespace, "meshtx-identity")

    @property
    def directory_name(self) -> Name:
        """Who tells where everybody is, and relays taps."""
        return self.scope.name(self.scope.control_namespace, "meshtx-directory")


def init_container(values: Values, settings: Settings) -> Json:
    """Return the container that loads the redirect."""
    rules = RedirectRules(uid=PROXY_UID, skip_inbound=settings.skip_inbound, skip_outbound=settings.skip_outbound)
    return {
        "name": INIT,
        **_image(values),
        "command": ["nft"],
        "args": [render(rules)],
        "resources": settings.resources.manifest(),
        "securityContext": {
            **_hardened(add=["NET_ADMIN"]),
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [_MASK_MOUNT],
    }


def proxy_container(values: Values, settings: Settings, probes: Probes, *, native: bool, grace: int) -> Json:
    """Return the proxy: started before the user's containers, which start once it can serve.

    The kubelet starts no container before the hook of the one ahead has ended.

    :param probes: what it is to make in the kubelet's place.
    :param grace: seconds that the pod has to end.
    :raises meshtx.kube.probes.TooLong: they are.
    """
    level = settings.log_level or values.log_level
    return {
        "name": PROXY,
        **_image(values),
        **({"restartPolicy": "Always"} if native else {}),
        "lifecycle": {"postStart": {"exec": {"command": ["meshtx", "wait", f"--timeout={START_SECONDS}s"]}}},
        "command": ["twistd", "--nodaemon", "--pidfile=", f"--logger=meshtx.observe.log_levels.{level}", "meshproxy"],
        "env": [*environment(values, settings, probes), *([] if native else _outliving(settings, grace))],
        "ports": [
            {"name": "meshtx-proxy", "containerPort": PROXY_INBOUND, "protocol": "TCP"},
            {"name": "meshtx-admin", "containerPort": PROXY_ADMIN, "protocol": "TCP"},
        ],
        "livenessProbe": {**_get("/live"), "initialDelaySeconds": 10},
        "readinessProbe": _get("/ready"),
        "resources": settings.resources.manifest(),
        "securityContext": {
            **_hardened(),
            "runAsUser": PROXY_UID,
            "runAsGroup": PROXY_UID,
            "runAsNonRoot": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": KEY_VOLUME, "mountPath": KEY_FOLDER},
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True},
            _MASK_MOUNT,
        ],
    }


def volumes() -> list[Json]:
    """Return the volumes; all are in memory, so that none keeps a node from being scaled away."""
    token = {"path": TOKEN_FILE, "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS}
    return [
        {"name": KEY_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": MASK_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]


def environment(values: Values, settings: Settings, probes: Probes) -> list[Json]:
    """Return the configuration of ``twistd meshproxy``.

    :raises meshtx.kube.probes.TooLong: the probes are.
    """
    scope = values.scope
    name = f"$({_ACCOUNT}).$({_NAMESPACE}).serviceaccount.identity.{scope.control_namespace}.{scope.trust_domain}"
    given = {
        "NAME": name,
        "IDENTITY_ADDRESS": values.identity_address,
        "IDENTITY_NAME": str(values.identity_name),
        "TOKEN_FILE": f"{TOKEN_FOLDER}/{TOKEN_FILE}",
        "KEY_FOLDER": KEY_FOLDER,
        "DIRECTORY_ADDRESS": values.directory_address,
        "DIRECTORY_NAME": str(values.directory_name),
        "TAP_IDENTITY": str(values.directory_name),
        "METRICS_IDENTITY": ",".join(map(str, values.metrics_names)),
        "PROBES": probes.text(),
        **_LISTENERS[values.family],
    }
    return [
        _from_field(_ACCOUNT, "spec.serviceAccountName"),
        _from_field(_NAMESPACE, "metadata.namespace"),
        _anchors(values),
        *({"name": f"{_PREFIX}{key}", "value": text} for key, text in given.items() if text),
        *({"name": variable, "value": text} for variable, text in pod_settings.environment(settings.texts).items()),
    ]


DRAIN_TIMEOUT = "drain-timeout"
"""The annotation."""

_PREFIX = "MESHTX_PROXY_"
_ACCOUNT, _NAMESPACE = "MESHTX_POD_SERVICE_ACCOUNT", "MESHTX_POD_NAMESPACE"

_LISTENERS = {
    Family.IPV4: {},
    Family.IPV6: {
        "INBOUND_LISTEN": f"[::]:{PROXY_INBOUND}",
        "OUTBOUND_LISTEN": f"[::1]:{PROXY_OUTBOUND}",
        "TAP_LISTEN": f"[::]:{PROXY_TAP}",
        "ADMIN_LISTEN": f"[::]:{PROXY_ADMIN}",
    },
    Family.DUAL: {
        "INBOUND_LISTEN": f"0.0.0.0:{PROXY_INBOUND},[::]:{PROXY_INBOUND}",
        "OUTBOUND_LISTEN": f"127.0.0.1:{PROXY_OUTBOUND},[::1]:{PROXY_OUTBOUND}",
    },
}
"""What differs from meshproxy's defaults."""

_MASK_MOUNT: Json = {"name": MASK_VOLUME, "mountPath": API_TOKEN_FOLDER, "readOnly": True}


def _image(values: Values) -> Json:
    return {"image": values.image, "imagePullPolicy": values.pull_policy}


def _hardened(add: list[str] | None = None) -> Json:
    capabilities: Json = {"drop": ["ALL"]}
    if add:
        capabilities["add"] = add
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": capabilities,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _outliving(settings: Settings, grace: int) -> list[Json]:
    """Return what makes a proxy end after the workload, which is told to end at the same moment."""
    time = {} if DRAIN_TIMEOUT in settings.texts else {"DRAIN_TIMEOUT": f"{max(grace, 1)}s"}
    return [{"name": f"{_PREFIX}{key}", "value": text} for key, text in {"OUTLIVE_WORKLOAD": "true", **time}.items()]


def _get(path: str) -> Json:
    return {"httpGet": {"path": path, "port": PROXY_ADMIN}, "timeoutSeconds": 1}


def _from_field(name: str, path: str) -> Json:
    # `apiVersion` as the server would add it: what is referred to is one value, and two ways to apply would disagree
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _anchors(values: Values) -> Json:
    name = f"{_PREFIX}TRUST_ANCHORS"
    if values.anchors_from is None:
        return {"name": name, "value": values.trust_anchors}
    return {
        "name": name,
        "valueFrom": {"configMapKeyRef": {"name": values.anchors_from.name, "key": values.anchors_from.key}},
    }
