"""The meshed pods, and those that should be: named by namespace and name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from meshtx.kube import annotations as marks
from meshtx.kube.adoption import adopted, unadopted
from meshtx.kube.api_errors import Object
from meshtx.kube.checks import skew
from meshtx.kube.checks.install import REFUSING
from meshtx.kube.checks.outcomes import Check, Failed, Group, Outcome, Passed, Warned
from meshtx.kube.checks.snapshot import Found, Key, Snapshot, our_containers, path_of
from meshtx.kube.injection import Skip, annotations_of, labels_of, named_ports, skip_reason, unclear
from meshtx.kube.manifests.values import Program
from meshtx.kube.pod_settings import BY_AUTHOR, PREFIX, InvalidSetting, is_alone
from meshtx.kube.sidecar import API_TOKEN_FOLDER, MASK_VOLUME, PROXY
from meshtx.kube.webhook import NAME as WEBHOOK
from meshtx.kube.webhook import adopts_linkerd

_NEVER_SHOWN = "kube-system"

_RESTART = "kubectl rollout restart what they belong to"


def _wanted(snapshot: Snapshot) -> Iterator[tuple[Object, Skip | None]]:
    """Give the live pods that asked for the mesh, as the injector reads them, with why one cannot be meshed.

    :raises NotKnown: pods or namespaces may not be read.
    """
    adopt = _adopts(snapshot)
    namespaces = snapshot.namespaces_by_name()
    for pod in snapshot.live_pods():
        name = pod["metadata"]["namespace"]
        labels = labels_of(namespaces.get(name, {}))
        shown = name not in {_NEVER_SHOWN, snapshot.namespace}
        read = adopted(pod) if adopt else pod
        if shown and marks.is_wanted(labels_of(read), labels):
            yield read, skip_reason(read)


def _adopts(snapshot: Snapshot) -> bool:
    """Say whether Linkerd's annotations count; without a webhook that can be read, they do not."""
    webhook = snapshot.objects.get(Key("MutatingWebhookConfiguration", WEBHOOK))
    return isinstance(webhook, Found) and adopts_linkerd(webhook.value)


def _injected(snapshot: Snapshot) -> Outcome:
    bare = tuple(path_of(pod) for pod, reason in _wanted(snapshot) if reason is None)
    if not bare:
        return Passed()
    problem = "pods that asked for the mesh and have no proxy: their connections are plaintext"
    return Failed(problem, f"they are older than the label or the webhook: {_RESTART}", bare)


def _possible(snapshot: Snapshot) -> Outcome:
    expected = {None, Skip.INJECTED, Skip.DISABLED}
    left_out = tuple(
        f"{path_of(pod)}: {reason.value}"
        for pod, reason in _wanted(snapshot)
        if reason is not None and reason not in expected
    )
    if not left_out:
        return Passed()
    problem = "pods that asked for the mesh and cannot be meshed: their connections are plaintext"
    return Warned(problem, f"mend that, or label them {marks.INJECT}: {marks.DISABLED}", left_out)


def _ready(snapshot: Snapshot) -> Outcome:
    unready = tuple(path_of(pod) for pod in snapshot.meshed_pods() if _is_unready(pod))
    if not unready:
        return Passed()
    hint = f"kubectl logs POD -c {PROXY} says what it waits for; most often for its certificate"
    return Failed("pods whose proxy is not ready", hint, unready, may_pass=True)


def _is_unready(pod: Object) -> bool:
    """Say whether the proxy of a pod runs, or tries to, and is not ready; of one that waits nothing is said."""
    status = pod.get("status") or {}
    every = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return any(each["name"] == PROXY and not each.get("ready") for each in every)


def _version(snapshot: Snapshot) -> Outcome:
    injector = snapshot.key("Deployment", Program.INJECTOR)
    snapshot.object(*injector[:2])  # there is one to compare with
    programs = skew.program_versions(snapshot)
    proxies = {path_of(pod): skew.proxy_version(pod) for pod in snapshot.meshed_pods()}
    others = {path: version for path, version in proxies.items() if version != programs[injector]}
    what = f"than the control plane, {', '.join(sorted(set(programs.values())))}"
    if not skew.work_together([*programs.values(), *proxies.values()]):
        problem = f"pods whose proxy is more than a release older or newer {what}, or than others"
        return Failed(problem, skew.HINT, _named(others or proxies))
    if newer := {path: each for path, each in proxies.items() if skew.is_newer(each, programs.values())}:
        hint = "apply what 'meshtx install' of that release prints (--keep-issuer): the control plane comes first"
        return Warned(f"pods whose proxy is newer {what}", hint, _named(newer))
    if others:
        return Warned(f"pods whose proxy is of another version {what}", _RESTART, _named(others))
    return Passed()


def _named(versions: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{path}: {version}" for path, version in versions.items())


def _tokens(snapshot: Snapshot) -> Outcome:
    having = tuple(path_of(pod) for pod in snapshot.meshed_pods() if any(map(_has_token, our_containers(pod))))
    if not having:
        return Passed()
    problem = "pods whose proxy has the pod's token of the API, which it does not need"
    return Failed(problem, f"another webhook puts it in after the injector: look for one; then {_RESTART}", having)


def _has_token(container: Object) -> bool:
    mounts = container.get("volumeMounts") or ()
    return any(
        each.get("mountPath", "").rstrip("/") == API_TOKEN_FOLDER and each.get("name") != MASK_VOLUME for each in mounts
    )


def _pod_security(snapshot: Snapshot) -> Outcome:
    refusing = tuple(
        f"{name}: {labels_of(each)[marks.POD_SECURITY]}"
        for name, each in sorted(snapshot.namespaces_by_name().items())
        if name != snapshot.namespace
        and labels_of(each).get(marks.INJECT) == marks.ENABLED
        and labels_of(each).get(marks.POD_SECURITY) in REFUSING
    )
    if not refusing:
        return Passed()
    problem = "namespaces that asked for the mesh, and whose Pod Security refuses the init container's NET_ADMIN"
    return Failed(problem, f"kubectl label namespace NAME {marks.POD_SECURITY}=privileged --overwrite", refusing)


def _annotations(snapshot: Snapshot) -> Outcome:
    namespaces, adopt = snapshot.namespaces_by_name(), _adopts(snapshot)
    said = [
        f"{name}: {text}"
        for name, each in sorted(namespaces.items())
        for text in _of_namespace(each, adopt_linkerd=adopt)
    ]
    for pod, _ in _wanted(snapshot):
        said += (f"{path_of(pod)}: {text}" for text in _of_pod(pod))
    if not said:
        return Passed()
    hint = "correct them; an annotation of a pod takes effect when the pod is made anew"
    return Warned("labels and annotations that have no effect", hint, tuple(said))


def _of_namespace(namespace: Object, *, adopt_linkerd: bool) -> Iterator[str]:
    yield from unclear(namespace)
    if labels_of(namespace).get(marks.INJECT) == marks.ENABLED and not adopt_linkerd:
        yield from unadopted(annotations_of(namespace))
    yield from _read(lambda: marks.read({}, _alone(_except_ports(annotations_of(namespace))), {}, marks.Resources()))


def _except_ports(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return a namespace's annotations without those whose names of ports only a pod knows."""
    lists = {PREFIX + name for name in marks.PORT_LISTS}
    return {key: text for key, text in annotations.items() if key not in lists}


def _alone(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return one object's annotations without those that are read because of one which may stand on the other."""
    texts = {key.removeprefix(PREFIX): text for key, text in annotations.items() if key.startswith(PREFIX)}
    alone = {PREFIX + name for name in BY_AUTHOR.keys() & texts.keys() if is_alone(name, texts)}
    return {key: text for key, text in annotations.items() if key not in alone}


def _of_pod(pod: Object) -> Iterator[str]:
    yield from (*unclear(pod), *unadopted(annotations_of(pod)))
    yield from _read(lambda: marks.read(_alone(annotations_of(pod)), {}, named_ports(pod), marks.Resources()))


def _read(settings: Callable[[], marks.Settings]) -> tuple[str, ...]:
    try:
        return settings().warnings
    except InvalidSetting as error:
        return (str(error),)


DATA_PLANE = Group(
    "data-plane",
    (
        Check("pods-injected", "pods that asked for the mesh have a proxy", _injected),
        Check("pods-possible", "pods that asked for the mesh can have one", _possible),
        Check("proxies-ready", "the proxies are ready", _ready),
        Check("proxies-version", "the proxies are of the control plane's version", _version),
        Check("proxies-tokens", "no proxy has a token of the API", _tokens),
        Check("pod-security", "Pod Security lets meshed pods in", _pod_security),
        Check("annotations", "labels and annotations of the mesh are understood", _annotations),
    ),
)
