"""The certificate of a program that API servers call, and whom they are to believe.

Each generation is a leaf and an authority that has signed this leaf and nothing else: its key is thrown away at once.
Every replica makes its own and keeps them in memory alone; what it shares is the authorities' certificates, in the
``caBundle`` of the webhook, or of the APIService, which says whom API servers believe:

    served    current      current        next            next
    believed  current      current+next   current+next    next
                  renew ──▶     SWITCH ──▶      expired ──▶

A bundle is a queue (`wanted`): who comes stands at its back, and who is too many goes from its front. Who runs sees
that the others have come nearer and goes to the back again in time, so that a replica which restarts again and again
pushes out what it has left there itself, and nobody who serves:

    front ◀── pushed out │ MOST - NEAR: in danger │ NEAR: two generations of each that may run at once ◀── back

What another replica has put in stays for as long as it may serve (`kept`); what cannot be a replica's goes.

Pure: values and times in, values out (`meshtx.kube.serving_rotation` writes them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshtx.errors import CredentialsError
from meshtx.pki.bundle import is_authority
from meshtx.pki.issuer import authority_key_of, key_usage, start_certificate
from meshtx.pki.keys import new_key
from meshtx.pki.pem import read_certificates

LIFETIME = timedelta(days=7)
"""Of a leaf and its authority. Who ended leaves its authority behind for so long; who runs renews it after two thirds,
and has more than two days for trouble of the API."""
BACKDATE = timedelta(days=1)
"""How far a generation begins in the past: more than clocks differ, for a replica whose clock is ahead would be ready
with what API servers find not valid yet. Nobody gains by it: the key is new, and who believes the authority believes
this leaf alone."""
GRACE = timedelta(days=1)
"""After its end an authority stays in a bundle for so long: whose clock is ahead takes nobody away who serves. API
servers believe it no longer, whatever stands there."""
LONGEST = 2 * (LIFETIME + BACKDATE)
"""Validity of an authority that may be a replica's, of another version's too. One that lasts longer is somebody
else's, whom API servers would believe here for years."""
MOST = 64
"""Authorities in a bundle: about 45 KB, and 60 KB as it is written. The webhook has it three times, and etcd takes
objects of 1.5 MB."""
NEAR = MOST // 2
"""Authorities from the back on that are not in danger: more than MOST - NEAR must come between two looks. It must be
more than all who run have together, else they go to the back again and again: two generations of eight replicas and
of the one that a rollout adds are 18."""

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

    Others stay as they stand, if they are to be `kept`. Ours are put at the back where one of them is missing or no
    longer near the back.

    :param bundle: PEM, or whatever somebody has put there.
    :param ours: NEAR of them at most; what of them is not to be `kept` is left out.
    :param now: aware.
    """
    ours = kept(ours, now)
    standing = kept(authorities_in(bundle), now)
    if not set(ours) <= set(standing[-NEAR:]):
        standing = [*(each for each in standing if each not in ours), *ours]
    return to_pem(standing[-MOST:])


def authorities_in(bundle: str) -> list[x509.Certificate]:
    """Return the authorities of a bundle in its order, each once; what is none or cannot be read is passed over."""
    found = (_authority_in(block) for block in _BLOCK.findall(bundle))
    return list(dict.fromkeys(each for each in found if each is not None))


@lru_cache(2 * MOST)
def _authority_in(block: str) -> x509.Certificate | None:
    """Return an authority. Kept, for look after look reads nearly the same: a full bundle takes 30 ms to read."""
    try:
        (certificate,) = read_certificates(block, "caBundle")
    except CredentialsError:
        return None  # whoever put it there, API servers do not believe it either
    return certificate if is_authority(certificate) else None


def kept(authorities: Iterable[x509.Certificate], now: datetime) -> list[x509.Certificate]:
    """Return those that a replica may serve with: neither somebody else's, nor expired for longer than GRACE."""
    return [each for each in authorities if may_be_ours(each) and now < each.not_valid_after_utc + GRACE]


def may_be_ours(authority: x509.Certificate) -> bool:
    """Say whether it lasts no longer than what a replica makes."""
    return authority.not_valid_after_utc - authority.not_valid_before_utc <= LONGEST


def to_pem(authorities: Iterable[x509.Certificate]) -> str:
    """Return a bundle."""
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in authorities)
