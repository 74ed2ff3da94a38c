"""The Deployments: three programs of one image, each with as little as it needs.

A container has no root, no capability, no writable disk and no token of the API but the one that is mounted where
the program uses it. Settings are environment variables, the same that the programs document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshtx.identity.token_claims import AUDIENCE
from meshtx.kube.annotations import NO_LIMIT
from meshtx.kube.manifests.meshed import STARTING, meshed, service_address
from meshtx.kube.manifests.shapes import (
    ADMIN_PORT,
    DIRECTORY_PORT,
    IDENTITY_PORT,
    ISSUER_SECRET,
    TAP_PORT,
    TRUST_CONFIG_MAP,
    TRUST_KEY,
    UID,
    WEBHOOK_PORT,
    Document,
    document,
    labels,
    selector,
)
from meshtx.kube.manifests.values import Program, Resources, Values
from meshtx.kube.sidecar import API_TOKEN_FOLDER, TOKEN_FILE, TOKEN_FOLDER, TOKEN_SECONDS, Family
from meshtx.pki.name import MeshScope

API_ACCESS = "kube-api-access"
ISSUER_PATH = "/var/run/meshtx/issuer"
TRUST_PATH = "/var/run/meshtx/trust-roots"

_API_TOKEN_LIFETIME = 3607
"""Seconds: what the API server itself gives to a pod that asks for nothing."""
_TOKEN_VOLUME = "identity-token"  # noqa: S105  # a name, and not the one that the sidecar's has


@dataclass(frozen=True)
class _Shape:
    """What makes one program's pod unlike the others'."""

    command: str
    port_name: str
    port: int
    environment: Mapping[str, str]
    tap_port: int = 0
    volumes: tuple[Document, ...] = ()
    mounts: tuple[Document, ...] = ()


def deployments(values: Values) -> list[Document]:
    """Return each program's Deployment."""
    return [_deployment(values, program) for program in Program]


def _deployment(values: Values, program: Program) -> Document:
    template = {"metadata": {"labels": labels(program)}, "spec": _pod(values, program)}
    return document(
        "apps/v1",
        "Deployment",
        program.value,
        values.namespace,
        labels(program),
        spec={
            "replicas": values.replicas,
            "selector": {"matchLabels": selector(program)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _rollout(values)},
            "template": meshed(template, values, program),
        },
    )


def _rollout(values: Values) -> Document:
    """Return how pods are replaced: one that may share no node with its predecessor comes after it."""
    return {"maxSurge": 0, "maxUnavailable": 1} if values.spread else {"maxSurge": 1, "maxUnavailable": 0}


def _pod(values: Values, program: Program) -> Document:
    shape = _SHAPES[program](values)
    pod: Document = {
        "serviceAccountName": program.value,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(values, program, shape)],
        "volumes": [_api_access(), _trust_roots(), *shape.volumes],
    }
    if values.priority_class:
        pod["priorityClassName"] = values.priority_class
    if values.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in values.pull_secrets]
    if values.spread:
        pod["affinity"] = {"podAntiAffinity": _apart(program)}
    return pod


def _apart(program: Program) -> Document:
    """Return that pods of a program stand on different nodes, and rather in different zones."""
    others = {"labelSelector": {"matchLabels": selector(program)}}
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": [{**others, "topologyKey": "kubernetes.io/hostname"}],
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": {**others, "topologyKey": "topology.kubernetes.io/zone"}}
        ],
    }


def _container(values: Values, program: Program, shape: _Shape) -> Document:
    resources = values.resources.get(program, Resources())
    environment = {**shape.environment, **_listeners(values, program, shape), **_readers(values, program)}
    return {
        "name": program.role,
        "image": values.image,
        "imagePullPolicy": values.pull_policy.value,
        "command": ["twistd", "--nodaemon", "--pidfile=", shape.command],
        "env": [{"name": name, "value": value} for name, value in environment.items() if value],
        "ports": [
            {"name": shape.port_name, "containerPort": shape.port, "protocol": "TCP"},
            *([{"name": "tap", "containerPort": shape.tap_port, "protocol": "TCP"}] if shape.tap_port else []),
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("/live", **STARTING),
        "livenessProbe": _probe("/live"),
        "readinessProbe": _probe("/ready", periodSeconds=5),
        "resources": {
            key: dict(quantities)
            for key, quantities in (("requests", resources.requests), ("limits", resources.limits))
            if quantities
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [_mount(API_ACCESS, API_TOKEN_FOLDER), _mount("trust-roots", TRUST_PATH), *shape.mounts],
    }


def _listeners(values: Values, program: Program, shape: _Shape) -> dict[str, str]:
    """Return where a program listens, if not at the IPv4 addresses that it takes by itself."""
    if values.family is not Family.IPV6:
        return {}
    prefix = f"MESHTX_{program.role.upper()}"
    ports = {"LISTEN": shape.port, "TAP_LISTEN": shape.tap_port, "ADMIN_LISTEN": ADMIN_PORT}
    return {f"{prefix}_{name}": f"[::]:{port}" for name, port in ports.items() if port}


def _readers(values: Values, program: Program) -> dict[str, str]:
    return {f"MESHTX_{program.role.upper()}_ADMIN_PLAINTEXT_METRICS": "true"} if values.plaintext_metrics else {}


def _probe(path: str, **timing: int) -> Document:
    return {"httpGet": {"path": path, "port": "admin"}, **timing, "timeoutSeconds": 5}


def _mount(volume: str, path: str) -> Document:
    return {"name": volume, "mountPath": path, "readOnly": True}


def _api_access() -> Document:
    """Return the volume that the API server would mount into every container, if it were left to."""
    # `apiVersion` as the server would add it: inside a list without names, kubectl would take that for a change
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return _projected(
        API_ACCESS,
        {"serviceAccountToken": {"path": "token", "expirationSeconds": _API_TOKEN_LIFETIME}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    )


def _identity_token() -> Document:
    token = {"path": TOKEN_FILE, "expirationSeconds": TOKEN_SECONDS, "audience": AUDIENCE}
    return _projected(_TOKEN_VOLUME, {"serviceAccountToken": token})


def _projected(name: str, *sources: Document) -> Document:
    return {"name": name, "projected": {"defaultMode": 0o440, "sources": list(sources)}}


def _trust_roots() -> Document:
    return {"name": "trust-roots", "configMap": {"name": TRUST_CONFIG_MAP, "defaultMode": 0o444}}


def _identity(values: Values) -> _Shape:
    return _Shape(
        command="meshidentity",
        port_name="grpc",
        port=IDENTITY_PORT,
        environment={
            "MESHTX_IDENTITY_CONTROL_NAMESPACE": values.namespace,
            "MESHTX_IDENTITY_TRUST_DOMAIN": values.trust_domain,
            "MESHTX_IDENTITY_ISSUER": ISSUER_PATH,
            "MESHTX_IDENTITY_TRUST_ANCHORS_FILE": f"{TRUST_PATH}/{TRUST_KEY}",
            "MESHTX_IDENTITY_LIFETIME": values.certificate_lifetime,
            "MESHTX_IDENTITY_VALIDATOR": "kubernetes",
        },
        # the whole folder, and no `subPath`: that would never see a new issuer
        volumes=({"name": "issuer", "secret": {"secretName": ISSUER_SECRET, "defaultMode": 0o440}},),
        mounts=(_mount("issuer", ISSUER_PATH),),
    )


def _directory(values: Values) -> _Shape:
    return _Shape(
        command="meshdirectory",
        port_name="grpc",
        port=DIRECTORY_PORT,
        tap_port=TAP_PORT,
        environment={
            "MESHTX_DIRECTORY_NAME": _name(values, Program.DIRECTORY),
            "MESHTX_DIRECTORY_IDENTITY_ADDRESS": service_address(values, Program.IDENTITY),
            "MESHTX_DIRECTORY_IDENTITY_NAME": _name(values, Program.IDENTITY),
            "MESHTX_DIRECTORY_TRUST_ANCHORS_FILE": f"{TRUST_PATH}/{TRUST_KEY}",
            "MESHTX_DIRECTORY_TOKEN_FILE": f"{TOKEN_FOLDER}/{TOKEN_FILE}",
            "MESHTX_DIRECTORY_CLUSTER_DOMAIN": values.cluster_domain,
            "MESHTX_DIRECTORY_CLUSTER_NETWORKS": ",".join(values.cluster_networks),
            "MESHTX_DIRECTORY_BALANCER_NETWORKS": ",".join(values.balancer_networks),
        },
        volumes=(_identity_token(),),
        mounts=(_mount(_TOKEN_VOLUME, TOKEN_FOLDER),),
    )


def _injector(values: Values) -> _Shape:
    resources = values.sidecar.resources
    return _Shape(
        command="meshinjector",
        port_name="https",
        port=WEBHOOK_PORT,
        environment={
            "MESHTX_INJECTOR_CONTROL_NAMESPACE": values.namespace,
            "MESHTX_INJECTOR_TRUST_DOMAIN": values.trust_domain,
            "MESHTX_INJECTOR_TRUST_ANCHORS_FILE": f"{TRUST_PATH}/{TRUST_KEY}",
            "MESHTX_INJECTOR_IDENTITY_ADDRESS": service_address(values, Program.IDENTITY),
            "MESHTX_INJECTOR_DIRECTORY_ADDRESS": service_address(values, Program.DIRECTORY),
            "MESHTX_INJECTOR_IMAGE": values.image,
            "MESHTX_INJECTOR_IMAGE_PULL_POLICY": values.pull_policy.value,
            "MESHTX_INJECTOR_IP_FAMILY": values.family.value,
            "MESHTX_INJECTOR_PROXY_LOG_LEVEL": values.sidecar.log_level,
            "MESHTX_INJECTOR_PROXY_CPU_REQUEST": resources.cpu_request,
            "MESHTX_INJECTOR_PROXY_CPU_LIMIT": resources.cpu_limit or NO_LIMIT,
            "MESHTX_INJECTOR_PROXY_MEMORY_REQUEST": resources.memory_request,
            "MESHTX_INJECTOR_PROXY_MEMORY_LIMIT": resources.memory_limit or NO_LIMIT,
            "MESHTX_INJECTOR_METRICS_IDENTITY": ",".join(map(str, values.sidecar.metrics_names)),
            "MESHTX_INJECTOR_ADOPT_LINKERD_ANNOTATIONS": "true" if values.adopt_linkerd else "",
        },
    )


def _name(values: Values, program: Program) -> str:
    return str(MeshScope(values.namespace, values.trust_domain).name(values.namespace, program.value))


_SHAPES = {Program.IDENTITY: _identity, Program.DIRECTORY: _directory, Program.INJECTOR: _injector}
