"""The mesh's own tokens: who a workload is, where no cluster says so.

A token is a JWT (RFC 7519) signed with ES256 by the key that ``meshtx ca init`` made. Its claims:

    iss "meshtx"    aud "identity.l5d.io"    sub "system:serviceaccount:NS:SA"    iat, nbf, exp

The algorithm is ours to name, never the token's. Lifetimes of more than a day are refused, however well
signed: what is stolen is of use for a short time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.errors import CredentialsError
from meshtx.identity.token_claims import AUDIENCE, check_length, check_use, name_of, seconds
from meshtx.identity.validator import TokenMalformed, TokenRejected
from meshtx.interfaces import ITokenValidator
from meshtx.pki.keys import is_p256
from meshtx.pki.name import MeshScope, Name
from meshtx.pki.pem import read_blocks

ISSUER: Final = "meshtx"
LIFETIME = timedelta(hours=1)
MAX_LIFETIME = timedelta(hours=24)

_ALGORITHMS = ["ES256"]


def mint(
    key: EllipticCurvePrivateKey, namespace: str, service_account: str, now: float, lifetime: timedelta = LIFETIME
) -> str:
    """Return a token for one service account.

    :param now: seconds since the epoch.
    :raises InvalidName: one of the two could not stand in a name.
    :raises ValueError: the lifetime is not within a second and `MAX_LIFETIME`.
    """
    MeshScope().name(namespace, service_account)  # judges both
    if not timedelta(seconds=1) <= lifetime <= MAX_LIFETIME:
        raise ValueError(f"a lifetime of {lifetime} is outside 1 s to {MAX_LIFETIME.total_seconds() / 3600:.0f} h")
    start = int(now)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": f"system:serviceaccount:{namespace}:{service_account}",
        "iat": start,
        "nbf": start,
        "exp": start + int(lifetime.total_seconds()),
    }
    return jwt.encode({"alg": "ES256", "typ": "JWT"}, claims, ECKey.import_key(key), algorithms=_ALGORITHMS)


@implementer(ITokenValidator, IPlugin)
class LocalValidator:
    """Judges the mesh's own tokens.

    :param keys: public; a token signed by any of them is good, so that a new one can come before the old one goes.
    """

    name = "local"

    def __init__(self, keys: Sequence[EllipticCurvePublicKey]) -> None:
        self._keys = [ECKey.import_key(key) for key in keys]

    @classmethod
    def from_pem(cls, text: str | bytes, what: str = "token key") -> LocalValidator:
        """Read one or more public keys.

        :param what: names the text in errors.
        :raises CredentialsError: it holds anything else than PUBLIC KEY blocks of P-256 keys.
        """
        return cls([_public_key(block.text, block.label, what) for block in read_blocks(text, what)])

    def validate(self, token: bytes, scope: MeshScope, now: float) -> Name:
        """Return the name that the token proves.

        :param now: seconds since the epoch.
        :raises TokenMalformed: it is no token, or its subject is no service account.
        :raises TokenRejected: it is not ours, not for us, or not for now.
        """
        check_length(token)
        claims = self._verified_claims(token.rstrip(b"\r\n"))  # a file that a person made ends in a line feed
        if claims.get("iss") != ISSUER:
            raise TokenRejected(f"the token's issuer is not {ISSUER!r}")
        if claims.get("aud") not in (AUDIENCE, [AUDIENCE]):
            raise TokenRejected(f"the token's audience is not {AUDIENCE!r}")
        _check_times(claims, now)
        return name_of(claims.get("sub"), scope)

    def _verified_claims(self, token: bytes) -> dict[str, object]:
        for key in self._keys:
            try:
                return dict(jwt.decode(token, key, algorithms=_ALGORITHMS).claims)
            except BadSignatureError:
                continue
            except UnsupportedAlgorithmError as error:
                raise TokenRejected("the token is not signed with ES256") from error
            except (JoseError, ValueError, TypeError, RecursionError) as error:
                # TypeError: a header whose 'crit' is no list; RecursionError: one of 10,000 brackets
                raise TokenMalformed("the token is no signed JWT") from error
        raise TokenRejected("the token is not signed by this mesh's token key")


def _public_key(text: str, label: str, what: str) -> EllipticCurvePublicKey:
    if label != "PUBLIC KEY":
        raise CredentialsError(f"{what}: holds {label}; only PUBLIC KEY blocks belong here")
    try:
        key = load_pem_public_key(text.encode("latin-1"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CredentialsError(f"{what}: the public key cannot be read") from error
    if not isinstance(key, EllipticCurvePublicKey) or not is_p256(key):
        raise CredentialsError(f"{what}: must be an ECDSA key on P-256")
    return key


def _check_times(claims: dict[str, object], now: float) -> None:
    issued, begins, ends = (seconds(claims, name) for name in ("iat", "nbf", "exp"))
    if ends - min(issued, begins) > MAX_LIFETIME.total_seconds():
        raise TokenRejected("the token is valid for more than 24 h")
    check_use(max(issued, begins), ends, now)
