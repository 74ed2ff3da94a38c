"""Judges a peer's certificate while OpenSSL verifies the chain, and keeps the verdict with its reason."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.logger import Logger

from meshtx.net.failures import TlsError, TlsFailure, verification_problem
from meshtx.pki.name import Name
from meshtx.pki.peer_name import PeerNameError, matches, peer_name

_CODES = SSL.X509VerificationCodes

_VERDICTS = {
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT: TlsFailure.UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: TlsFailure.UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: TlsFailure.UNKNOWN_CA,
    _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: TlsFailure.UNKNOWN_CA,
    _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN: TlsFailure.UNKNOWN_CA,
    _CODES.ERR_CERT_SIGNATURE_FAILURE: TlsFailure.UNKNOWN_CA,  # an anchor of that name, but another key
    _CODES.ERR_CERT_UNTRUSTED: TlsFailure.UNKNOWN_CA,
    _CODES.ERR_CERT_HAS_EXPIRED: TlsFailure.EXPIRED,
    _CODES.ERR_CERT_NOT_YET_VALID: TlsFailure.NOT_YET_VALID,
}


KNOWN = 1024
"""Certificates that are kept in memory with what they say."""

MAX_KNOWN = 2**12
"""Octets of one that is; ours have some 600."""

_DATE = "%Y-%m-%dT%H:%M:%SZ"


class PeerCheck:
    """The judgement of one connection's peer; the connection carries it as its app data.

    :param expected: who it must be; ``None`` takes any workload of the grammar, whom the caller then judges.
    :param required: without a certificate there is no connection.
    """

    log = Logger()

    __slots__ = ("expected", "expires", "found", "refused", "required")

    def __init__(self, expected: Name | None, *, required: bool) -> None:
        self.expected = expected
        self.required = required
        self.found: Name | None = None
        """The workload that the peer has proved to be. Set by a check that ran and passed, by nothing else."""
        self.expires: datetime | None = None
        """When its certificate does; TLS itself looks at dates in the handshake only."""
        self.refused: TlsError | None = None

    def judge(self, certificate: crypto.X509, errno: int, depth: int, ok: int) -> bool:
        """Decide on one certificate of the chain, the leaf last: OpenSSL's verify callback.

        Anything unforeseen is a refusal.
        """
        try:
            if not ok:
                self.refused = _verdict(certificate, errno, depth)
            elif depth == 0:
                octets = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
                proved = known if len(octets) <= MAX_KNOWN else _proved
                self.found, self.expires = proved(octets, self.expected)
        except PeerNameError as error:
            self.refused = TlsError(TlsFailure(error.reason.value), error.detail)
        except ValueError as error:  # cryptography's; not logged: who may connect could fill the log with it
            self.refused = TlsError(TlsFailure.UNSUITABLE, f"the certificate cannot be read: {error}"[:256])
        except Exception:  # noqa: BLE001  the border to whatever a peer sends: closed
            self.log.failure("the peer's certificate cannot be judged; refused")
            self.refused = TlsError(TlsFailure.UNSUITABLE, "the certificate cannot be judged")
        return bool(ok) and self.refused is None


def _proved(octets: bytes, expected: Name | None) -> tuple[Name, datetime]:
    """Return whom a leaf names, and when it expires.

    :param octets: the certificate, DER.
    :raises PeerNameError: it names another one, or none.
    """
    leaf = x509.load_der_x509_certificate(octets)
    return matches(leaf, expected or peer_name(leaf)), leaf.not_valid_after_utc


known = lru_cache(KNOWN)(_proved)
"""Remembers: a peer shows the same certificate until it is renewed, and the same octets always say the same.

What is refused is not remembered. That the chain is good and in time is OpenSSL's verdict, anew in each handshake.
"""


def _verdict(certificate: crypto.X509, errno: int, depth: int) -> TlsError:
    reason = _VERDICTS.get(errno, TlsFailure.UNSUITABLE)
    whose = "certificate" if depth == 0 else f"issuer's certificate at depth {depth}"
    return TlsError(reason, f"{verification_problem(errno)}: {whose}, {_described(certificate)}")


def _described(certificate: crypto.X509) -> str:
    """Return who issued it and when; a stranger's may be one that OpenSSL reads and cryptography does not."""
    try:
        read = certificate.to_cryptography()
        issuer = read.issuer.rfc4514_string()[:256]
        dates = f"{read.not_valid_before_utc:{_DATE}} to {read.not_valid_after_utc:{_DATE}}"
    except ValueError:
        return "whose content cannot be read"
    return f"issued by {issuer!r}, valid from {dates}"
