"""What somebody wants to see of proxies: from a command line, or from the query of a URL; then a request to them.

The keys of a query: ``method=GET,HEAD``, ``path=/api``, ``authority=web:80``, ``peer=web.emojivoto``, ``proxy=in``,
``src=10.1.0.0/16``, ``dst=10.1.0.2:80``, ``headers=true``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPMethod
from typing import Any

from meshtx.observe.flow import Direction
from meshtx.observe.tap_match import BadMatch, Place, TapMatch
from meshtx.observe.tap_messages import match_message
from meshtx.pki.name import InvalidName, MeshScope
from meshtx.rpc.messages.tap_pb2 import ObserveRequest


@dataclass(frozen=True)
class TapQuery:
    """Filters as users write them, and whether headers are wanted; see `TapMatch`.

    :param methods: those of HTTP may be written small.
    :param peer: a name, perhaps short: ``ACCOUNT.NAMESPACE``.
    """

    methods: tuple[str, ...] = ()
    path: str = ""
    authority: str = ""
    peer: str = ""
    proxy: Direction | None = None
    sources: tuple[Place, ...] = ()
    destinations: tuple[Place, ...] = ()
    headers: bool = False

    @classmethod
    def read(cls, query: Mapping[str, Sequence[str]]) -> TapQuery:
        """Read the query of a URL; lists are written with commas, or by naming the key again.

        :raises BadMatch: a key that nobody knows, or a value that makes no sense.
        """
        for key in query:
            if key not in _READ:
                raise BadMatch(f"{key!r} is no filter; there are {', '.join(_READ)}")
        values: dict[str, Any] = {}  # each of its field's type
        for key, (field, read) in _READ.items():
            if key in query:
                if len(query[key]) > 1 and read not in (_several, _places):
                    raise BadMatch(f"{key} is given twice")
                values[field] = read(",".join(query[key]))
        return cls(**values)

    def query(self) -> dict[str, str]:
        """Return what `read` reads."""
        said = {
            "method": ",".join(self.methods),
            "path": self.path,
            "authority": self.authority,
            "peer": self.peer,
            "proxy": self.proxy.value if self.proxy else "",
            "src": ",".join(map(str, self.sources)),
            "dst": ",".join(map(str, self.destinations)),
            "headers": "true" if self.headers else "",
        }
        return {key: text for key, text in said.items() if text}

    def match(self, scope: MeshScope) -> TapMatch:
        """Return the filters.

        :param scope: of the mesh that a short name is of.
        :raises BadMatch: the peer is no name.
        """
        try:
            peer = scope.complete(self.peer) if self.peer else None
        except InvalidName as error:
            raise BadMatch(str(error)) from error
        return TapMatch(
            methods=frozenset(map(_method, self.methods)),
            path_prefix=self.path,
            authority=self.authority,
            peer=peer,
            direction=self.proxy,
            sources=self.sources,
            destinations=self.destinations,
        )

    def request(self, scope: MeshScope) -> ObserveRequest:
        """Return what a proxy is asked.

        :raises BadMatch: as `match`.
        """
        return ObserveRequest(match=match_message(self.match(scope)), headers=self.headers)


def _method(text: str) -> str:
    return text.upper() if text.upper() in HTTPMethod.__members__ else text


def _several(text: str) -> tuple[str, ...]:
    return tuple(each for each in text.split(",") if each)


def _places(text: str) -> tuple[Place, ...]:
    return tuple(Place.parse(each) for each in _several(text))


def _direction(text: str) -> Direction:
    try:
        return Direction(text)
    except ValueError as error:
        raise BadMatch(f"proxy={text}: write {' or '.join(each.value for each in Direction)}") from error


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise BadMatch(f"headers={text}: write true or false")
    return text == "true"


_READ: dict[str, tuple[str, Callable[[str], object]]] = {
    "method": ("methods", _several),
    "path": ("path", str),
    "authority": ("authority", str),
    "peer": ("peer", str),
    "proxy": ("proxy", _direction),
    "src": ("sources", _places),
    "dst": ("destinations", _places),
    "headers": ("headers", _flag),
}
"""By key: the field, and what reads it."""
