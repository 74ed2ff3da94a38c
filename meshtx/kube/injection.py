"""Makes a pod a meshed one: a value in, a value out.

    inject(pod, its namespace's annotations, values) ─▶ Injected(pod, warnings)
                                                     ├▶ Skipped(why, warnings)   it starts as it is
                                                     └▶ Refused(problem)         it must not start: its author's to mend

`pod` is an object of the API or the template in a workload: a dictionary with ``metadata`` and ``spec``. What is
skipped or refused says why in words for its author. An injected pod is never injected again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from meshtx.kube import annotations as marks
from meshtx.kube.adoption import unadopted
from meshtx.kube.annotations import CLASSIC, NATIVE, Settings
from meshtx.kube.json_patch import Json
from meshtx.kube.pod_settings import PREFIX, InvalidSetting
from meshtx.kube.probes import MAX_TEXT, Probes, TooLong
from meshtx.kube.sidecar import (
    DRAIN_TIMEOUT,
    PROXY,
    PROXY_UID,
    Values,
    init_container,
    proxy_container,
    volumes,
)
from meshtx.pki.name import InvalidName
from meshtx.wire.ports import PROXY_ADMIN

INJECTOR = "meshtx/injector"
"""Who injected, as the pod's annotation says it; the version stands behind it."""

_OTHERS = {"linkerd-proxy": "Linkerd", "istio-proxy": "Istio", "envoy-sidecar": "Consul"}
_GRACE = 30
"""Seconds that a pod has to end, unless it says otherwise."""
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_MIRROR = "kubernetes.io/config.mirror"
_OS = "kubernetes.io/os"
"""A label of nodes: pods for Windows need it to get there, and ``spec.os`` for nothing."""
_PROXY_FIELD = f'k:{{"name":"{PROXY}"}}'
"""The proxy in a list of containers, as FieldsV1 names it."""


class Skip(Enum):
    """Why a pod stays as it is."""

    DISABLED = "its label meshtx.io/inject says disabled"
    INJECTED = "it has a container meshtx-proxy already"
    HOST_NETWORK = "hostNetwork: it shares the network of its node"
    OTHER_MESH = "it has the sidecar of another mesh"
    WINDOWS = "it runs on Windows"
    STATIC = "it is a static pod, which the kubelet runs from a file"


@dataclass(frozen=True, slots=True)
class Injected:
    """The pod with its proxy."""

    pod: Json
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The pod stays as it is.

    :param warnings: for the user; none where it is what they asked for.
    """

    reason: Skip
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The pod would get around its proxy, or its proxy could not do its work."""

    problem: str


Outcome = Injected | Skipped | Refused


def inject(pod: Json, namespace: str, namespace_annotations: Mapping[str, str], values: Values) -> Outcome:
    """Return the pod with its proxy, or why not. What is given stays as it is.

    :param namespace: where the pod is to run; the object's own may be empty.
    """
    skip = skip_reason(pod)
    if skip is not None:
        return Skipped(skip, _words(skip, pod))
    problem = _problem(pod, namespace, values)
    if problem is not None:
        return Refused(problem)
    try:
        settings = marks.read(annotations_of(pod), namespace_annotations, named_ports(pod), values.resources)
    except InvalidSetting as error:
        return Refused(str(error))
    unread = (*unclear(pod), *unadopted(annotations_of(pod)))
    warnings = (*unread, *settings.warnings, *_doubtful(pod, settings, native=_native(values, settings)))
    if settings.kind == NATIVE and not values.native:
        warnings += (f"{PREFIX}{marks.KIND}: this API server knows no native sidecars; {CLASSIC!r} is used",)
    try:
        return Injected(_injected(pod, values, settings), warnings)
    except TooLong:
        return Refused(f"its probes are longer than {MAX_TEXT // 1024} KiB, and its proxy could not be told of them")


def skip_reason(pod: Json) -> Skip | None:
    """Return why a pod cannot have a proxy or needs none, ``None`` where it can."""
    spec = pod.get("spec") or {}
    names = {each.get("name") for each in _containers(pod)}
    checks = (
        (Skip.DISABLED, labels_of(pod).get(marks.INJECT) == marks.DISABLED),
        (Skip.INJECTED, PROXY in names),
        (Skip.HOST_NETWORK, bool(spec.get("hostNetwork"))),
        (Skip.OTHER_MESH, not names.isdisjoint(_OTHERS)),
        (Skip.WINDOWS, "windows" in {(spec.get("os") or {}).get("name"), (spec.get("nodeSelector") or {}).get(_OS)}),
        (Skip.STATIC, _MIRROR in annotations_of(pod)),
    )
    return next((reason for reason, holds in checks if holds), None)


def labels_of(thing: Json) -> dict[str, str]:
    """Return the labels of an object."""
    return (thing.get("metadata") or {}).get("labels") or {}


def annotations_of(thing: Json) -> dict[str, str]:
    """Return the annotations of an object."""
    return (thing.get("metadata") or {}).get("annotations") or {}


def _words(skip: Skip, pod: Json) -> tuple[str, ...]:
    """Return the warning; none for what was asked for, or was done by the injector a moment ago."""
    if skip is Skip.DISABLED:
        return ()
    if skip is Skip.INJECTED and annotations_of(pod).get(marks.CREATED_BY, "").startswith(INJECTOR):
        return () if _is_asked_again(pod) else (f"not injected again: {skip.value}",)
    return (f"not meshed by meshtx: {skip.value}",)


def _is_asked_again(pod: Json) -> bool:
    """Say whether an API server asks again about a pod that we have injected and it is about to make.

    Its ``managedFields`` say what the request had, and nothing of what webhooks have added since. A pod that somebody
    makes from one that was injected has our annotation too, but its request had the proxy; a template has no fields.
    """
    managed = (pod.get("metadata") or {}).get("managedFields") or ()
    return bool(managed) and not any(_has_proxy(each.get("fieldsV1") or {}) for each in managed)


def _has_proxy(fields: Json) -> bool:
    spec = fields.get("f:spec") or {}
    return any(_PROXY_FIELD in (spec.get(key) or {}) for key in ("f:initContainers", "f:containers"))


def unclear(thing: Json) -> Iterator[str]:
    """Give a warning for a word about injection that nobody understands, on a pod or a namespace."""
    word = labels_of(thing).get(marks.INJECT)
    if word not in {None, marks.ENABLED, marks.DISABLED}:
        yield f"{marks.INJECT}: {word!r} is neither {marks.ENABLED} nor {marks.DISABLED}; it is ignored"


def _problem(pod: Json, namespace: str, values: Values) -> str | None:
    spec = pod.get("spec") or {}
    own = (spec.get("securityContext") or {}).get("runAsUser")
    for container in _containers(pod):
        user = (container.get("securityContext") or {}).get("runAsUser", own)
        if user == PROXY_UID:
            return (
                f"container {container.get('name')!r} runs as user {PROXY_UID}, which is the proxy's: its connections"
                " would pass the mesh by; give it another runAsUser"
            )
    account = spec.get("serviceAccountName") or "default"
    try:
        values.scope.name(namespace, account)
    except InvalidName as error:
        return f"{error}; no certificate can have this name: use a service account whose name is one label"
    return None


def _injected(pod: Json, values: Values, settings: Settings) -> Json:
    """Return the pod with its proxy. What stays the same they have in common: a copy of all of it may be large.

    :raises TooLong: its probes are.
    """
    pod = dict(pod)
    spec = _part(pod, "spec")
    native = _native(values, settings)
    probes = Probes()
    users, users_init = probes.turn(spec.get("containers") or []), spec.get("initContainers") or []
    if native:
        users_init = probes.turn(users_init)  # of sidecars
    init = init_container(values, settings)
    proxy = proxy_container(values, settings, probes, native=native, grace=_grace(spec))
    _mark(pod, values, settings)
    if native:
        spec["initContainers"], spec["containers"] = [init, proxy, *users_init], users
    else:
        _keep_default_container(pod)
        spec["initContainers"] = [*users_init, init]  # the user's still have the network
        spec["containers"] = [proxy, *users]
    spec["volumes"] = [*(spec.get("volumes") or []), *volumes()]
    return pod


def _native(values: Values, settings: Settings) -> bool:
    return values.native and settings.kind != CLASSIC


def _doubtful(pod: Json, settings: Settings, *, native: bool) -> Iterator[str]:
    """Give a warning for what works, but hardly as its author thinks."""
    spec = pod.get("spec") or {}
    if spec.get("shareProcessNamespace"):
        yield "shareProcessNamespace: a container that runs as root can read the key of the pod's proxy"
    grace = _grace(spec)
    if DRAIN_TIMEOUT in settings.texts and settings.proxy.drain_timeout > grace:
        yield f"{PREFIX}{DRAIN_TIMEOUT}: the proxy is killed after the pod's terminationGracePeriodSeconds, {grace}"
    if not native and spec.get("restartPolicy", "Always") != "Always":
        yield (
            "its proxy is no native sidecar and does not end with it:"
            f" POST http://localhost:{PROXY_ADMIN}/shutdown ends it"
        )


def _grace(spec: Json) -> int:
    return int(spec.get("terminationGracePeriodSeconds", _GRACE))


def _mark(pod: Json, values: Values, settings: Settings) -> None:
    metadata = _part(pod, "metadata")
    _part(metadata, "labels")[marks.CONTROL_PLANE] = values.scope.control_namespace
    _part(metadata, "annotations").update(
        {
            **settings.copied,
            marks.CREATED_BY: f"{INJECTOR} {values.version}",
            marks.PROXY_VERSION: values.version,
            marks.TRUST_ROOT: values.trust_digest,
        }
    )


def _keep_default_container(pod: Json) -> None:
    """Let kubectl's logs and exec mean the user's container still, though it is no longer the first."""
    first = pod["spec"].get("containers") or []
    if first:
        _part(pod["metadata"], "annotations").setdefault(_DEFAULT_CONTAINER, first[0].get("name", ""))


def _part(thing: Json, key: str) -> Json:
    """Return a part of an object that may be changed: a copy in its place, made where it is missing or null."""
    part = thing[key] = dict(thing.get(key) or {})
    return part


def _containers(pod: Json) -> Iterator[Json]:
    spec: dict[str, Any] = pod.get("spec") or {}
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def named_ports(pod: Json) -> dict[str, int]:
    """Return the pod's ports by name, without those of UDP."""
    ports = (port for container in _containers(pod) for port in container.get("ports") or ())
    return {
        port["name"]: port["containerPort"]
        for port in ports
        if port.get("name") and port.get("protocol", "TCP") == "TCP"
    }
