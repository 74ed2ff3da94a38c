"""What a token validator (`meshtx.interfaces.ITokenValidator`) says no with."""

from __future__ import annotations

from meshtx.errors import MeshtxError, PeerError


class TokenRejected(PeerError):
    """It is a token, and not a good one: wrong signature, audience, issuer or time. gRPC FailedPrecondition."""


class TokenMalformed(PeerError):
    """It is no token, or it names nobody that a certificate could name. gRPC InvalidArgument."""


class ValidatorUnavailable(MeshtxError):
    """Whoever judges tokens cannot be asked now. gRPC Unavailable."""
