"""Who asks an API of ours that the cluster's API server aggregates: what it says of them, and why it is believed.

    user ─▶ API server (knows who it is) ─▶ us, with a certificate of the front proxy's authority and X-Remote-User,
                                               X-Remote-Group, X-Remote-Extra-... in the request

Authority, names and headers are in the ConfigMap ``extension-apiserver-authentication`` of ``kube-system``, which the
API server writes itself. Without that certificate the headers are anybody's, and nobody is believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers

from meshtx.errors import CredentialsError, PeerError
from meshtx.kube.api import KubeApi, Object
from meshtx.kube.looking import Looking
from meshtx.kube.self_check import Rule
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import verify_chain

NAMESPACE, CONFIG_MAP = "kube-system", "extension-apiserver-authentication"
RULE = Rule("get", "configmaps", namespace=NAMESPACE, name=CONFIG_MAP)
"""What must be allowed."""

EVERY = 60.0
"""Seconds between two looks."""
RETRY = 5.0
"""Seconds until the next look while nobody can be believed yet."""

_PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
_PREFIX = "requestheader-"


class Unauthenticated(PeerError):
    """Nobody whom we believe says who asks."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom the API server knows."""

    name: str
    groups: tuple[str, ...]
    uid: str
    extra: dict[str, list[str]]

    def as_review(self) -> Object:
        """Return it as a SubjectAccessReview has it."""
        said: Object = {"user": self.name, "groups": list(self.groups), "uid": self.uid, "extra": self.extra}
        return {key: value for key, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """Whom to believe, and in which headers.

    :param names: common names of the certificate; none: any.
    """

    trust: TrustBundle
    names: frozenset[str]
    user_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]

    @classmethod
    def read(cls, config_map: Object) -> FrontProxy:
        """Read the ConfigMap.

        :raises CredentialsError: it does not say whom to believe.
        """
        data = config_map.get("data") or {}
        trust = TrustBundle.from_pem(data.get(f"{_PREFIX}client-ca-file") or "", f"{CONFIG_MAP}: client-ca-file")
        users = _listed(data, "username-headers")
        if not users:
            raise CredentialsError(f"{CONFIG_MAP}: names no header in which a user's name is")
        return cls(
            trust,
            frozenset(_listed(data, "allowed-names")),
            users,
            _listed(data, "uid-headers"),
            _listed(data, "group-headers"),
            _listed(data, "extra-headers-prefix"),
        )

    def user(self, chain: Sequence[x509.Certificate], headers: Headers, now: datetime) -> User:
        """Return who asks.

        :param chain: what the client has shown, its own certificate first.
        :param now: aware.
        :raises Unauthenticated: that is nobody whom we believe, or says of nobody.
        """
        self._believe(chain, now)
        names = _values(headers, self.user_headers)
        if not names or not names[0]:
            raise Unauthenticated("the front proxy does not say who asks")
        uid = next(iter(_values(headers, self.uid_headers)), "")
        return User(names[0], tuple(_values(headers, self.group_headers)), uid, self._extra(headers))

    def _believe(self, chain: Sequence[x509.Certificate], now: datetime) -> None:
        if not chain:
            raise Unauthenticated("a certificate of the cluster's front proxy is needed")
        leaf, *others = chain
        try:
            verify_chain(leaf, others, self.trust, now, "the client's certificate")
        except CredentialsError as error:
            raise Unauthenticated(str(error)) from error
        if not _is_for_clients(leaf):
            raise Unauthenticated("the certificate is not one of a client")
        names = {str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
        if self.names and not names & self.names:
            raise Unauthenticated("the certificate is not the front proxy's")

    def _extra(self, headers: Headers) -> dict[str, list[str]]:
        extra: dict[str, list[str]] = {}
        for raw, values in headers.getAllRawHeaders():
            name = raw.decode("latin-1").lower()
            for prefix in filter(None, self.extra_prefixes):
                if name.startswith(prefix.lower()):
                    key = unquote(name[len(prefix) :])
                    extra.setdefault(key, []).extend(each.decode("utf-8", "replace") for each in values)
        return extra


class FrontProxyWatch(Looking):
    """Looks now and then at whom to believe; what was known last holds while the API is away.

    :param now: the time of day, aware.
    """

    def __init__(self, api: KubeApi, clock: IReactorTime, now: Callable[[], datetime]) -> None:
        super().__init__(clock, "whom the API server's users come by")
        self._api = api
        self._now = now
        self._known: FrontProxy | None = None

    def user(self, chain: Sequence[x509.Certificate], headers: Headers) -> User:
        """Return who asks.

        :raises Unauthenticated: as `FrontProxy.user`; also while it is not known whom to believe.
        """
        if self._known is None:
            raise Unauthenticated("it is not known yet whom to believe")
        return self._known.user(chain, headers, self._now())

    async def _look(self) -> None:
        self._known = FrontProxy.read(await self._api.get(_PATH))

    def _wait(self) -> float:
        return RETRY if self._known is None else EVERY


def _listed(data: Object, key: str) -> tuple[str, ...]:
    """Return a list that stands as JSON in a value."""
    try:
        found = json.loads(data.get(_PREFIX + key) or "[]")
    except ValueError as error:
        raise CredentialsError(f"{CONFIG_MAP}: {key} is no list") from error
    if not isinstance(found, list):
        raise CredentialsError(f"{CONFIG_MAP}: {key} is no list")
    return tuple(map(str, found))


def _values(headers: Headers, names: Sequence[str]) -> list[str]:
    """Return the values of the first of these headers that is there."""
    for name in names:
        if found := headers.getRawHeaders(name):
            return list(found)
    return []


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return bool({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usages))
