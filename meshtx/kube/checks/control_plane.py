"""The control plane: that everything is there, with the rights that it needs, and runs."""

from __future__ import annotations

from collections.abc import Iterator

from meshtx.kube.annotations import POD_SECURITY
from meshtx.kube.api_errors import Object
from meshtx.kube.checks import skew
from meshtx.kube.checks.install import REFUSING, rules_of
from meshtx.kube.checks.outcomes import Check, Failed, Group, NotKnown, Outcome, Passed, Warned
from meshtx.kube.checks.snapshot import Absent, Found, Snapshot, Unread, expected
from meshtx.kube.injection import labels_of
from meshtx.kube.manifests.values import Program
from meshtx.kube.self_check import Rule
from meshtx.kube.tap_names import API_SERVICE

_APPLY = "apply what 'meshtx install' prints, with the values of the first time (--keep-issuer keeps the issuer)"
_HERE = {"ServiceAccount", "Secret", "ConfigMap", "Service", "Deployment", "NetworkPolicy", "PodDisruptionBudget"}


def _namespace(snapshot: Snapshot) -> Outcome:
    match snapshot.objects[snapshot.key("Namespace", snapshot.namespace)]:
        case Absent():
            problem = f"there is no namespace {snapshot.namespace}"
            return Failed(problem, "run 'meshtx install | kubectl apply -f -', or name another one with --namespace")
        case Unread(why):
            raise NotKnown(why)
        case Found(found):
            level = labels_of(found).get(POD_SECURITY)
            if level not in REFUSING:
                return Passed()
            problem = f"namespace {snapshot.namespace} enforces {level!r}, which refuses pods with NET_ADMIN"
            return Failed(
                problem, f"kubectl label namespace {snapshot.namespace} {POD_SECURITY}=privileged --overwrite"
            )


def _present(snapshot: Snapshot) -> Outcome:
    gone = tuple(str(key) for key, read in snapshot.every(*_HERE) if isinstance(read, Absent))
    if gone:
        return Failed(f"not in namespace {snapshot.namespace}", _APPLY, gone)
    snapshot.demand_read(*_HERE)
    return Passed()


def _accounts(snapshot: Snapshot) -> Outcome:
    mounted = tuple(
        str(key)
        for key, read in snapshot.every("ServiceAccount")
        if isinstance(read, Found) and read.value.get("automountServiceAccountToken") is not False
    )
    if not mounted:
        snapshot.demand_read("ServiceAccount")
        return Passed()
    problem = "a token of the API is mounted into every container of their pods"
    return Failed(problem, f"set automountServiceAccountToken to false: {_APPLY}", mounted)


def _roles(snapshot: Snapshot) -> Outcome:
    rendered = expected(snapshot.namespace)
    lacking: list[str] = []
    unread: list[str] = []
    more: list[str] = []
    for key, read in snapshot.every("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        match read:
            case Absent():
                lacking.append(str(key))
            case Unread(why):
                unread.append(why)
            case Found(found):
                lacking += (f"{key}: {what}" for what in _less(found, rendered[key]))
                more += (f"{key}: {what}" for what in _less(rendered[key], found))
    if lacking:
        return Failed("programs lack rights: they are not ready, or do less than they should", _APPLY, tuple(lacking))
    if more:
        return Warned("programs have rights that they do not use", f"take them away: {_APPLY}", tuple(more))
    if unread:
        raise NotKnown("; ".join(dict.fromkeys(unread)))
    return Passed()


def _less(here: Object, there: Object) -> Iterator[str]:
    """Give what the second has of rights or of who has them, and the first has not."""
    if "roleRef" in there:
        missing = [each for each in _subjects(there) if each not in _subjects(here)]
        yield from (f"does not bind {each}" for each in missing)
        return
    having = rules_of(here)
    yield from (str(rule) for rule in rules_of(there) if not any(_covers(each, rule) for each in having))


def _subjects(binding: Object) -> list[str]:
    role = f"{binding['roleRef']['kind']} {binding['roleRef']['name']}"
    subjects = binding.get("subjects") or ()
    return [f"{each['kind']} {each.get('namespace', '')}/{each['name']} to {role}" for each in subjects]


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Say whether who has one right has the other."""
    return (
        wide.verb in {narrow.verb, "*"}
        and wide.resource in {narrow.resource, "*"}
        and wide.group in {narrow.group, "*"}
        and wide.name in {narrow.name, ""}
    )


def _ready(snapshot: Snapshot) -> Outcome:
    unready = tuple(
        f"{key.name}: {problem}"
        for key, read in snapshot.every("Deployment")
        if isinstance(read, Found) and (problem := _unready(read.value))
    )
    if not unready:
        _nothing_unread(snapshot, "Deployment")
        return Passed()
    hint = f"kubectl describe pods -n {snapshot.namespace}; the log of a program says why it is not ready"
    return Failed("not all pods are ready", hint, unready, may_pass=True)


def _unready(deployment: Object) -> str:
    status, wanted = deployment.get("status") or {}, (deployment.get("spec") or {}).get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "its change is not taken up yet"
    if wanted == 0:
        return "scaled to 0 pods"
    new, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if new < wanted:
        return f"{new} of {wanted} pods are of its last change"
    return f"{ready} of {wanted} pods are ready" if ready < wanted else ""


def _nothing_unread(snapshot: Snapshot, kind: str) -> None:
    for key, read in snapshot.every(kind):
        if isinstance(read, Unread):
            raise NotKnown(read.why)
        if isinstance(read, Absent):
            raise NotKnown(f"there is no {key}")


def _version(snapshot: Snapshot) -> Outcome:
    _nothing_unread(snapshot, "Deployment")
    versions = skew.program_versions(snapshot)
    others = tuple(f"{key.name}: {version}" for key, version in versions.items() if version != snapshot.version)
    if not others:
        return Passed(snapshot.version)
    if not skew.work_together([snapshot.version, *versions.values()]):
        return Failed(
            f"more than a release apart from each other, or from this meshtx {snapshot.version}", skew.HINT, others
        )
    hint = "use the meshtx of that version, or apply what 'meshtx install' of this one prints (--keep-issuer)"
    return Warned(f"this is meshtx {snapshot.version}", hint, others)


def _tap(snapshot: Snapshot) -> Outcome:
    key = snapshot.key("APIService", API_SERVICE)
    if isinstance(snapshot.objects[key], Absent):
        return Failed("there is none: nobody can tap by the API", _APPLY, (str(key),))
    conditions = (snapshot.object(*key[:2]).get("status") or {}).get("conditions") or ()
    available = [each for each in conditions if each.get("type") == "Available"]
    if any(each.get("status") == "True" for each in available):
        return Passed()
    needs_a_pod(snapshot, Program.DIRECTORY)
    said = available[0].get("message", "") if available else "the API server has not looked at it yet"
    log = f"kubectl logs -n {snapshot.namespace} deploy/{Program.DIRECTORY} -c directory"
    return Failed(said, f"kubectl describe apiservice {API_SERVICE}; {log}", may_pass=True)


def needs_a_pod(snapshot: Snapshot, program: Program) -> None:
    """Let only who has a pod that is ready be judged further: without one, nothing else can be well.

    :raises NotKnown: no pod is.
    """
    deployment = snapshot.object("Deployment", program)
    if not (deployment.get("status") or {}).get("availableReplicas"):
        raise NotKnown(f"no pod of {program} is ready")


CONTROL_PLANE = Group(
    "control-plane",
    (
        Check("namespace", "its namespace is there, and lets its pods in", _namespace, fatal=True),
        Check("objects", "its objects are there", _present),
        Check("accounts", "its accounts give no token to every container", _accounts),
        Check("roles", "its accounts have the rights that they need, and no more", _roles),
        Check("deployments", "its pods are ready", _ready),
        Check("control-plane-version", "it has the version of this program", _version),
        Check("tap", "the API of tap is available", _tap),
    ),
)
