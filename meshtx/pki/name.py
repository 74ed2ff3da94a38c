"""The name of a workload, as certificates, SNI and policy carry it.

    SA.NS.serviceaccount.identity.CONTROL-NS.TRUST-DOMAIN

It is Linkerd's form: SA, NS and CONTROL-NS are DNS labels (RFC 1123, section 2.1), the trust
domain is one or more of them. Lower case only, no trailing dot, no wildcard, at most 253 octets:
one name has exactly one spelling, so that equality of text is equality of identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from meshtx.errors import MeshtxError

MAX_LENGTH = 253
"""Octets of a DNS name (RFC 1035, section 2.3.4, without the trailing dot)."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MIDDLE = ["serviceaccount", "identity"]


class InvalidName(MeshtxError, ValueError):
    """The text is no workload name; the message says which part is wrong."""


def _label(text: str, part: str) -> str:
    if not _LABEL.fullmatch(text):
        raise InvalidName(f"{part} {text!r} is not a DNS label (lower-case letters, digits and '-', at most 63)")
    return text


@dataclass(frozen=True, slots=True)
class MeshScope:
    """The last part of every name of one mesh: control namespace and trust domain.

    :raises InvalidName: a part is not made of DNS labels.
    """

    control_namespace: str = "meshtx"
    trust_domain: str = "cluster.local"

    def __post_init__(self) -> None:
        _label(self.control_namespace, "control namespace")
        labels = self.trust_domain.split(".")
        for label in labels:
            _label(label, "trust domain label")
        if labels[-1].isdigit():  # else the whole could read as an IP address
            raise InvalidName(f"trust domain {self.trust_domain!r} ends in a number")

    @classmethod
    def parse(cls, text: str) -> MeshScope:
        """Read ``CONTROL-NS.TRUST-DOMAIN``, as it is printed.

        :raises InvalidName: a part is not made of DNS labels.
        """
        control_namespace, _, trust_domain = text.partition(".")
        return cls(control_namespace, trust_domain)

    def __str__(self) -> str:
        return f"{self.control_namespace}.{self.trust_domain}"

    def name(self, namespace: str, service_account: str) -> Name:
        """Return the name of one service account.

        :raises InvalidName: either is no DNS label (an account with a dot cannot be named).
        """
        return Name(service_account, namespace, self)

    def complete(self, text: str) -> Name:
        """Return a name that may be written short: ``ACCOUNT.NAMESPACE``, in this mesh.

        :raises InvalidName: it is neither.
        """
        account, dot, namespace = text.partition(".")
        if dot and "." not in namespace:
            return self.name(namespace, account)
        return Name.parse(text)

    def shorten(self, text: str) -> str:
        """Return a name of this mesh as ``ACCOUNT.NAMESPACE``, which `complete` reads, and any other text as it is."""
        short = text.removesuffix(f".{'.'.join(_MIDDLE)}.{self}")
        return short if short.count(".") == 1 else text


@dataclass(frozen=True, slots=True)
class Name:
    """A workload identity. Prints as the DNS name that its certificate carries.

    :raises InvalidName: a part is not in the grammar above, or the name is too long for DNS.
    """

    service_account: str
    namespace: str
    scope: MeshScope = field(hash=False)  # nearly always the same one: it would tell no names apart

    def __post_init__(self) -> None:
        _label(self.service_account, "service account")
        _label(self.namespace, "namespace")
        if len(str(self)) > MAX_LENGTH:
            raise InvalidName(f"{self}: {len(str(self))} octets, at most {MAX_LENGTH}")

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read the DNS form.

        :raises InvalidName: it is not exactly in the grammar above.
        """
        return _parse(text)

    @property
    def spiffe(self) -> str:
        """The SPIFFE ID: ``spiffe://TRUST-DOMAIN/ns/NS/sa/SA``."""
        return f"spiffe://{self.scope.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def __str__(self) -> str:
        scope = self.scope
        return ".".join((self.service_account, self.namespace, *_MIDDLE, scope.control_namespace, scope.trust_domain))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Name:
    labels = text.split(".")
    if len(labels) < 6 or labels[2:4] != _MIDDLE:
        raise InvalidName(f"{text!r} is not SA.NS.serviceaccount.identity.CONTROL-NS.TRUST-DOMAIN")
    return Name(labels[0], labels[1], MeshScope(labels[4], ".".join(labels[5:])))
