"""The certificate of a program that API servers call, and whom they are to believe.

Each generation is a leaf and an authority that has signed this leaf and nothing else: its key is thrown away at once.
Every replica makes its own and keeps them in memory alone; what it shares is the authorities' certificates, in the
``caBundle`` of the webhook, or of the APIService, which says whom API servers believe:

    served    current      current        next            next
    believed  current      current+next   current+next    next
                  renew ──▶     SWITCH ──▶      expired ──▶

A bundle is a queue (`wanted`): who comes stands at its back, and who is too many goes from its front. Who runs sees
that the others have come nearer and goes to the back again in time, so that a replica which restarts again and again
pushes out what it has left there itself, and nobody who serves.

Pure: values and times in, values out (`meshtx.kube.serving_rotation` writes them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshtx.errors import CredentialsError
from meshtx.pki.bundle import is_authority
from meshtx.pki.issuer import BACKDATE, authority_key_of, key_usage, start_certificate
from meshtx.pki.keys import new_key
from meshtx.pki.pem import read_certificates

LIFETIME = timedelta(days=7)
"""Of a leaf and its authority. Who ended leaves its authority behind for so long; who runs renews it after two thirds,
and has more than two days for trouble of the API."""
MOST = 16
"""Authorities in a bundle: two generations of eight replicas, about 11 KB."""
NEAR = 12
"""Authorities from the back on that are not in danger: more than MOST - NEAR must come between two looks."""

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(?:(?!-----).)*-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Generation:
    """A leaf with its key, and its authority."""

    authority: x509.Certificate = field(repr=False)
    leaf: x509.Certificate = field(repr=False)
    key: EllipticCurvePrivateKey = field(repr=False)

    @property
    def not_after(self) -> datetime:
        """When it expires."""
        return self.leaf.not_valid_after_utc

    def renew_at(self) -> datetime:
        """Return when the next one is due: a third of the time before it expires."""
        return self.not_after - (self.not_after - self.leaf.not_valid_before_utc) / 3


def generate(host: str, now: datetime, lifetime: timedelta = LIFETIME) -> Generation:
    """Return a new generation.

    :param now: aware.
    """
    authority_key, key = new_key(), new_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    # two replicas may begin in the same second: a name of its own lets a verifier find the one authority
    called = f"serving authority {now:%Y-%m-%dT%H:%M:%SZ} {identifier.digest.hex()[:16]}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
    begin, end = now - BACKDATE, now + lifetime
    authority = (
        start_certificate(name, name, begin, end)
        .public_key(authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(key_cert_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, SHA256())
    )
    leaf = (
        start_certificate(x509.Name([]), name, begin, end)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(authority_key_of(authority), critical=False)
        .sign(authority_key, SHA256())
    )
    return Generation(authority, leaf, key)


def wanted(bundle: str, ours: Sequence[x509.Certificate], now: datetime) -> str:
    """Return what a bundle is to be: what stands there, if that is well.

    Others stay as they stand, but for what has expired or cannot be read. Ours are put at the back where one of them
    is missing or no longer near the back.

    :param bundle: PEM, or whatever somebody has put there.
    :param ours: NEAR of them at most; what has expired of them is left out.
    :param now: aware.
    """
    ours = valid(ours, now)
    standing = valid(authorities_in(bundle), now)
    if not set(ours) <= set(standing[-NEAR:]):
        standing = [*(each for each in standing if each not in ours), *ours]
    return to_pem(standing[-MOST:])


def authorities_in(bundle: str) -> list[x509.Certificate]:
    """Return the authorities of a bundle in its order, each once; what is none or cannot be read is passed over."""
    found: dict[x509.Certificate, None] = {}
    for block in _BLOCK.findall(bundle):
        try:
            (certificate,) = read_certificates(block, "caBundle")
        except CredentialsError:
            continue  # whoever put it there, API servers do not believe it either
        if is_authority(certificate):
            found[certificate] = None
    return list(found)


def valid(authorities: Iterable[x509.Certificate], now: datetime) -> list[x509.Certificate]:
    """Return those that have not expired."""
    return [each for each in authorities if now < each.not_valid_after_utc]


def to_pem(authorities: Iterable[x509.Certificate]) -> str:
    """Return a bundle."""
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in authorities)
