"""Why a TLS connection was refused or ended, told apart from OpenSSL's errors once, here.

The side that refuses knows why. The other side gets a TLS alert and nothing else: `REJECTED`, with
OpenSSL's text for the alert as detail. A name that does not fit reaches the peer as
``tlsv1 alert internal error``, for OpenSSL has no better alert when our own check says no.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TypeVar

from OpenSSL import SSL

from meshtx.errors import PeerError
from meshtx.pki.peer_name import PeerNameReason

Raised = TypeVar("Raised", bound=BaseException)


class TlsFailure(StrEnum):
    """What log, metrics and tap print for a TLS connection that failed."""

    UNKNOWN_CA = "unknown_issuer"
    """No chain from the peer's certificate to one of our anchors."""
    EXPIRED = "certificate_expired"
    NOT_YET_VALID = "certificate_not_yet_valid"
    UNSUITABLE = "certificate_unsuitable"
    """The certificate is not for this use, or not well made; the detail says what OpenSSL objects to."""
    NO_CERTIFICATE = "no_client_certificate"
    NO_SAN = PeerNameReason.NO_SAN.value
    WILDCARD = PeerNameReason.WILDCARD.value
    NOT_A_MESH_NAME = PeerNameReason.NOT_A_MESH_NAME.value
    SEVERAL = PeerNameReason.SEVERAL.value
    WRONG_NAME = PeerNameReason.MISMATCH.value
    VERSION = "tls_version"
    """The peer does not speak TLS 1.3."""
    NO_ALPN = "no_application_protocol"
    """The client offers application protocols, and none of ours."""
    TIMEOUT = "handshake_timeout"
    REJECTED = "rejected_by_peer"
    """The peer sent an alert: it refuses us, or what we sent; the detail is the alert."""
    TRUNCATED = "truncated"
    """The stream ended without close_notify (RFC 8446, section 6.1): what came may not be all."""
    OTHER = "tls_error"


class TlsError(PeerError):
    """A TLS connection failed.

    :param detail: for a person: what was seen.
    """

    def __init__(self, reason: TlsFailure, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_RECEIVED_ALERT = re.compile(r"tlsv1\S* .+|(?:tls|ssl)\S* alert .+")
"""OpenSSL's texts for what the peer sent: ``tlsv13 alert …``, ``tls alert …``, or ``tlsv1 unrecognized name``."""

_REASONS = {
    "unsupported protocol": TlsFailure.VERSION,
    "tlsv1 alert protocol version": TlsFailure.VERSION,  # said by a peer that only speaks an older one
    "peer did not return a certificate": TlsFailure.NO_CERTIFICATE,
    "tlsv1 unrecognized name": TlsFailure.WRONG_NAME,  # said by a peer that is somebody else
    "no application protocol": TlsFailure.NO_ALPN,
    "tlsv1 alert no application protocol": TlsFailure.NO_ALPN,
}


_VERIFICATION = {
    number: name.removeprefix("ERR_").lower().replace("_", " ")
    for name, number in vars(SSL.X509VerificationCodes).items()
    if name.startswith("ERR_")
}


def verification_problem(errno: int) -> str:
    """Return what OpenSSL finds wrong with a certificate of a chain, such as ``cert has expired``.

    :param errno: as its callback is told.
    """
    return _VERIFICATION.get(errno, str(errno))


def translate(error: SSL.Error) -> TlsError:
    """Return what an error of OpenSSL means."""
    texts = _texts(error)
    known = (_reason(text) for text in texts)
    return TlsError(next((reason for reason in known if reason), TlsFailure.OTHER), "; ".join(texts))


def _reason(text: str) -> TlsFailure | None:
    return _REASONS.get(text) or (TlsFailure.REJECTED if _RECEIVED_ALERT.fullmatch(text) else None)


def _texts(error: SSL.Error) -> list[str]:
    """Return OpenSSL's reasons; there may be none, and two subclasses carry a text instead of a list."""
    entries = error.args[0] if error.args else []
    if not isinstance(entries, list):
        return [str(error.args[-1])]
    return list(dict.fromkeys(str(entry[-1]) for entry in entries)) or ["OpenSSL gives no reason"]


def without_frames(error: Raised) -> Raised:
    """Return it without the frames that it came through.

    They lead to all that was going on, and much of that keeps the error: a cycle with what OpenSSL has of a connection,
    and whoever connects can have one made.
    """
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__context__
    return error
