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
from meshtx.kube.checks.snapshot import Absent, Snapshot, expected, known
from meshtx.kube.checks.trust import certificates_in, said_of_end, within
from meshtx.kube.manifests.shapes import INJECTOR_SECRET
from meshtx.kube.manifests.values import Program
from meshtx.kube.serving_certificate import CERTIFICATE
from meshtx.kube.webhook import NAME
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import verify_chain

LEFT = timedelta(days=30)
"""The injector renews its certificate before that."""

_KIND = "MutatingWebhookConfiguration"
_APPLY = "apply what 'meshtx install' prints (--keep-issuer keeps the issuer)"


def _entries(snapshot: Snapshot) -> dict[str, Object]:
    """Return the entries of the configuration by their names.

    :raises NotKnown: it is not there, or may not be read.
    """
    return {each["name"]: each for each in snapshot.object(_KIND, NAME).get("webhooks") or ()}


def _present(snapshot: Snapshot) -> Outcome:
    key = snapshot.key(_KIND, NAME)
    if isinstance(snapshot.objects[key], Absent):
        return Failed("no pod gets a sidecar: there is no webhook", _APPLY, (str(key),))
    found = _entries(snapshot)
    wrong = tuple(
        f"{each['name']}: {problem}"
        for each in expected(snapshot.namespace)[key]["webhooks"]
        for problem in (_differences(each, found[each["name"]]) if each["name"] in found else ["is missing"])
    )
    return Failed("it is not as this version makes it", _APPLY, wrong) if wrong else Passed()


def _differences(rendered: Object, found: Object) -> Iterator[str]:
    """Give the fields that differ; the policy of failures has a check of its own, as has the ``caBundle``."""
    for field, value in rendered.items():
        if field != "failurePolicy" and not _holds(found.get(field), value):
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
    rendered = expected(snapshot.namespace)[snapshot.key(_KIND, NAME)]["webhooks"]
    opened = tuple(
        each["name"]
        for each in rendered
        if each["failurePolicy"] == "Fail" and found.get(each["name"], each).get("failurePolicy") != "Fail"
    )
    if not opened:
        return Passed()
    problem = "pods that asked for the mesh start without a sidecar while the injector is away"
    return Failed(problem, f"set failurePolicy to Fail: {_APPLY}", opened)


def _leaf(snapshot: Snapshot) -> x509.Certificate:
    """Return the injector's certificate.

    :raises NotKnown: there is none, or it may not be read.
    :raises CredentialsError: it cannot be read.
    """
    data = snapshot.object("Secret", INJECTOR_SECRET).get("data") or {}
    if not data.get(CERTIFICATE):
        raise NotKnown(f"the injector has put no certificate into Secret {INJECTOR_SECRET} yet")
    return certificates_in(data, CERTIFICATE, f"Secret {INJECTOR_SECRET}: {CERTIFICATE}")[0]


def _believed(snapshot: Snapshot) -> Outcome:
    bundles = {name: each["clientConfig"].get("caBundle", "") for name, each in _entries(snapshot).items()}
    log = f"kubectl logs -n {snapshot.namespace} deploy/{Program.INJECTOR} -c injector"
    empty = tuple(name for name, bundle in bundles.items() if not bundle)
    if empty:
        problem = "the injector has put no authority in: the API server believes nobody"
        return Failed(problem, f"it does so when it starts: {log}", empty, may_pass=True)
    leaf, host = _leaf(snapshot), f"{NAME}.{snapshot.namespace}.svc"
    wrong = []
    for name, bundle in bundles.items():
        try:
            trust = TrustBundle.of(certificates_in({name: bundle}, name, "caBundle"), "caBundle")
            verify_chain(leaf, (), trust, within(leaf, snapshot.now), "the injector's certificate")
        except CredentialsError as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        problem = "the API server does not believe the injector"
        return Failed(problem, f"the injector writes it anew at once; if not: {log}", tuple(wrong), may_pass=True)
    if host not in _names(leaf):
        return Failed(f"the injector's certificate does not name {host}", f"delete Secret {INJECTOR_SECRET}; {_APPLY}")
    return Passed()


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def _lasts(snapshot: Snapshot) -> Outcome:
    try:
        end = _leaf(snapshot).not_valid_after_utc
    except CredentialsError as error:
        return Failed(str(error), f"empty Secret {INJECTOR_SECRET}: the injector makes another certificate")
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
