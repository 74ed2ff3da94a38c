"""Certificate signing requests (RFC 2986): a workload makes one, the authority judges it.

The authority takes from a request nothing but the public key; the names in it must say what the
caller asked for, and every other wish (extensions, other parts of the subject) has no effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshtx.errors import PeerError
from meshtx.pki.keys import is_p256
from meshtx.pki.name import Name

MAX_LENGTH = 16 * 1024
"""Bytes of a request; an honest one has about 300."""
MAX_COMMON_NAME = 64
"""Characters of a common name (RFC 5280, appendix A.1, ub-common-name)."""


class CsrMalformed(PeerError):
    """It is no request, or nobody has proven to hold its key: gRPC InvalidArgument."""


class CsrNotAllowed(PeerError):
    """The request asks for names that this caller cannot have: gRPC FailedPrecondition."""


@dataclass(frozen=True, slots=True)
class CsrRequest:
    """A request whose signature proves possession of its key. Its names are still claims.

    :param dns_names: the dNSNames asked for, as they were written.
    :param other_names: the kinds of all other alternative names asked for.
    :param common_names: of the subject, as they were written.
    """

    public_key: EllipticCurvePublicKey = field(repr=False)
    dns_names: tuple[str, ...]
    other_names: tuple[str, ...] = ()
    common_names: tuple[str, ...] = ()

    def check(self, identity: str) -> None:
        """Check that the request asks for this identity and for nothing else.

        :param identity: what the caller says it is, not necessarily a `Name`.
        :raises CsrNotAllowed: it asks for something else, or more.
        """
        if self.other_names:
            raise CsrNotAllowed(f"the request asks for {', '.join(self.other_names)[:200]}; only a DNS name is allowed")
        if len(self.dns_names) != 1:
            raise CsrNotAllowed(f"the request has {len(self.dns_names)} DNS names, it must have exactly one")
        if self.dns_names[0] != identity:
            raise CsrNotAllowed(f"the request's DNS name {self.dns_names[0][:300]!r} is not the identity asked for")
        if any(common_name not in {"", identity} for common_name in self.common_names):
            raise CsrNotAllowed("the request's common name is neither empty nor the identity asked for")


def make_csr(key: EllipticCurvePrivateKey, name: Name) -> bytes:
    """Return the request for a workload's certificate (DER)."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject_of(name))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(str(name))]), critical=not has_common_name(name))
        .sign(key, SHA256())
        .public_bytes(Encoding.DER)
    )


def has_common_name(name: Name) -> bool:
    """Say whether a name fits a common name."""
    return len(str(name)) <= MAX_COMMON_NAME


def subject_of(name: Name) -> x509.Name:
    """Return the subject: the name where it fits, else nothing (then the alternative name is critical)."""
    if not has_common_name(name):
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(name))])


def parse_csr(der: bytes) -> CsrRequest:
    """Read a request and check the proof of possession.

    :raises CsrMalformed: it cannot be read, is not signed by its own key, or that is not on P-256.
    """
    if len(der) > MAX_LENGTH:
        raise CsrMalformed(f"the request has {len(der)} bytes, at most {MAX_LENGTH}")
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        possessed = csr.is_signature_valid
        dns_names, other_names = _alternative_names(csr)
        common_names = tuple(str(each.value) for each in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    except Exception as error:  # the library raises a dozen unrelated types for bytes from outside
        raise CsrMalformed(f"the certificate signing request cannot be read: {error}") from error
    if not isinstance(key, EllipticCurvePublicKey) or not is_p256(key):
        raise CsrMalformed("the request's key is not ECDSA P-256")
    if not possessed:
        raise CsrMalformed("the request is not signed by its own key")
    return CsrRequest(key, dns_names, other_names, common_names)


def _alternative_names(csr: x509.CertificateSigningRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the dNSNames and the kinds of all others."""
    try:
        names = list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return (), ()
    except x509.UnsupportedGeneralNameType:
        return (), ("a name of an unknown kind",)
    dns_names = tuple(name.value for name in names if isinstance(name, x509.DNSName))
    return dns_names, tuple(type(name).__name__ for name in names if not isinstance(name, x509.DNSName))
