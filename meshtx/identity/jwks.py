"""Tokens of whoever publishes its keys: a cluster (its API server's ``/openid/v1/jwks``), or any issuer of JWTs.

The signature is checked here, against the issuer's key set (`meshtx.identity.jwks_keys`), with an algorithm that we
allow and never one that the key is not for. Then the claims:

    iss    the issuer of the configuration, exactly
    aud    has the audience of the configuration among its values
    sub    system:serviceaccount:NAMESPACE:ACCOUNT, as Kubernetes and ``meshtx token create`` write it
    exp    not past; nbf and iat, where there, not in the future

Nobody is asked about one token: one whose pod is gone is good until it expires. Where that matters, and in a
cluster, the validator ``kubernetes`` asks the API server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import Key
from joserfc.jws import CompactSignature, JWSRegistry
from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.identity.jwks_keys import ALGORITHMS, JwksKeys
from meshtx.identity.token_claims import AUDIENCE, check_length, check_use, name_of, seconds
from meshtx.identity.validator import TokenMalformed, TokenRejected
from meshtx.interfaces import ITokenValidator
from meshtx.pki.name import MeshScope, Name


class _Registry(JWSRegistry):
    """Takes headers with more parameters than the RFC's (RFC 7515, section 4: ignored), EdDSA on Ed25519 alone."""

    def get_alg(self, name: str) -> Any:  # Any: joserfc does not export the type
        """Return the algorithm of a header's name."""
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


_REGISTRY: Final = _Registry(algorithms=(*ALGORITHMS, "Ed25519"), strict_check_header=False)


@implementer(ITokenValidator, IPlugin)
class JwksValidator:
    """Judges tokens by their issuer's public keys.

    :param issuer: what `iss` must be.
    :param audience: what `aud` must have.
    """

    name = "jwks"

    def __init__(self, keys: JwksKeys, issuer: str, audience: str = AUDIENCE) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def validate(self, token: bytes, scope: MeshScope, now: float) -> Deferred[Name]:
        """See `ITokenValidator.validate`."""
        return Deferred.fromCoroutine(self._validate(token, scope, now))

    async def _validate(self, token: bytes, scope: MeshScope, now: float) -> Name:
        check_length(token)
        signed = _read(token.rstrip(b"\r\n"))
        algorithm, key_id = _header(signed)
        keys = self._keys.fitting(key_id, algorithm)
        if not keys:
            await self._keys.renew()
            keys = self._keys.fitting(key_id, algorithm)
        if not any(_verifies(signed, key) for key in keys):
            raise TokenRejected("the token is not signed by a key of its issuer's set")
        claims = _claims(signed)
        if claims.get("iss") != self._issuer:
            raise TokenRejected(f"the token's issuer is not {self._issuer!r}")
        if self._audience not in _audiences(claims.get("aud")):
            raise TokenRejected(f"the token's audience is not {self._audience!r}")
        _check_times(claims, now)
        return name_of(claims.get("sub"), scope)


def _read(token: bytes) -> CompactSignature:
    try:
        return jws.extract_compact(token, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise TokenMalformed("the token is no signed JWT") from error


def _header(signed: CompactSignature) -> tuple[str, str | None]:
    """Return algorithm and key id."""
    header = signed.headers()
    algorithm, key_id = header["alg"], header.get("kid")
    if algorithm not in ALGORITHMS:
        raise TokenRejected(f"the token is not signed with one of {', '.join(ALGORITHMS)}")
    if key_id is not None and not isinstance(key_id, str):
        raise TokenMalformed("the token's 'kid' is no text")
    return algorithm, key_id


def _verifies(signed: CompactSignature, key: Key) -> bool:
    try:
        return jws.validate_compact(signed, key, registry=_REGISTRY)
    except UnsupportedAlgorithmError as error:
        raise TokenRejected("the token is signed in a way that is not allowed") from error
    except (JoseError, ValueError, TypeError) as error:
        raise TokenMalformed("the token is no signed JWT") from error


def _claims(signed: CompactSignature) -> dict[str, Any]:
    try:
        claims = json.loads(signed.payload or b"")
    except (ValueError, RecursionError) as error:
        raise TokenMalformed("the token is no signed JWT") from error
    if not isinstance(claims, dict):
        raise TokenMalformed("the token is no signed JWT")
    return claims


def _audiences(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _check_times(claims: Mapping[str, object], now: float) -> None:
    ends = seconds(claims, "exp")
    begins = [seconds(claims, name) for name in ("nbf", "iat") if name in claims]
    check_use(max(begins, default=now), ends, now)
