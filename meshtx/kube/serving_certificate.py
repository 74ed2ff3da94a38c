"""The certificate of a program that API servers call, and what is to happen to it next.

Each generation is a leaf and an authority that has signed this leaf and nothing else: its key is thrown away at once.
The API server believes the authorities in the ``caBundle`` of the webhook, or of the APIService, so it is told of the
next one before that is used, and keeps the one before for a while:

    served    current      current        next           current
    believed  current      current+next   previous+next  current
                  renew ──▶     SWITCH ──▶     PRUNE ──▶

All of it stands in one Secret, where the replicas of the program find it. Whoever comes first writes; the others see
that the Secret has changed, and look again. Pure: values and times in, a step out (`meshtx.kube.serving_rotation`
takes it).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshtx.errors import CredentialsError
from meshtx.pki.issuer import BACKDATE, authority_key_of, key_usage, start_certificate
from meshtx.pki.keys import key_to_pem, new_key, read_key
from meshtx.pki.pem import read_certificates

LIFETIME = timedelta(days=90)
"""Of a leaf and its authority. What ``meshtx check`` wants at least is 30 days: a third."""
SWITCH = 60.0
"""Seconds for all API servers to take up a ``caBundle``; they follow it by a watch."""
PRUNE = 600.0
"""Seconds for all replicas to look at the Secret, even one that cannot reach the API server for a while."""

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
NEXT, PREVIOUS = "next-", "previous-"
"""What keys of the Secret begin with, for the other generations."""


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


@dataclass(frozen=True, slots=True)
class Kept:
    """What the Secret holds."""

    current: Generation | None = None
    next: Generation | None = None
    previous: x509.Certificate | None = None

    @property
    def believed(self) -> tuple[x509.Certificate, ...]:
        """The authorities that the API server is to believe."""
        generations = (each.authority for each in (self.current, self.next) if each is not None)
        return (*generations, *((self.previous,) if self.previous else ()))

    def bundle(self) -> str:
        """Return them as PEM."""
        return "".join(map(_pem, self.believed))


@dataclass(frozen=True, slots=True)
class Store:
    """The Secret is to hold this."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class Announce:
    """The ``caBundle`` is to be this PEM."""

    bundle: str


Step = Store | Announce | None
"""What is to happen next; ``None``: nothing for now."""


def next_step(kept: Kept, bundles: frozenset[str], host: str, now: datetime, still: float) -> Step:
    """Return the next step.

    :param bundles: every ``caBundle`` that the registration has.
    :param host: the name that the API server calls.
    :param now: aware.
    :param still: seconds for which Secret and bundles have been seen as they are.
    """
    if kept.current is None or now >= kept.current.not_after:
        usable = kept.next is not None and now < kept.next.not_after
        return Store(Kept(kept.next if usable else generate(host, now)))
    if bundles != {kept.bundle()}:
        return Announce(kept.bundle())
    if kept.next is not None:
        changed = Kept(kept.next, previous=kept.current.authority)
        return Store(changed) if still >= SWITCH else None
    if kept.previous is not None:
        return Store(replace(kept, previous=None)) if still >= PRUNE else None
    if now >= kept.current.renew_at():
        return Store(replace(kept, next=generate(host, now)))
    return None


def generate(host: str, now: datetime, lifetime: timedelta = LIFETIME) -> Generation:
    """Return a new generation.

    :param now: aware.
    """
    authority_key, key = new_key(), new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"serving authority {now:%Y-%m-%dT%H:%M:%SZ}")])
    begin, end = now - BACKDATE, now + lifetime
    authority = (
        start_certificate(name, name, begin, end)
        .public_key(authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
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


def to_data(kept: Kept) -> dict[str, str]:
    """Return the Secret's ``data``."""
    texts = {**_texts(kept.current, ""), **_texts(kept.next, NEXT)}
    if kept.previous is not None:
        texts[PREVIOUS + AUTHORITY] = _pem(kept.previous)
    return {name: b64encode(text.encode("ascii")).decode("ascii") for name, text in texts.items()}


def from_data(data: Mapping[str, str]) -> Kept:
    """Read a Secret's ``data``; what is not there is ``None``.

    :raises CredentialsError: something there is not what we write.
    """
    try:
        texts = {name: b64decode(text, validate=True).decode("ascii") for name, text in data.items()}
    except ValueError as error:
        raise CredentialsError("the Secret is not base64 of PEM") from error
    previous = texts.get(PREVIOUS + AUTHORITY)
    return Kept(
        _generation(texts, ""),
        _generation(texts, NEXT),
        _certificate(previous, PREVIOUS + AUTHORITY) if previous else None,
    )


def _texts(generation: Generation | None, prefix: str) -> dict[str, str]:
    if generation is None:
        return {}
    return {
        prefix + AUTHORITY: _pem(generation.authority),
        prefix + CERTIFICATE: _pem(generation.leaf),
        prefix + KEY: key_to_pem(generation.key).decode("ascii"),
    }


def _generation(texts: Mapping[str, str], prefix: str) -> Generation | None:
    names = (prefix + AUTHORITY, prefix + CERTIFICATE, prefix + KEY)
    if not any(texts.get(name) for name in names):
        return None
    authority, leaf = (_certificate(texts.get(name, ""), name) for name in names[:2])
    key = read_key(texts.get(names[2], ""), names[2])
    if leaf.public_key() != key.public_key():
        raise CredentialsError(f"{names[2]} is not the key of {names[1]}")
    return Generation(authority, leaf, key)


def _certificate(text: str, what: str) -> x509.Certificate:
    found = read_certificates(text, what)
    if len(found) != 1:
        raise CredentialsError(f"{what}: holds {len(found)} certificates, not one")
    return found[0]


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
