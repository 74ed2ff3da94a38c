"""The certificates that all others hang on: the anchors, the issuer, and what pods were given."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from cryptography import x509

from meshtx.errors import CredentialsError
from meshtx.kube.annotations import TRUST_ROOT
from meshtx.kube.checks.outcomes import Check, Failed, Group, NotKnown, Outcome, Passed, Warned
from meshtx.kube.checks.snapshot import Snapshot, path_of
from meshtx.kube.injection import annotations_of
from meshtx.kube.manifests.shapes import ISSUER_SECRET, TRUST_CONFIG_MAP, TRUST_KEY
from meshtx.pki.bundle import TrustBundle, is_authority
from meshtx.pki.chain import verify_chain
from meshtx.pki.pem import read_certificates

ANCHORS_LEFT = timedelta(days=60)
"""Before they expire, anchors are to be replaced."""
ISSUER_LEFT, ISSUER_EARLY = timedelta(days=7), timedelta(days=21)
"""An issuer lives for 90 days; it is to be replaced before the first of these, and better before the second."""

_ROTATE = "replace them: docs/kubernetes.md, Rotate"


def _anchors(snapshot: Snapshot) -> TrustBundle:
    """Return the anchors.

    :raises CredentialsError: they cannot be read.
    """
    text = (snapshot.object("ConfigMap", TRUST_CONFIG_MAP).get("data") or {}).get(TRUST_KEY, "")
    return TrustBundle.from_pem(text, f"ConfigMap {TRUST_CONFIG_MAP}")


def _usable_anchors(snapshot: Snapshot) -> TrustBundle:
    """Return the anchors for another check than the one which judges them.

    :raises NotKnown: they are of no use.
    """
    try:
        anchors = _anchors(snapshot)
    except CredentialsError as error:
        raise NotKnown("the trust anchors cannot be read") from error
    if all(each.not_valid_after_utc <= snapshot.now for each in anchors.anchors):
        raise NotKnown("the trust anchors have expired")
    return anchors


def _anchors_last(snapshot: Snapshot) -> Outcome:
    try:
        anchors = _anchors(snapshot).anchors
    except CredentialsError as error:
        return Failed(str(error), f"put the mesh's anchors there; {_ROTATE}")
    ending = tuple(each for each in anchors if each.not_valid_after_utc - snapshot.now < ANCHORS_LEFT)
    said = tuple(
        f"{each.subject.rfc4514_string()}: {said_of_end(each.not_valid_after_utc, snapshot.now)}" for each in ending
    )
    if not ending:
        return Passed(f"until {min(each.not_valid_after_utc for each in anchors):%Y-%m-%d}")
    if len(ending) == len(anchors):
        return Failed(f"no anchor is valid for {ANCHORS_LEFT.days} more days", _ROTATE, said)
    return Warned("one of several anchors ends", "leave it out when nothing hangs on it any more", said)


def _issuer(snapshot: Snapshot) -> Sequence[x509.Certificate]:
    """Return the issuer and what is between it and its anchor.

    :raises CredentialsError: they cannot be read.
    """
    data = snapshot.object("Secret", ISSUER_SECRET).get("data") or {}
    name = "tls.crt" if "tls.crt" in data else "crt.pem"
    return certificates_in(data, name, f"Secret {ISSUER_SECRET}: {name}")


def _issuer_verifies(snapshot: Snapshot) -> Outcome:
    anchors = _usable_anchors(snapshot)
    hint = (
        "give an issuer below these anchors: 'meshtx install' with the same --ca-folder, or docs/kubernetes.md, Rotate"
    )
    try:
        issuer, *others = _issuer(snapshot)
        verify_chain(issuer, others, anchors, within(issuer, snapshot.now), "issuer")
    except CredentialsError as error:
        return Failed(str(error), hint)
    if not is_authority(issuer):
        return Failed("the issuer is no certificate authority", hint)
    return Passed()


def _issuer_lasts(snapshot: Snapshot) -> Outcome:
    try:
        issuer = _issuer(snapshot)[0]
    except CredentialsError as error:
        raise NotKnown("the issuer cannot be read") from error
    left = issuer.not_valid_after_utc - snapshot.now
    said = said_of_end(issuer.not_valid_after_utc, snapshot.now)
    hint = "make the next one: 'meshtx ca issuer FOLDER', then 'meshtx install --ca-folder FOLDER | kubectl apply -f -'"
    if left < ISSUER_LEFT:
        return Failed(f"the issuer {said}", hint)
    if left < ISSUER_EARLY:
        return Warned(f"the issuer {said}", hint)
    if snapshot.now < issuer.not_valid_before_utc:
        return Failed("the issuer is not valid yet", "set the clocks right")
    return Passed(f"until {issuer.not_valid_after_utc:%Y-%m-%d}")


def _pods_have_them(snapshot: Snapshot) -> Outcome:
    digest = _usable_anchors(snapshot).digest
    stale = tuple(
        path_of(pod) for pod in snapshot.meshed_pods() if annotations_of(pod).get(TRUST_ROOT, digest) != digest
    )
    if not stale:
        return Passed()
    hint = "restart them before an anchor that they hang on is left out: kubectl rollout restart"
    return Warned("pods that have other trust anchors than the ConfigMap", hint, stale)


def certificates_in(data: Mapping[str, str], name: str, what: str) -> Sequence[x509.Certificate]:
    """Return the certificates in a key of a Secret's ``data``.

    :raises CredentialsError: there is none, or something else.
    """
    try:
        text = b64decode(data.get(name, ""), validate=True)
    except ValueError as error:
        raise CredentialsError(f"{what}: no base64") from error
    return read_certificates(text, what)


def within(certificate: x509.Certificate, now: datetime) -> datetime:
    """Return a time at which a certificate is valid, now if it is: its end is another check's matter."""
    return min(max(now, certificate.not_valid_before_utc), certificate.not_valid_after_utc)


def said_of_end(end: datetime, now: datetime) -> str:
    """Return when something expires or has expired."""
    days = abs(end - now).days
    if end <= now:
        return f"has expired on {end:%Y-%m-%d}"
    return f"expires in {days} {'day' if days == 1 else 'days'}, on {end:%Y-%m-%d}"


TRUST = Group(
    "trust",
    (
        Check("anchors", "the trust anchors are valid for long enough", _anchors_last),
        Check("issuer-verifies", "the issuer is below them", _issuer_verifies),
        Check("issuer", "the issuer is valid for long enough", _issuer_lasts),
        Check("pods-anchors", "pods have these anchors", _pods_have_them),
    ),
)
