"""What the tests of key sets share: keys of each kind, their sets, and tokens that they sign."""

from __future__ import annotations

import json
from typing import Any
from warnings import catch_warnings

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
MISSING = object()
CLAIMS = {
    "iss": ISSUER,
    "aud": ["identity.l5d.io", "other"],
    "sub": "system:serviceaccount:shop:web",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 3600,
}

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
P256 = ECKey.generate_key("P-256", {"kid": "p256"})
P384 = ECKey.generate_key("P-384", {"kid": "p384"})
ED25519 = OKPKey.generate_key("Ed25519", {"kid": "ed25519"})


def key_set(*keys: Key, **changes: Any) -> bytes:
    """Return the set of these keys' public halves, each changed so."""
    return json.dumps({"keys": [key.as_dict(private=False) | changes for key in keys]}).encode()


def token(key: Key = P256, algorithm: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """Return a token with the claims above, but for these."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not MISSING}
    head = {"alg": algorithm, "kid": key.kid} | (header or {})
    head = {name: value for name, value in head.items() if value is not MISSING}
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    with catch_warnings(action="ignore"):  # EdDSA has another name since RFC 9864
        return jwt.encode(head, claims, key, registry=registry).encode()
