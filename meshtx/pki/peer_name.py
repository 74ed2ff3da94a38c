"""Reads the name that a peer's certificate proves: the one place that does.

A leaf counts only if its subject alternative name is exactly one dNSName in the grammar of
`meshtx.pki.name`. Libraries that match names skip what they cannot read, fold case or honour
wildcards; here whatever is not plainly right is refused, with its reason. The common name proves
nothing. OpenSSL must have verified the chain before.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, verify_service_identity

from meshtx.errors import PeerError
from meshtx.pki.name import InvalidName, Name


class PeerNameReason(StrEnum):
    """Why a leaf proves no name, or not this one: log, metrics and tap print the value."""

    NO_SAN = "no_subject_alternative_name"
    WILDCARD = "wildcard_name"
    NOT_A_MESH_NAME = "not_a_mesh_name"
    SEVERAL = "several_names"
    MISMATCH = "name_mismatch"


class PeerNameError(PeerError):
    """The peer's certificate does not name a workload of a mesh, or names another one."""

    def __init__(self, reason: PeerNameReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def peer_name(cert: x509.Certificate) -> Name:
    """Return the workload that a leaf names.

    :raises PeerNameError: it does not name exactly one.
    """
    names = _alternative_names(cert)
    shown = ", ".join(f"{type(name).__name__} {name.value!r}" for name in names)[:512]
    if not names:
        raise PeerNameError(PeerNameReason.NO_SAN, "the certificate has no subject alternative name")
    if any("*" in str(name.value) for name in names):
        raise PeerNameError(PeerNameReason.WILDCARD, shown)
    if len(names) > 1:
        raise PeerNameError(PeerNameReason.SEVERAL, shown)
    if not isinstance(names[0], x509.DNSName):
        raise PeerNameError(PeerNameReason.NOT_A_MESH_NAME, shown)
    try:
        return Name.parse(names[0].value)
    except InvalidName as error:
        raise PeerNameError(PeerNameReason.NOT_A_MESH_NAME, str(error)) from error


def _alternative_names(cert: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
    except Exception as error:  # whatever the parser trips over is no name of ours: closed
        raise PeerNameError(PeerNameReason.NOT_A_MESH_NAME, f"cannot be read: {error}") from error


def matches(cert: x509.Certificate, expected: Name) -> Name:
    """Check that a leaf names this workload, and return its name.

    :raises PeerNameError: it names another one, or none.
    """
    name = peer_name(cert)
    try:
        verify_service_identity(extract_patterns(cert), [_dns_id(expected)], [])
    except (VerificationError, CertificateError) as error:
        raise PeerNameError(PeerNameReason.MISMATCH, f"expected {expected}, the certificate names {name}") from error
    return name


@lru_cache(maxsize=4096)
def _dns_id(name: Name) -> DNS_ID:
    return DNS_ID(str(name))
