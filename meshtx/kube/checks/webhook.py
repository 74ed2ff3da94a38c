"""The webhook: that the API server calls the injector, believes it, and lets no pod by without it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cryptography import x509

from meshtx.errors import CredentialsError
from meshtx.kube.api_errors import Object
from meshtx.kube.checks.control_plane import needs_a_pod
from meshtx.kube.checks.outcomes import Check, Failed, Group, NotKnown, Outcome, Passed
from meshtx.kube.checks.snapshot import Absent, Snapshot, known
from meshtx.kube.checks.trust import certificates_in, said_of_end
from meshtx.kube.manifests.values import Program
from meshtx.kube.serving_certificate import may_be_ours
from meshtx.kube.webhook import NAME, adopts_linkerd, webhook_configuration
from meshtx.pki.bundle import is_authority

LEFT = timedelta(days=2)
"""An injector renews its certificate before that: a third of seven days before its end."""

_KIND = "MutatingWebhookConfiguration"
_SELECTORS = ("namespaceSelector", "objectSelector", "matchConditions")
"""Whatever stands there as well leaves pods out; the API server adds nothing to them."""
_APPLY = "apply what 'meshtx install' prints (--keep-issuer keeps the issuer)"


def _entries(snapshot: Snapshot) -> dict[str, Object]:
    """Return the entries of the configuration by their names.

    :raises NotKnown: it is not there, or may not be read.
    """
    return {each["name"]: each for each in snapshot.object(_KIND, NAME).get("webhooks") or ()}


def _rendered(snapshot: Snapshot) -> dict[str, Object]:
    """Return the entries as this version makes them, with the installation's choice.

    :raises NotKnown: as `_entries`.
    """
    adopt = adopts_linkerd(snapshot.object(_KIND, NAME))
    configuration = webhook_configuration(snapshot.namespace, adopt_linkerd=adopt)
    return {each["name"]: each for each in configuration["webhooks"]}


def _present(snapshot: Snapshot) -> Outcome:
    key = snapshot.key(_KIND, NAME)
    if isinstance(snapshot.objects[key], Absent):
        return Failed("no pod gets a sidecar: there is no webhook", _APPLY, (str(key),))
    found = _entries(snapshot)
    rendered = _rendered(snapshot)
    wrong = (
        *(
            f"{name}: {problem}"
            for name, each in rendered.items()
            for problem in (_differences(each, found[name]) if name in found else ["is missing"])
        ),
        *(f"{name}: is none of this version's" for name in found if name not in rendered),
    )
    return Failed("it is not as this version makes it", _APPLY, wrong) if wrong else Passed()


def _differences(rendered: Object, found: Object) -> Iterator[str]:
    """Give the fields that differ; the policy of failures has a check of its own, as has the ``caBundle``."""
    for field in _SELECTORS:
        if (found.get(field) or None) != (rendered.get(field) or None):  # an empty one is none
            yield f"{field} differs"
    for field in rendered.keys() - {"failurePolicy", *_SELECTORS}:
        if not _holds(found.get(field), rendered[field]):
            yield f"{field} differs"


def _holds(found: Any, wanted: Any) -> bool:  # Any: JSON
    """Say whether something holds all that is wanted of it; the API server adds its defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_holds(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(map(_holds, found, wanted))
    return bool(found == wanted)


def _closed(snapshot: Snapshot) -> Outcome:
    found = _entries(snapshot)
    opened = tuple(
        name
        for name, each in _rendered(snapshot).items()
        if each["failurePolicy"] == "Fail" and found.get(name, each).get("failurePolicy") != "Fail"
    )
    if not opened:
        return Passed()
    problem = "pods that asked for the mesh start without a sidecar while the injector is away"
    return Failed(problem, f"set failurePolicy to Fail: {_APPLY}", opened)


def _authorities(snapshot: Snapshot) -> dict[str, tuple[x509.Certificate, ...]]:
    """Return whom the API server believes, by the names of the entries.

    :raises NotKnown: the configuration is not there, has none, or may not be read.
    :raises CredentialsError: a ``caBundle`` cannot be read.
    """
    bundles = {name: each["clientConfig"] for name, each in _entries(snapshot).items()}
    if not bundles:
        raise NotKnown("the webhook has no entry")
    return {name: tuple(certificates_in(each, "caBundle", name)) for name, each in bundles.items()}


def _believed(snapshot: Snapshot) -> Outcome:
    log = f"kubectl logs -n {snapshot.namespace} deploy/{Program.INJECTOR} -c injector"
    empty = tuple(name for name, each in _entries(snapshot).items() if not each["clientConfig"].get("caBundle"))
    if empty:
        problem = "the injector has put no authority in: the API server believes nobody"
        return Failed(problem, f"it does so when it starts: {log}", empty, may_pass=True)
    hint = f"the injector writes it anew within seconds; if not: {log}"
    try:
        believed = _authorities(snapshot)
    except CredentialsError as error:
        return Failed(str(error), hint, may_pass=True)
    first = next(iter(believed.values()))
    wrong = tuple(name for name, each in believed.items() if each != first or not all(map(is_authority, each)))
    if wrong:
        return Failed("not every entry believes the injector", hint, wrong, may_pass=True)
    if not any(map(may_be_ours, first)):
        return Failed("none of the authorities is an injector's: they last too long", hint, may_pass=True)
    return Passed()


def _lasts(snapshot: Snapshot) -> Outcome:
    """Judge the injectors' authority that ends last: each is as old as the certificate that it has signed."""
    try:
        believed = _authorities(snapshot).values()
    except CredentialsError as error:
        raise NotKnown("the injector's authorities cannot be read") from error
    ends = [each.not_valid_after_utc for authorities in believed for each in authorities if may_be_ours(each)]
    if not ends:
        raise NotKnown("none of the authorities is an injector's")
    end = max(ends)
    if end - snapshot.now >= LEFT:
        return Passed(f"until {end:%Y-%m-%d}")
    problem = f"the injector's certificate {said_of_end(end, snapshot.now)}, and is not renewed"
    hint = f"the injector renews it by itself: kubectl logs -n {snapshot.namespace} deploy/{Program.INJECTOR}"
    return Failed(problem, f"{hint} says why not")


def _endpoints(snapshot: Snapshot) -> Outcome:
    needs_a_pod(snapshot, Program.INJECTOR)
    ready = [
        endpoint
        for each in known(snapshot.slices, "EndpointSlices")
        if (each["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == NAME
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    ]
    if ready:
        return Passed()
    problem = f"Service {NAME} leads to no pod"
    return Failed(problem, f"compare its selector with the pods' labels; {_APPLY}", may_pass=True)


WEBHOOK = Group(
    "webhook",
    (
        Check("webhook", "its configuration is as this version makes it", _present),
        Check("webhook-closed", "no pod that asked for the mesh starts without it", _closed),
        Check("webhook-believed", "the API server believes the injector", _believed),
        Check("webhook-certificate", "the injector's certificate is valid for long enough", _lasts),
        Check("webhook-endpoints", "its Service leads to the injector", _endpoints),
    ),
)
